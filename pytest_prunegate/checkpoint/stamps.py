"""What the file system says of a file: whether it is the one that was read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_prunegate.checkpoint.files import TOKENIZER_FILES, weight_files, weight_names
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_CONFIGURATION = ("config.json", "generation_config.json", "adapter_config.json")


class Stamp(NamedTuple):
    """A file's size in bytes, the time of its last change in nanoseconds, and its inode."""

    size: int
    mtime_ns: int
    inode: int


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp, through symbolic links; None where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def stamps_of(paths: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The stamps of files; None for one that is not there, so that its appearance is noticed."""
    return {path: stamp_of(path) for path in paths}


def checkpoint_files(folder: Path, arguments: Mapping[str, Any]) -> list[Path]:
    """Every file of a checkpoint that its fingerprint covers, and those that would count if they were there.

    Args:
        folder: of the checkpoint.
        arguments: of the side, with which transformers loads it.

    Raises:
        ModelError: it has no weights.
    """
    fixed = [folder / name for name in (*weight_names(arguments), *_CONFIGURATION)]
    return [*weight_files(folder, arguments), *fixed, *code_files(folder), *tokenizer_files(folder)]


def code_files(folder: Path) -> list[Path]:
    """The Python files of a checkpoint, those of packages in it too."""
    return sorted(folder.rglob("*.py"))


def adapter_files(folder: Path) -> list[Path]:
    """Every file of an adapter that its fingerprint covers."""
    return [folder / "adapter_config.json", folder / "adapter_model.safetensors", *tokenizer_files(folder)]


def tokenizer_files(folder: Path) -> list[Path]:
    """Every file of a tokenizer that its digests cover, there or not."""
    return [
        *(folder / name for name in TOKENIZER_FILES),
        *sorted((folder / "additional_chat_templates").glob("*.jinja")),
    ]


def change_since(before: Mapping[Path, Stamp | None]) -> str | None:
    """The first file that is not as it was, and how; None where all are."""
    for path, was in before.items():
        now = stamp_of(path)
        if now != was:
            return f"{path} {_described(was, now)}"
    return None


def refuse_changed(title: str, before: Mapping[Path, Stamp | None]) -> None:
    """See that a model's files are as they were when they were fingerprinted.

    Raises:
        ModelError: one of them is not; it names the file and what changed.
    """
    if changed := change_since(before):
        raise ModelError(
            f"{title}: {changed} while the run used it. Nothing that the model is asked from here on is kept: it would be kept under the "
            "fingerprint of another model. Let nothing write to the checkpoint, and run again."
        )


def _described(was: Stamp | None, now: Stamp | None) -> str:
    if was is None or now is None:
        return "appeared" if was is None else "disappeared"
    if now.size != was.size:
        return f"changed (its size, from {was.size} to {now.size} bytes)"
    if now.inode != was.inode:
        return "was replaced by another file of the same size"
    return f"changed (it was written at {datetime.fromtimestamp(now.mtime_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC)"
