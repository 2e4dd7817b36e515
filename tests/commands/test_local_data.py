"""`python -m pytest_prunegate thresholds --local DIR`: a thresholds file for data that lies in a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


def call(*words: str) -> int:
    return main(["thresholds", *words])


def test_the_written_file_runs_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.path)
    bench.models(pruned={"wrong": []})
    (bench.path / "data" / "my-text.test.txt").write_text("one two three " * 40)
    assert call("--local", "data", "--output", "thresholds.yaml") == 0
    written = (bench.path / "thresholds.yaml").read_text()
    assert '"validation": "data/squad.jsonl"' in written
    assert '"test": "data/my-text.test.txt"' in written
    assert "num_fewshot: 0 " in written, "there is no other file to draw examples from"
    result = bench.run("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        f"thresholds.yaml::{check}" for check in (
            "wikitext2::perplexity", "squadv2::f1", "squadv2::exact_match", "squadv2::HasAns_f1", "gsm8k::accuracy"
        )
    ]  # fmt: skip
    bench.run("-m", "squadv2 or gsm8k").assert_outcomes(passed=4)


def test_splits_follow_the_names_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gsm8k_train.jsonl", "gsm8k-test.jsonl", "latest.jsonl"):
        (tmp_path / name).write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "wiki.test.raw.txt").write_text("b")
    (tmp_path / "broken.jsonl").write_text("{")
    assert call("--local", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert f'{{"train": "{tmp_path}/gsm8k_train.jsonl", "test": "{tmp_path}/gsm8k-test.jsonl"}}' in text
    assert "num_fewshot" not in text
    assert f'{{"test": "{tmp_path}/wiki.test.raw.txt"}}' in text
    assert f'# also found: "{tmp_path}/a.txt"' in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--local=nowhere",), "--local=nowhere: there is no such folder."),
        (("--local=empty",), "--local=empty: no data for a task was found there. Files are known by their fields"),
        (("--local=data", "--output=there.yaml"), "there.yaml: is there already. Name another file."),
        (("--local=data", "--ratchet=there.yaml"), "--ratchet tightens a file by the results of a run: --from=RESULTS, not --local."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(bench.path)
    (bench.path / "empty").mkdir()
    (bench.path / "there.yaml").write_text("mine")
    assert call(*words) == 2
    assert capsys.readouterr().err.startswith(message)
    assert (bench.path / "there.yaml").read_text() == "mine"
