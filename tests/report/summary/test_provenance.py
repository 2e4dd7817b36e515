"""Where answers were made, and what a run was: told by the results, whichever run or file the answers come from."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ_AND_GSM8K

from pytest_prunegate.execution import answering
from pytest_prunegate.store import Response, Store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

BOOLQ_REQUESTS, GSM8K_REQUESTS = 40, 20


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(BOOLQ_AND_GSM8K)
    return bench


def results(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def told_of_places(found: dict[str, Any]) -> list[str]:
    return [note for note in found["notes"] if "places" in note]


def test_both_blocks(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SHA", "c0ffee" * 6)
    project.run("--prunegate-device=cpu", "--prunegate-batch-size=4", "--prunegate-fewshot-seed=7")
    found = results(project)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for side in ("original", "pruned"):
        block = found["provenance"][side]
        assert block["fingerprint"] == found["models"][side]["fingerprint"]
        assert (block["backend"], block["dtype"], block["max_length"], block["file"]) == ("fast", "float32", 2048, None)
        assert block["lm_eval"] == importlib.metadata.version("lm_eval")
        (place,) = block["environments"]
        assert place["answers"] == BOOLQ_REQUESTS + GSM8K_REQUESTS
        assert (place["batch_sizes"], place["first"], place["last"]) == (["4"], today, today)
        assert place["hardware"].startswith("cpu: ")
        assert place["libraries"]["torch"] == importlib.metadata.version("torch")
    run = found["run"]
    assert {name: run[name] for name in ("command", "started", "finished", "libraries", "python", "device")} == {
        name: found[name] for name in ("command", "started", "finished", "libraries", "python", "device")
    }
    assert (run["seed"], run["batch_size"], run["commit"]) == (1234, "4", "c0ffee" * 6)
    assert run["tasks"]["gsm8k"]["num_fewshot"] == 1
    assert run["tasks"]["gsm8k"]["fewshot_seeds"] == [7]
    assert run["tasks"]["boolq"]["fewshot_seeds"] == [], "it shows no examples"
    assert told_of_places(found) == []


def test_answers_of_another_day_keep_their_provenance(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the documents on other hardware and in batches of another size; then everything from the store."""
    with monkeypatch.context() as patch:
        patch.setattr(answering, "hardware_name", lambda device: "cuda: H100")
        patch.setattr(time, "time", lambda: 1_700_000_000.0)
        project.run("--prunegate-limit=10", "--prunegate-batch-size=2")
    for batch_size in ("8", "1"):  # the second run asks nothing
        project.run(f"--prunegate-batch-size={batch_size}")
        found = results(project)
        early, late = found["provenance"]["pruned"]["environments"]
        assert (early["hardware"], early["answers"], early["batch_sizes"], early["last"]) == ("cuda: H100", 30, ["2"], "2023-11-14")  # fmt: skip
        assert (late["answers"], late["batch_sizes"]) == (30, ["8"])
        told = told_of_places(found)
        assert len(told) == 2
        assert (
            "The answers of the pruned model pruned were made in 2 places: 30 of 2023-11-14: cuda: H100; 30 of "
            in told[1]
        )


def test_sides_that_were_asked_in_different_places_are_told(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(answering, "hardware_name", lambda device: "cuda: H100")
        project.run("--prunegate-baseline-only", models=("--original=original",))
    result = project.run()
    (told,) = told_of_places(results(project))
    assert told.startswith(
        "The answers of the two models were made in different places: original: cuda: H100; pruned: cpu: "
    )
    result.stdout.fnmatch_lines(["*The answers of the two models were made in different places*"])


def test_a_task_of_an_earlier_run_brings_its_own(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(answering, "hardware_name", lambda device: "cuda: H100")
        project.run("-m", "boolq")
    shutil.rmtree(project.path / ".prunegate")  # only the results know of it
    project.run("-m", "gsm8k")
    found = results(project)
    assert [place["answers"] for place in found["provenance"]["original"]["environments"]] == [20, 40], "by their names"
    assert set(found["run"]["tasks"]) == {"boolq", "gsm8k"}
    assert len(told_of_places(found)) == 2


def test_a_file_says_where_its_answers_were_made(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(answering, "hardware_name", lambda device: "cuda: H100")
        project.run("--prunegate-baseline-only", models=("--original=original",))
    shutil.move(project.results / "baseline.json.gz", project.path / "baseline.json.gz")
    shutil.rmtree(project.path / ".prunegate")
    project.run(models=("--original=baseline.json.gz", "--pruned=pruned"))
    found = results(project)
    block = found["provenance"]["original"]
    assert block["file"].endswith("baseline.json.gz")
    assert [(place["hardware"], place["answers"], place["batch_sizes"]) for place in block["environments"]] == [("cuda: H100", 60, [])]  # fmt: skip
    assert [note for note in found["notes"] if "Computed elsewhere" in note], "a file's place is told once"
    assert told_of_places(found) == []


def test_answers_of_a_store_without_batch_sizes(tmp_path: Path) -> None:
    """Answers of an older version tell what they know, and none is counted that was not asked for."""
    with closing(Store(tmp_path)) as store:
        old: dict[str, object] = {"device": "cpu", "libraries": {"torch": "2.6.0"}}
        for key, provenance in (("a", old), ("b", old | {"batch_size": "4"}), ("c", old)):
            store.put("model", key, Response(text="x"), provenance)
        groups = store.provenances("model", ["a", "b", "unknown"])
    assert [(group.responses, group.provenance.get("batch_size")) for group in groups] == [(1, "4"), (1, None)]
