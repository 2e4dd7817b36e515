"""A threshold rule that the package does not know is a class and an entry in the registry: read, judged, and shown like its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.scripted import GSM8K

from pytest_prunegate.input.rules import RULES, MaxAbsoluteDrop

if TYPE_CHECKING:
    from decimal import Decimal

    from conftest import Bench


class MaxPointsLost(MaxAbsoluteDrop):
    """The loss in points of a hundred."""

    key = "max_points_lost"
    figure = "points lost"

    def read(self, number: Decimal, text: str) -> Decimal:
        if not 0 <= number <= 100:
            raise ValueError(f"{self} is {text}: it must lie between 0 and 100.")
        return number / 100


@pytest.fixture(autouse=True)
def rule(monkeypatch: pytest.MonkeyPatch) -> MaxPointsLost:
    found = MaxPointsLost()
    monkeypatch.setitem(RULES, found.key, found)
    return found


def thresholds(points: str, *, wrong: str) -> str:
    return f"""
tasks:
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics:
      "exact_match,flexible-extract": {{max_points_lost: {points}}}
      "exact_match,strict-match": {{max_points_lost: {wrong}}}
"""


def test_it_is_judged_and_reported(bench: Bench) -> None:
    bench.models(pruned={"wrong": [3, 4]})  # 18 of 20 right: ten points
    bench.thresholds(thresholds("10", wrong="9"))
    result = bench.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::exact_match,strict-match - points lost 0.1000, threshold 9"])
    checks = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    assert {check["name"]: (check["outcome"], check["thresholds"]) for check in checks} == {
        "exact_match,flexible-extract": ("pass", ["points lost at most 10"]),
        "exact_match,strict-match": ("fail", ["points lost at most 9"]),
    }


def test_a_sample_is_judged_by_an_interval_in_its_units(bench: Bench) -> None:
    bench.models(pruned={"wrong": list(range(20))})
    bench.thresholds(thresholds("20", wrong="99"))
    result = bench.run("--prunegate-limit=15")
    result.stdout.fnmatch_lines(["*FAIL: the full run would agree*"])
    checks = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    assert [list(check["decision"]["strictest"]) for check in checks] == [["max_points_lost"], ["max_points_lost"]]


def test_its_mistakes_and_its_name_are_told_with_the_others(bench: Bench) -> None:
    bench.models()
    bench.thresholds(thresholds("{}", wrong="101").replace("{max_points_lost: {}}", "{max_pionts_lost: 3}"))
    result = bench.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines([
        "*thresholds.yaml:*max_pionts_lost: unknown key. Did you mean max_points_lost?*",
        "*thresholds.yaml:*max_points_lost is 101: it must lie between 0 and 100.*",
    ])  # fmt: skip
