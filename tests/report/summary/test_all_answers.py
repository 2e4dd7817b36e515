"""``--prunegate-answers``: every document that was measured in a file, the unchanged ones too, in the order of drawing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from support.scripted import BOOLQ, GSM8K

from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from conftest import Bench

THRESHOLDS = f"""
tasks:
  gsm8k:
    {GSM8K}
    num_fewshot: 2
    limit: 12
    metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}}}
  boolq:
    {BOOLQ}
    metrics: {{acc: {{max_absolute_drop: 1}}}}
"""


def lines(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (bench.results / "answers.jsonl").read_text().splitlines()]


@pytest.fixture
def ready(bench: Bench) -> Bench:
    bench.models(original={"wrong": [5]}, pruned={"wrong": [7]})
    bench.thresholds(THRESHOLDS)
    return bench


def test_every_answer_with_its_scores_in_the_order_of_drawing(ready: Bench) -> None:
    ready.run("--prunegate-answers").assert_outcomes(passed=2)
    found = lines(ready)
    schema = json.loads(resource_path("answers.schema.json").read_text())
    for line in found:
        jsonschema.validate(line, schema)
    checks = {
        check["task"]: check for check in json.loads((ready.results / "comparison_results.json").read_text())["checks"]
    }
    for task, count in (("gsm8k", 12), ("boolq", 20)):
        own = [line for line in found if line["task"] == task]
        assert [line["drawn"] for line in own] == list(range(1, count + 1))
        assert len({line["doc_id"] for line in own}) == count
        for side in ("original", "pruned"):
            mean = sum(line["scores"][0][side] for line in own) / count
            assert mean == pytest.approx(checks[task][side], abs=1e-12), "the scores are those of the table"
        assert all(line["prompt"] and line["gold"] and line["original"] and line["pruned"] for line in own)
    assert [line["doc_id"] for line in found if line["task"] == "gsm8k"] != sorted(
        line["doc_id"] for line in found if line["task"] == "gsm8k"
    ), "drawn at random, and told in that order"


def test_only_on_request_and_only_of_this_run(ready: Bench) -> None:
    ready.run()
    assert not (ready.results / "answers.jsonl").exists()
    ready.run("--prunegate-answers", "-m", "boolq").assert_outcomes(passed=1)
    assert {line["task"] for line in lines(ready)} == {"boolq"}


def test_several_candidates_have_a_file_each(ready: Bench) -> None:
    ready.run(
        "--prunegate-answers", "-m", "boolq", models=("--original=original", "--pruned=a=pruned", "--pruned=b=original")
    )
    for name in ("a", "b"):
        assert len((ready.results / f"answers_{name}.jsonl").read_text().splitlines()) == 20


def test_a_baseline_alone_has_no_pair_of_answers(ready: Bench) -> None:
    result = ready.run("--prunegate-baseline-only", "--prunegate-answers", models=("--original=original",))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--prunegate-baseline-only measures the original alone: take --prunegate-answers out.*"]
    )
