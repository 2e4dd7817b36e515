"""What is remembered of a scan: only what is surely still true, and never at the price of an error."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import write_checkpoint
from support.tiny import write_gguf, write_tiny_llama

from pytest_prunegate.checkpoint import hashing
from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.files import weight_files
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.checkpoint.scan import Scan, ScanMemory, scan_files
from pytest_prunegate.errors import ModelError
from pytest_prunegate.input.model_argument import parse_model

if TYPE_CHECKING:
    from collections.abc import Callable

OLD = 10**18


def settle(folder: Path) -> Path:
    """Make all files of a folder old."""
    for path in folder.iterdir():
        os.utime(path, ns=(OLD, OLD))
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return settle(write_checkpoint(tmp_path / "model"))


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "scans"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose weights are read, once for each tensor and whole file."""
    found: list[Path] = []

    def noting(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(path: Path, *args: Any, **kwargs: Any) -> Any:
            found.append(path)
            return real(path, *args, **kwargs)

        return read

    for name in ("hash_range", "hash_file"):
        monkeypatch.setattr(f"pytest_prunegate.checkpoint.scan.{name}", noting(getattr(hashing, name)))
    return found


def scan(folder: Path, memory: Path) -> Scan:
    return scan_files(weight_files(folder, {}), ScanMemory(memory))


def entry(memory: Path) -> Path:
    [path] = memory.iterdir()
    return path


def test_it_is_the_same_scan(checkpoint: Path, memory: Path, reads: list[Path]) -> None:
    first = scan(checkpoint, memory)
    before = len(reads)
    assert before == len(first.tensors)
    assert scan(checkpoint, memory) == first == scan_files(weight_files(checkpoint, {}))
    assert len(reads) == 2 * before, "the one without a memory reads"


@pytest.mark.parametrize("kind", ["gguf", "bin"])
def test_files_that_are_hashed_as_a_whole(tmp_path: Path, memory: Path, reads: list[Path], kind: str) -> None:
    if kind == "gguf":
        path = write_gguf(tmp_path / "gguf" / "model.gguf", write_tiny_llama(tmp_path / "tiny"), zeros=5)
        settle(path.parent)
    else:
        path = write_checkpoint(tmp_path / "model")
        (path / "model.safetensors").rename(path / "pytorch_model.bin")
        settle(path)
    location = locate(parse_model("pruned", str(path), tmp_path), cache_dir=None)
    first = read_facts(location, ScanMemory(memory))
    before = len(reads)
    assert before
    again = read_facts(location, ScanMemory(memory))
    assert (again.fingerprint, again.sparsity) == (first.fingerprint, first.sparsity)
    assert again == read_facts(location)
    assert len(reads) == 2 * before


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", "[" * 100_000, "\udcff", '{"version": 1}', "digest", "zeros", "groups", "tensor", "version", "path", "device"],
)  # fmt: skip
def test_a_damaged_or_foreign_entry_is_rewritten(
    checkpoint: Path, memory: Path, reads: list[Path], damage: str
) -> None:
    first = scan(checkpoint, memory)
    path = entry(memory)
    good = path.read_text()
    kept: dict[str, Any] = json.loads(good)
    tensors, name = kept["scan"]["tensors"], next(iter(kept["scan"]["tensors"]))
    changed: dict[str, dict[str, Any]] = {
        "digest": {"scan": {"whole": None, "tensors": tensors | {name: ["../etc", None]}}},
        "zeros": {"scan": {"whole": None, "tensors": tensors | {name: ["0" * 32, tensors[name][1] | {"zeros": -1}]}}},
        "groups": {
            "scan": {"whole": None, "tensors": tensors | {name: ["0" * 32, tensors[name][1] | {"fullest_down": "4"}]}}
        },
        "tensor": {"scan": {"whole": None, "tensors": {"other": ["0" * 32, None]}}},
        "version": {"version": -1},
        "path": {"path": "/elsewhere"},
        "device": {"device": -1},
    }
    text = json.dumps(kept | changed[damage]) if damage in changed else damage
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = len(reads)
    assert scan(checkpoint, memory) == first
    assert len(reads) == 2 * before
    assert path.read_text() == good
    assert [found.name for found in memory.iterdir()] == [path.name], "nothing half written is left"


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_a_cache_that_cannot_be_written(checkpoint: Path, tmp_path: Path, place: str) -> None:
    memory = tmp_path / "blocked"
    if place == "file":
        memory.write_text("")
    else:
        memory = Path("/proc/nowhere")
    assert scan(checkpoint, memory) == scan_files(weight_files(checkpoint, {}))


def test_a_young_file_is_not_remembered(checkpoint: Path, memory: Path) -> None:
    (checkpoint / "model.safetensors").touch()
    scan(checkpoint, memory)
    assert not memory.exists()


def test_a_copy_at_another_path_is_read(checkpoint: Path, tmp_path: Path, memory: Path, reads: list[Path]) -> None:
    first = scan(checkpoint, memory)
    copy = settle(shutil.copytree(checkpoint, tmp_path / "copy"))
    assert scan(copy, memory).digest == first.digest
    assert copy / "model.safetensors" in reads


def test_a_file_that_changes_while_it_is_read(checkpoint: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path, *args: Any, **kwargs: Any) -> str:
        found = hashing.hash_range(path, *args, **kwargs)
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"?")
        return found

    monkeypatch.setattr("pytest_prunegate.checkpoint.scan.hash_range", slow)
    with pytest.raises(ModelError, match=r"model\.safetensors: this file changed while it was read"):
        scan(checkpoint, memory)
    assert not memory.exists()


def test_a_file_that_may_not_be_read(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pytest_prunegate.checkpoint.scan.hash_range", forbidden)
    location = locate(parse_model("pruned", str(checkpoint), checkpoint), cache_dir=None)
    with pytest.raises(
        ModelError, match=r"model\.safetensors: this file of the model cannot be read: Permission denied"
    ):
        read_facts(location)
