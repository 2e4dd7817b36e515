"""``max_lost`` and ``max_flips``: half of the answers may change while the mean stays, and each is a check of its own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from support.families import CHOICES_OF_TWO, write_group, write_task
from support.scripted import BOOLQ, SQUAD

if TYPE_CHECKING:
    from conftest import Bench

THRESHOLDS = """
tasks:
  boolq:
    {boolq}
    {more}
    metrics: {{acc: {{max_relative_drop: 20%, max_lost: {lost}, max_flips: {flips}}}}}
"""


def thresholds(lost: str = "30%", flips: str = "50%", more: str = "") -> str:
    return THRESHOLDS.format(boolq=BOOLQ, lost=lost, flips=flips, more=more)


def checks(bench: Bench) -> dict[str, dict[str, Any]]:
    found = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    return {check["name"]: check for check in found}


@pytest.fixture
def flipped(bench: Bench) -> Bench:
    """Of 20 questions, five lost and five gained: the mean stays."""
    bench.models(original={"wrong": [0, 1, 2, 3, 4]}, pruned={"wrong": [5, 6, 7, 8, 9]})
    return bench


def test_answers_change_while_the_mean_stays(flipped: Bench) -> None:
    flipped.thresholds(thresholds(lost="20%", flips="40%"))
    result = flipped.run("-v")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines([
        "thresholds.yaml:*: boolq acc.max_lost: answers lost 25.00%, threshold 20%", "threshold: answers lost at most 20%",
        "thresholds.yaml:*: boolq acc.max_flips: answers changed 50.00%, threshold 40%",
        "FAILED thresholds.yaml::boolq::acc.max_lost - *", "FAILED thresholds.yaml::boolq::acc.max_flips - *",
    ])  # fmt: skip
    found = checks(flipped)
    assert (found["acc"]["original"], found["acc"]["pruned"]) == (0.75, 0.75)
    assert [(found[name]["original"], found[name]["pruned"]) for name in ("acc.max_lost", "acc.max_flips")] == [
        (0.0, 0.25),
        (0.0, 0.5),
    ]
    assert (found["acc"]["lost"], found["acc"]["gained"]) == (5, 5)
    changed = [json.loads(line) for line in (flipped.results / "changed.jsonl").read_text().splitlines()]
    assert [line["change"] for line in changed] == ["lost"] * 5 + ["gained"] * 5, (
        "a gained answer is none that was lost, although it changed"
    )


def test_within_what_is_allowed(flipped: Bench) -> None:
    flipped.thresholds(thresholds(lost="25%", flips="50%"))
    flipped.run().assert_outcomes(passed=3)


def test_the_same_model_loses_nothing(bench: Bench) -> None:
    bench.models(original={"wrong": [3]}, pruned={"wrong": [3]})
    bench.thresholds(thresholds(lost="0%", flips="0%"))
    bench.run().assert_outcomes(passed=3)
    assert [checks(bench)[name]["pruned"] for name in ("acc.max_lost", "acc.max_flips")] == [0.0, 0.0]


def test_a_sample_has_an_interval_and_may_not_decide(flipped: Bench) -> None:
    flipped.thresholds(thresholds(lost="30%", flips="95%", more="limit: 8"))
    result = flipped.run()
    assert checks(flipped)["acc.max_lost"]["outcome"] == "inconclusive"
    assert result.ret == 11
    reason = checks(flipped)["acc.max_lost"]["reason"]
    assert "the full run may fall on either side" in reason
    assert re.search(r"95% interval for the full run: \d+\.\d% to \d+\.\d%", reason)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stopped_early_it_says_what_all_documents_say(bench: Bench, seed: int) -> None:
    bench.models(pruned={"wrong": list(range(18))})
    bench.thresholds(thresholds(lost="10%", flips="10%", more="decide: early"))
    result = bench.run(f"--prunegate-seed={seed}")
    result.assert_outcomes(failed=3)
    assert checks(bench)["acc.max_lost"]["documents"] <= 20


def test_a_metric_of_texts_and_its_own_decision(bench: Bench) -> None:
    """Any loss of a score counts, and what is said of the metric holds for its checks."""
    bench.models(pruned={"wrong": [7, 9]})
    bench.thresholds(f"""
