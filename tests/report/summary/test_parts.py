"""A check's loss and thresholds on the common scale."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.input.rules import (
    MAX_ABSOLUTE_DROP,
    MAX_RELATIVE_DROP,
    MAX_RELATIVE_INCREASE,
    MAX_SHARE,
    MIN_RECOVERY,
    MIN_SCORE,
)
from pytest_prunegate.input.thresholds import Threshold
from pytest_prunegate.report.summary.parts import scale_of
from pytest_prunegate.tasks.checks import Check, Measure
from pytest_prunegate.tasks.scores import MetricScores
from pytest_prunegate.verdict.compare import compare
from pytest_prunegate.verdict.loss_interval import Bounds, LossInterval
from pytest_prunegate.verdict.outcome import Basis, Outcome
from pytest_prunegate.verdict.verdicts import CheckResult, Verdict

if TYPE_CHECKING:
    from pytest_prunegate.input.rule import Rule


def result(
    original: str,
    pruned: str,
    *thresholds: tuple[Rule, str],
    higher: bool = True,
    bounds: Bounds | None = (0.01, None),
    measure: Measure = Measure.METRIC,
) -> CheckResult:
    check = Check(
        task="boolq", name="acc", measure=measure, metric="acc", filter="none", file="thresholds.yaml", line=3,
        thresholds=tuple(Threshold(rule=rule, value=Decimal(value), text=value, line=3) for rule, value in thresholds),
    )  # fmt: skip
    before, after = (
        MetricScores(by_document={}, aggregate=Fraction(score), documents=100, higher_is_better=higher)
        for score in (original, pruned)
    )
    interval = None if bounds is None else LossInterval(relative=bounds, absolute=(None, None), pruned=(None, None), of_full_run=False)  # fmt: skip
    verdict = Verdict(outcome=Outcome.FAIL, basis=Basis.MEASURED, used=100, total=100, interval=interval)
    return CheckResult(check=check, outcome=Outcome.FAIL, comparison=compare(check, before, after), verdict=verdict)


@pytest.mark.parametrize(
    ("thresholds", "limit"),
    [
        ([(MAX_RELATIVE_DROP, "0.05")], 0.05),
        ([(MIN_RECOVERY, "0.93")], 0.07),
        ([(MAX_ABSOLUTE_DROP, "0.03")], 0.06),
        ([(MIN_SCORE, "0.4")], 0.2),
        ([(MIN_SCORE, "0.6")], -0.2),
        ([(MAX_RELATIVE_DROP, "0.05"), (MAX_ABSOLUTE_DROP, "0.03"), (MIN_SCORE, "0.49")], 0.02),
        ([], None),
    ],
)
def test_the_strictest_threshold_is_the_limit(thresholds: list[tuple[Rule, str]], limit: float | None) -> None:
    scale = scale_of(result("0.5", "0.45", *thresholds))
    assert scale is not None
    assert (scale.drop, scale.low, scale.high, scale.limit) == (0.1, 0.01, None, limit)


def test_where_lower_is_better_a_rise_is_a_drop() -> None:
    scale = scale_of(result("20", "22", (MAX_RELATIVE_INCREASE, "0.05"), (MIN_SCORE, "1"), higher=False))
    assert scale is not None
    assert (scale.drop, scale.limit) == (0.1, 0.05)


def test_without_an_interval() -> None:
    scale = scale_of(result("0.5", "0.5", (MAX_RELATIVE_DROP, "0.05"), bounds=None))
    assert scale is not None
    assert (scale.drop, scale.low, scale.high) == (0.0, None, None)


def test_what_has_no_place_on_the_scale() -> None:
    assert scale_of(None) is None
    assert scale_of(result("0", "0", (MAX_ABSOLUTE_DROP, "0.05"))) is None, "nothing can be lost from 0"
    assert scale_of(result("0.1", "0.2", (MAX_SHARE, "0.05"), higher=False, measure=Measure.EMPTY)) is None
