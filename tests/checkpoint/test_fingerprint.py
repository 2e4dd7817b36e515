"""One model's answers are never served for another's, and a model that changes is noticed."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ_AND_GSM8K, GSM8K, SHAPES, ScriptedExecutor, write_safetensors

from pytest_prunegate.checkpoint.hashing import hash_range
from pytest_prunegate.tasks.index import index_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Bench

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Request

A_RUN = 60  # boolq's two continuations and gsm8k's one text for each of 20 documents
MODELS = ("--original=original", "--pruned=pruned")
OLD = 10**18  # a time stamp long ago, in nanoseconds


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(BOOLQ_AND_GSM8K)
    asked(bench)
    return bench


def asked(project: Bench, *arguments: str, models: tuple[str, ...] = MODELS) -> dict[str, int]:
    """How many requests each side had to answer in a run that succeeds."""
    project.executor.requests.clear()
    result = project.run(*arguments, models=models)
    assert result.ret == 0, "\n".join(result.outlines + result.errlines)
    return dict(Counter(side for side, _ in project.executor.requests))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_dtype(path: Path) -> None:
    """The same numbers, which are small and whole, in half as many bits."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body, blob = json.loads(data[8 : 8 + length]), data[8 + length :], b""
    for entry in header.values():
        start, stop = entry["data_offsets"]
        numbers = struct.unpack(f"<{(stop - start) // 4}f", body[start:stop])
        entry |= {"dtype": "F16", "data_offsets": [len(blob), len(blob) + 2 * len(numbers)]}
        blob += struct.pack(f"<{len(numbers)}e", *numbers)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