tasks:
  squadv2:
    {SQUAD}
    metrics: {{f1: {{max_lost: 5%, decide: confident}}}}
""")
    result = bench.run()
    assert list(checks(bench)) == ["f1.max_lost"]
    check = checks(bench)["f1.max_lost"]
    assert (check["pruned"], check["decision"]["asked"]["decide"]) == (0.1, "confident")
    assert result.ret == 11, "2 of 20 do not tell whether other documents lose more than 5%"


def test_a_perplexity_has_no_answers(bench: Bench) -> None:
    bench.models()
    bench.thresholds("perplexity:\n  wikitext2: {max_lost: 5%}\n")
    result = bench.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*perplexity.wikitext2.max_lost: unknown key.*"])


def test_a_recorded_run_proposes_them_and_a_ratchet_tightens_them(
    flipped: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytest_prunegate.__main__ import main

    flipped.thresholds(thresholds(lost="90%", flips="90%"))
    flipped.run("--prunegate-record")
    assert main(["thresholds", "--from=prunegate-results", "--output=proposed.yaml"]) == 0
    text = (flipped.path / "proposed.yaml").read_text()
    assert "max_lost: 25%" in text
    assert text.count("acc: {") == 1
    flipped.thresholds(text)
    flipped.run().assert_outcomes(passed=3)
    flipped.thresholds(thresholds(lost="90%", flips="90%"))
    capsys.readouterr()
    assert main(["thresholds", "--from=prunegate-results", "--ratchet=thresholds.yaml"]) == 0
    assert "max_lost: 25%, max_flips: 50%" in capsys.readouterr().out


def test_without_its_metric_a_gained_answer_is_told_as_one(bench: Bench) -> None:
    bench.models(original={"wrong": [0, 1, 2, 3, 4]}, pruned={"wrong": [19]})
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: {{max_flips: 10%}}}}\n")
    result = bench.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["answers: *1 answer lost, 5 gained; the largest loss:"])
    check = checks(bench)["acc.max_flips"]
    assert (check["pruned"], check["lost"], check["gained"]) == (0.3, 1, 5)


def test_a_baseline_alone_lost_nothing(flipped: Bench) -> None:
    flipped.thresholds(thresholds())
    result = flipped.run("--prunegate-baseline-only", models=("--original=original",))
    assert result.ret == 0
    assert result.parseoutcomes() == {"baseline": 3}


def test_a_metric_without_scores_of_documents_is_a_mistake_of_the_file(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{best_f1: {{max_lost: 5%}}}}\n")
    result = bench.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*squadv2.best_f1: max_lost counts documents, and best_f1 has no score of each.*"])


def test_a_limit_for_each_member_of_a_group_is_no_sample_of_all(bench: Bench) -> None:
    """Half of the large member's answers are lost, none of the small one's: equal samples weigh as what they are drawn from."""
    for name, start, count in (("large", 0, 120), ("small", 1000, 20)):
        rows = [{"n": n, "label": int(n % 2 == 0)} for n in range(start, start + count)]
        write_task(bench.path / "own", name, rows, **CHOICES_OF_TWO)
    write_group(bench.path / "own", "both", ["large", "small"], weight_by_size=True)
    bench.models(pruned={"wrong": [n for n in range(120) if n % 4 < 2]})
    bench.thresholds("tasks:\n  both:\n    limit: 20\n    metrics: {acc: {max_absolute_drop: 1, max_lost: 36%}}\n")
    bench.run("--prunegate-include-path=own")
    assert checks(bench)["acc.max_lost"]["outcome"] != "pass", "the full run loses 43%"
