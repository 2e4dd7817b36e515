"""Verdicts, as a user and a CI system see them: outcome, exit code, JUnit, message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.scripted import BOOLQ, GSM8K, SQUAD

if TYPE_CHECKING:
    from conftest import Bench

ACCURACY = f"""
tasks:
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics:
      accuracy: {{max_relative_drop: 5%, filter: flexible-extract}}
"""


def junit(bench: Bench) -> dict[str, ET.Element]:
    root = ET.parse(bench.path / "junit.xml").getroot()  # noqa: S314 - our own file
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_drop_at_the_threshold_passes(bench: Bench) -> None:
    bench.models(pruned={"wrong": [3]})  # 19 of 20 right: a drop of exactly 5%
    bench.thresholds(ACCURACY)
    result = bench.run("--junitxml=junit.xml")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    properties = {
        entry.attrib["name"]: entry.attrib["value"] for entry in junit(bench)["gsm8k accuracy"].iter("property")
    }
    assert properties["prunegate_original"] == "1.0"
    assert properties["prunegate_relative"] == "-0.05"
    assert properties["prunegate_verdict"] == "pass"


def test_drop_beyond_the_threshold_fails(bench: Bench) -> None:
    bench.models(pruned={"wrong": [3, 4]})
    bench.thresholds(ACCURACY)
    result = bench.run("--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([
        "thresholds.yaml:7: gsm8k accuracy: relative drop 10.00%, threshold 5%",
        "scores:    1.0000 -> 0.9000: -0.1000, -10.00% relative", "threshold: relative drop at most 5%",
        "verdict:   FAIL on all 20 documents.", "how sure:  95% interval for other documents like these: -29.5% to +11.6%.",
        "           Within sampling noise of the threshold.", "answers:   2 answers lost, 0 gained; the largest 2 losses:",
        "Run it alone: pytest --original=original --pruned=pruned --prunegate-cache-dir=* thresholds.yaml::gsm8k::accuracy",
        "gsm8k *accuracy * 1.0000 *0.9000 * -0.1000 * -10.00% *FAIL",
        "FAIL: 1 of 1 checks measured: 1 failed",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*Traceback*")
    case = junit(bench)["gsm8k accuracy"]
    assert case.find("failure") is not None
    assert case.find("error") is None


def test_zero_baseline_is_an_error_and_not_a_failure(bench: Bench) -> None:
    bench.models(original={"wrong": list(range(20))})
    bench.thresholds(ACCURACY)
    result = bench.run("--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["thresholds.yaml:7: gsm8k.accuracy: the original model scores 0 on 20 documents, so that no relative*"]
    )
    case = junit(bench)["gsm8k accuracy"]
    assert case.find("error") is not None
    assert case.find("failure") is None


def test_a_failure_outranks_an_error(bench: Bench) -> None:
    bench.models(original={"wrong": [0, 4, 8, 12, 16]}, pruned={"wrong": list(range(20))})
    bench.thresholds(f"""
        tasks:
          squadv2:
            {SQUAD}
            metrics: {{f1: 5%, NoAns_f1: 5%}}
        """)
    result = bench.run()
    result.assert_outcomes(failed=1, errors=1)
    assert result.ret == 1


def test_several_thresholds_name_the_broken_one(bench: Bench) -> None:
    bench.models(pruned={"wrong": [1, 2]})
    bench.thresholds(f"""
        tasks:
          boolq:
            {BOOLQ}
            metrics: {{acc: {{min_score: 0.5, max_absolute_drop: 0.05, min_recovery: 80%}}}}
        """)
    result = bench.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Broken: absolute drop at most 0.05.*"])


def test_a_task_that_cannot_be_built_leaves_the_others_alone(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"""
        tasks:
          gsm8k:
            {GSM8K.replace("test: data/gsm8k.jsonl", "dev: data/gsm8k.jsonl")}
            metrics: {{"exact_match,strict-match": 5%, "exact_match,flexible-extract": 5%}}
          boolq:
            {BOOLQ}
            metrics: {{accuracy: 5%}}
        """)
    result = bench.run("--junitxml=junit.xml")
    result.assert_outcomes(errors=2, passed=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["gsm8k: the task needs the split 'test'; its `dataset` in the thresholds file has train, dev. Add test*"]
    )
    assert bench.executor.loads == ["pruned", "original", "pruned"]


def test_a_task_is_measured_once_for_all_of_its_checks(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%, exact_match: 50%, HasAns_f1: 50%}}\n")
    bench.run().assert_outcomes(passed=3)
    assert len(bench.executor.requests) == 2 * 20, "one generation for each document and model, no log-likelihood"


def test_best_metrics_run_the_loglikelihood_too(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{best_f1: 50%}}\n")
    bench.run().assert_outcomes(passed=1)
    assert {request.kind for _, request in bench.executor.requests} == {"generate_until", "loglikelihood"}


def test_lower_is_better(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.api.task import ConfigurableTask

    monkeypatch.setattr(ConfigurableTask, "higher_is_better", lambda _self: {"acc": False})
    bench.models(original={"wrong": list(range(10))}, pruned={"wrong": list(range(9))})
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: {{max_relative_drop: 9%}}}}\n")
    result = bench.run()
    result.assert_outcomes(failed=1)  # 0.50 -> 0.55 is 10% worse where lower is better
    result.stdout.fnmatch_lines(["*0.5000 -> 0.5500: +0.0500, +10.00% worse", "*1 answer lost, 0 gained*"])


def test_a_silent_pruned_model_fails_although_it_abstains_rightly(bench: Bench) -> None:
    bench.models(original={"wrong": [0, 4, 8]}, pruned={"empty": list(range(20))})
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{NoAns_f1: {{max_absolute_drop: 1}}}}\n")
    # The original answers unanswerable questions, so that its NoAns score is 0 and the pruned model's 1.
    result = bench.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*All outputs of the pruned model are empty.*"])


SQUAD_WITHOUT_PARTS = f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 5%, exact_match: 5%}}\n"


def test_outputs_that_fall_silent_fail_unless_the_file_allows_it(bench: Bench) -> None:
    """Silence is right on unanswerable questions, so that totals rise with it."""
    silent = {"empty": [n for n in range(20) if n % 4 == 0], "wrong": [1]}
    bench.models(original={"wrong": [n for n in range(20) if n % 4 == 0]}, pruned=silent)
    bench.thresholds(SQUAD_WITHOUT_PARTS)
    result = bench.run()
    result.assert_outcomes(failed=2)
    told = "25.0% of the pruned model's outputs are empty, 0.0% of the original's: up to 10 points more are allowed"
    assert told in " ".join(result.stdout.str().split())
    bench.thresholds(SQUAD_WITHOUT_PARTS + "    outputs: {max_empty: 30%}\n")
    bench.run().assert_outcomes(passed=3)
    bench.thresholds(SQUAD_WITHOUT_PARTS)
    again = bench.run("-k", "exact_match")
    assert again.ret == 1, "what was allowed yesterday is not allowed today"
    summary = json.loads((bench.results / "comparison_results.json").read_text())
    outcomes = {check["name"]: check["outcome"] for check in summary["checks"]}
    assert outcomes == {"f1": "fail", "exact_match": "fail"}, "f1 by the first run"
    reasons = {one["name"]: one["reason"] for one in summary["stale"]}
    assert reasons["f1"] == "the file said otherwise how many outputs may be empty"


def test_two_points_in_twenty_are_no_silence_yet(bench: Bench) -> None:
    bench.models(pruned={"empty": [0, 4]})  # unanswerable ones
    bench.thresholds(SQUAD_WITHOUT_PARTS)
    bench.run().assert_outcomes(passed=2)


def test_a_part_of_the_documents_leaves_silence_open(bench: Bench) -> None:
    bench.models(pruned={"empty": [n for n in range(20) if n % 4 == 0]})
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 99%}}\n    limit: 18\n")
    result = bench.run()
    assert result.ret == 11
    assert "more documents tell whether that is a failure" in " ".join(result.stdout.str().split())


def test_a_part_that_collapses_under_a_total_that_passes_is_named(bench: Bench) -> None:
    bench.models(pruned={"empty": [0, 4], "wrong": [1, 2]})  # silence is right on two unanswerable questions
    bench.thresholds(SQUAD_WITHOUT_PARTS)
    result = bench.run("-rA")
    result.assert_outcomes(passed=2)
    summary = json.loads((bench.results / "comparison_results.json").read_text())
    reasons = {check["name"]: check["reason"] for check in summary["checks"]}
    assert "HasAns_f1 fell 13.3% (1.0000 -> 0.8667): add it to the file." in reasons["f1"]
    assert "HasAns_exact fell 13.3% (1.0000 -> 0.8667): add it to the file." in reasons["exact_match"]


def test_a_silent_original_is_an_error(bench: Bench) -> None:
    bench.models(original={"empty": list(range(20))})
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 5%}}\n")
    result = bench.run()
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["squadv2: all 20 outputs of the original model are empty*"])


def test_output_shares_have_thresholds(bench: Bench) -> None:
    bench.models(pruned={"empty": [1, 2, 3], "cut": [5]})
    bench.thresholds(f"""
        tasks:
          squadv2:
            {SQUAD}
            metrics: {{f1: 90%}}
            outputs: {{max_empty: 10%, max_cut: 5%}}
        """)
    result = bench.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*max_empty *0.0000 *0.1500 *FAIL",
            "*max_cut *0.0000 *0.0500 *PASS",
            "Outputs of squadv2, pruned: 15.0% empty, 5.0% cut*",
        ]
    )
    summary = json.loads((bench.results / "comparison_results.json").read_text())
    assert summary["tasks"][0]["outputs"]["pruned"] == {"outputs": 20, "empty": 0.15, "cut": 0.05}


def test_an_unexpected_exception_is_an_error_with_its_traceback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.scripted._answer", lambda *_args, **_kwargs: 1 / 0)
    bench.models()
    bench.thresholds(ACCURACY)
    result = bench.run()
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])
    summary = json.loads((bench.results / "comparison_results.json").read_text())
    assert summary["checks"][0]["outcome"] == "error"
    assert summary["checks"][0]["original"] is None


def test_a_document_that_cannot_be_scored_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.api.task import ConfigurableTask

    def broken(_self: object, doc: dict[str, object], _results: object) -> dict[str, float]:
        if doc["idx"] == 7:
            raise ValueError("no such choice")
        return {"acc": 1.0}

    monkeypatch.setattr(ConfigurableTask, "process_results", broken)
    bench.models()
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 5%}}\n")
    result = bench.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["boolq: document 7 (ValueError: no such choice) cannot be scored. *"])


def test_an_interval_of_the_full_run_where_documents_are_a_sample(bench: Bench) -> None:
    bench.models(pruned={"wrong": list(range(0, 20, 2))})
    bench.thresholds(ACCURACY.replace("5%", "50%"))
    result = bench.run("--prunegate-limit=12", "-rA")
    check = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]
    assert check["interval"]["of_full_run"] is True
    assert check["interval"]["subject"] == "the full run"
    assert "95% interval for the full run: " in check["reason"]
    assert (
        "INCONCLUSIVE on 12 of 20 documents: the full run may fall on either side of the threshold." in check["reason"]
    )
    low, high = check["interval"]["relative_change"]
    assert low < check["relative"] < high
    assert result.ret == 11
    everything = bench.run()
    check = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]
    assert everything.ret == 0, "half of the answers are lost, which is the threshold"
    assert check["interval"]["of_full_run"] is False
    assert check["reason"].endswith("Within sampling noise of the threshold.")


def test_a_loss_far_from_its_threshold_is_in_no_doubt(bench: Bench) -> None:
    bench.models(pruned={"wrong": list(range(16))})
    bench.thresholds(ACCURACY)
    bench.run("--junitxml=junit.xml")
    reason = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]["reason"]
    assert "95% interval for other documents like these: -100.0% to " in reason, "no more than everything is lost"
    assert "noise" not in reason
    properties = {
        entry.attrib["name"]: entry.attrib["value"] for entry in junit(bench)["gsm8k accuracy"].iter("property")
    }
    assert properties["prunegate_interval"] in reason


def test_questions_of_one_passage_count_as_one(bench: Bench) -> None:
    rows = [json.loads(line) for line in (bench.path / "data" / "squad.jsonl").read_text().splitlines()]
    bench.models(pruned={"wrong": [1, 2, 3]})
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%}}\n")
    bench.run()
    alone = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]["interval"]["relative"]
    for number, row in enumerate(rows):
        row["context"] = f"passage {number // 4}"
    (bench.path / "data" / "squad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.run()
    shared = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]["interval"]["relative"]
    assert shared[1] - shared[0] > alone[1] - alone[0], "what is lost is lost in one passage"


def test_a_metric_that_is_no_mean_has_no_interval(bench: Bench) -> None:
    bench.models(pruned={"wrong": [1]})
    bench.thresholds(
        f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{best_f1: 50%}}\n    outputs: {{max_empty: 50%}}\n"
    )
    bench.run()
    checks = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    assert [check["interval"] for check in checks] == [None, None]


def test_an_original_near_zero_bounds_nothing_and_it_is_said(bench: Bench) -> None:
    bench.models(original={"wrong": list(range(19))}, pruned={"wrong": list(range(19))})
    bench.thresholds(ACCURACY)
    bench.run()
    check = json.loads((bench.results / "comparison_results.json").read_text())["checks"][0]
    assert check["interval"]["relative_change"] == [-1.0, None]
    assert (
        "-100.0% or more: too few documents, or an original that cannot be told from 0. Within sampling noise"
        in check["reason"]
    )