CHANGES: dict[str, Callable[[Path], object]] = {
    "one bit of a weight": lambda folder: flip_one_bit(folder / "model.safetensors"),
    "dtype of the file": lambda folder: other_dtype(folder / "model.safetensors"),
    "dtype of the configuration": lambda folder: edit_json(folder / "config.json", dtype="bfloat16"),
    "tokenizer entry": lambda folder: (folder / "tokenizer.json").write_text(
        (folder / "tokenizer.json").read_text().replace('"[UNK]": 0', '"[UNK]": 0,\n"new": 2')
    ),
    "chat template": lambda folder: edit_json(folder / "tokenizer_config.json", chat_template="{{ messages }}"),
    "generation settings": lambda folder: (folder / "generation_config.json").write_text('{"top_k": 1}'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_differs_is_asked_everything(project: Bench, change: str) -> None:
    copy = shutil.copytree(project.path / "pruned", project.path / "copy")
    assert asked(project, models=("--original=original", "--pruned=copy")) == {}
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    CHANGES[change](copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} != before
    assert asked(project, models=("--original=original", "--pruned=copy")) == {"pruned": A_RUN}


def test_another_dtype_is_asked_everything(project: Bench) -> None:
    assert asked(project, "--prunegate-dtype=bfloat16") == {"original": A_RUN, "pruned": A_RUN}


def test_other_examples_are_asked_anew(project: Bench) -> None:
    with_examples = 20
    again = asked(project, "--prunegate-fewshot-seed=7")
    assert set(again) == {"original", "pruned"}
    assert all(with_examples / 2 <= requests <= with_examples for requests in again.values()), (
        "a few of the 20 documents draw the same example; boolq has none"
    )
    assert asked(project, "--prunegate-fewshot-seed=7") == {}


def test_another_version_of_a_task_is_asked_everything(project: Bench) -> None:
    folder = project.path / "own"
    folder.mkdir()
    text = (
        "task: mine\noutput_type: generate_until\ndataset_path: json\ntest_split: test\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\nmetadata: {version: 1.0}\n"
    )
    (folder / "mine.yaml").write_text(text)
    project.thresholds(f"tasks:\n  mine:\n    {GSM8K}\n    metrics: {{exact_match: {{max_absolute_drop: 1}}}}\n")
    option = f"--prunegate-include-path={folder}"
    assert asked(project, option) == {"original": 20, "pruned": 20}
    assert asked(project, option) == {}
    (folder / "mine.yaml").write_text(text.replace("1.0", "1.1"))
    assert asked(project, option) == {"original": 20, "pruned": 20}


def write_adapter(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    write_safetensors(folder / "adapter_model.safetensors", {"lora_A": [1.0, 2.0]})
    return folder


@pytest.mark.slow
def test_an_adapter_and_its_base_count(project: Bench) -> None:
    adapter = write_adapter(project.path / "adapter")
    models = ("--original=original", "--pruned=adapter", "--prunegate-peft-base=pruned")
    assert asked(project, models=models) == {"pruned": A_RUN}
    shutil.copytree(adapter, project.path / "elsewhere")
    assert asked(project, models=(models[0], "--pruned=elsewhere", models[2])) == {}
    shutil.copytree(project.path / "pruned", project.path / "base")
    assert asked(project, models=(*models[:2], "--prunegate-peft-base=base")) == {}
    flip_one_bit(project.path / "base" / "model.safetensors")
    assert asked(project, models=(*models[:2], "--prunegate-peft-base=base")) == {"pruned": A_RUN}
    flip_one_bit(adapter / "adapter_model.safetensors")
    assert asked(project, models=models) == {"pruned": A_RUN}


def test_the_same_weights_in_shards_or_on_a_hub_are_known(
    project: Bench, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub library's own layout, files as links to blobs, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache, commit = project.path / "cache", "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "hub" / "models--someone--tiny"
    snapshot = repository / "snapshots" / commit
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for number, path in enumerate((project.path / "pruned").iterdir()):
        shutil.copy(path, repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    shutil.copy(index_file(index_dir), index_file(cache))
    option = f"--prunegate-cache-dir={cache}"
    assert asked(project, option, models=("--original=original", "--pruned=someone/tiny")) == {}

    sharded = shutil.copytree(project.path / "pruned", project.path / "sharded")
    (sharded / "model.safetensors").rename(sharded / "shard-1.safetensors")
    index = {"weight_map": {"weight": "shard-1.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert asked(project, models=("--original=original", "--pruned=sharded")) == {}


def replaced(path: Path) -> None:
    """Another file of the same size and the same time stamp in its place."""
    before, other = path.stat(), path.with_name("other")
    shutil.copy(path, other)
    flip_one_bit(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def edited(path: Path) -> None:
    """Written in place, and its time stamp put back."""
    before = path.stat()
    flip_one_bit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("swap", [replaced, edited])
def test_a_file_that_was_swapped_between_two_runs(project: Bench, swap: Callable[[Path], None]) -> None:
    path = project.path / "pruned" / "model.safetensors"
    os.utime(path, ns=(OLD, OLD))
    assert asked(project) == {}
    swap(path)
    assert asked(project) == {"pruned": A_RUN}


class Meddling(ScriptedExecutor):
    """Does something behind the pruned model's back after some of its answers."""

    def __init__(self, after: int, act: Callable[[], object]) -> None:
        super().__init__(at_once=1)
        self._after, self._act = after, act
        self.kept = 0

    def ask(self, facts: ModelFacts, batch: Sequence[Request], hand_on: HandOn) -> None:
        def counting(request: Request, response: Response) -> None:
            hand_on(request, response)
            if facts.side == "pruned":
                self.kept += 1
                if self.kept == self._after:
                    self._act()

        super().ask(facts, batch, counting)


@pytest.fixture
def fresh(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(BOOLQ_AND_GSM8K)
    return bench


def new_template(path: Path) -> None:
    path.with_name("chat_template.jinja").write_text("{{ messages }}")


@pytest.mark.parametrize(
    ("act", "what"),
    [
        (replaced, "model.safetensors was replaced by another file of the same size"),
        (flip_one_bit, "model.safetensors changed (it was written at"),
        (lambda path: path.write_bytes(path.read_bytes() + b"12345678"), "model.safetensors changed (its size, from"),
        (Path.unlink, "model.safetensors disappeared"),
        (new_template, "chat_template.jinja appeared"),
    ],
)
def test_a_file_that_changes_during_a_run(fresh: Bench, act: Callable[[Path], None], what: str) -> None:
    path = fresh.path / "pruned" / "model.safetensors"
    shutil.copytree(path.parent, fresh.path / "as it was")
    meddling = Meddling(11, lambda: act(path))
    fresh.executor = meddling
    result = fresh.run()
    assert result.ret == 10
    text = "\n".join(result.outlines)
    assert f"pruned model pruned: {path.parent}" in text
    assert what in text
    assert "while the run used it. Nothing that the model is asked from here on is kept" in text
    assert "Traceback" not in text
    assert meddling.kept == 11
    summary: dict[str, Any] = json.loads((fresh.results / "comparison_results.json").read_text())
    assert any("during the run; its figures are of the model as it was before" in note for note in summary["notes"])

    fresh.executor = ScriptedExecutor()
    left = asked(fresh, models=("--original=original", "--pruned=as it was"))
    assert left["pruned"] == A_RUN - 11


def test_a_file_that_changes_while_the_model_is_loaded(fresh: Bench) -> None:
    path = fresh.path / "pruned" / "model.safetensors"

    class Slow(ScriptedExecutor):
        def load(self, facts: ModelFacts) -> None:
            super().load(facts)
            if facts.side == "pruned":
                flip_one_bit(path)

    fresh.executor = Slow()
    result = fresh.run()
    assert result.ret == 10
    assert not fresh.executor.requests, "both models are loaded before the first document"


def test_an_unchanged_checkpoint_is_not_read_twice(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noting(path: Path, *args: Any, **kwargs: Any) -> str:
        read.append(path.parent.name)
        return hash_range(path, *args, **kwargs)

    monkeypatch.setattr("pytest_prunegate.checkpoint.scan.hash_range", noting)
    os.utime(fresh.path / "original" / "model.safetensors", ns=(OLD, OLD))
    first = asked(fresh)
    tensors = len(SHAPES)
    assert Counter(read) == {"original": tensors, "pruned": tensors}
    assert asked(fresh) == {}
    assert first
    assert Counter(read) == {"original": tensors, "pruned": 2 * tensors}, (
        "the pruned model's file is as young as a change that leaves no trace"
    )


@pytest.mark.parametrize("name", ["tiktoken.model", "sentencepiece.bpe.model", "tekken.json", "code/modeling.py"])
def test_every_file_that_a_tokenizer_or_a_model_may_read_counts(bench: Bench, name: str) -> None:
    from pytest_prunegate.checkpoint.facts import read_facts
    from pytest_prunegate.checkpoint.location import locate
    from pytest_prunegate.checkpoint.scan import ScanMemory
    from pytest_prunegate.input.model_argument import parse_model

    bench.models()
    memory = ScanMemory(bench.path / "scans")
    argument = parse_model("original", "original", bench.path)
    before = read_facts(locate(argument, cache_dir=None), memory)
    path = bench.path / "original" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("a")
    found = read_facts(locate(argument, cache_dir=None), memory)
    path.write_text("b")
    after = read_facts(locate(argument, cache_dir=None), memory)
    assert len({facts.fingerprint for facts in (before, found, after)}) == 3
    assert found.change() is not None, "it is watched"
