"""How far an interval lies from a threshold, and on which side, for every rule."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pytest_prunegate.input.rules import RULES
from pytest_prunegate.input.thresholds import Threshold
from pytest_prunegate.verdict.loss_interval import distance, strictest
from pytest_prunegate.verdict.paired import Paired

LOST, KEPT = 60, 340  # documents out of four hundred, all of them right before: 85% are left
PAIRED = Paired(
    keys=tuple(range(LOST + KEPT)), original=(1.0,) * (LOST + KEPT), pruned=(0.0,) * LOST + (1.0,) * KEPT, total=LOST + KEPT,
    higher_is_better=True, is_sequence=True,
)  # fmt: skip


def threshold(rule: str, value: str) -> Threshold:
    return Threshold(rule=RULES[rule], value=Decimal(value), text=value, line=1)


@pytest.mark.parametrize(
    ("rule", "lax", "strict"),
    [
        ("max_relative_drop", "0.30", "0.05"),
        ("max_absolute_drop", "0.30", "0.05"),
        ("min_recovery", "0.70", "0.95"),
        ("min_score", "0.70", "0.95"),
    ],
)
def test_a_lax_threshold_is_met_and_a_strict_one_is_broken_for_sure(rule: str, lax: str, strict: str) -> None:
    met = distance(threshold(rule, lax), PAIRED, error_rate=0.01, of_full_run=False)
    assert met.low < met.high < 0, "all of the interval lies within"
    broken = distance(threshold(rule, strict), PAIRED, error_rate=0.01, of_full_run=False)
    assert 0 < broken.low < broken.high, "all of it lies beyond"
    at = strictest(threshold(rule, lax), PAIRED, error_rate=0.01, of_full_run=False)
    assert at is not None
    within = (float(lax), 0.85) if float(lax) > 0.5 else (0.15, float(lax))
    assert within[0] < at < within[1], "between the threshold and what was measured"
    exactly = distance(threshold(rule, str(at)), PAIRED, error_rate=0.01, of_full_run=False)
    assert exactly.high == pytest.approx(0, abs=1e-12), "it would just be met"
