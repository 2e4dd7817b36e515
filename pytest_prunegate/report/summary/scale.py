"""Puts a check's loss and its thresholds on the scale that all checks share: parts of the original's score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.check_records import LossOnScale

if TYPE_CHECKING:
    from fractions import Fraction

    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.verdicts import CheckResult


def scale_of(result: CheckResult | None) -> LossOnScale | None:
    """A check on the common scale; None for shares of outputs and of zeros, and where nothing is lost from a score of 0."""
    comparison = result.comparison if result else None
    if result is None or comparison is None or comparison.relative_drop is None:
        return None
    if result.check.is_of_outputs:
        return None
    interval = result.verdict.interval if result.verdict else None
    low, high = interval.relative if interval else (None, None)
    allowed = [_allowed(threshold, comparison) for threshold in result.check.thresholds]
    limit = min((drop for drop in allowed if drop is not None), default=None)
    return LossOnScale(
        drop=float(comparison.relative_drop), low=low, high=high, limit=None if limit is None else float(limit)
    )


def _allowed(threshold: Threshold, comparison: Comparison) -> Fraction | None:
    """The largest relative drop that a threshold allows; negative where it asks for a gain, None where it names no drop."""
    original = comparison.original
    assert original
    higher_is_better = comparison.drop == original - comparison.pruned
    return threshold.rule.relative_limit(threshold.value, original, higher_is_better=higher_is_better)
