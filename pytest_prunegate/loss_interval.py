"""How sure a measured loss is: 95% intervals of a check, and whether they leave its thresholds in doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.thresholds import Rule

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from pytest_prunegate.checks import Check
    from pytest_prunegate.scores import DocumentKey, MetricScores
    from pytest_prunegate.thresholds import Threshold

CONFIDENCE = 0.95
Bounds = tuple[float | None, float | None]
"""Low and high; None where the scores do not bound it."""


@dataclass(frozen=True, kw_only=True)
class LossInterval:
    """95% intervals of a relative and of an absolute drop (positive is worse).

    Where `of_full_run`, of what all documents would say, from a random sample of them; otherwise of what other documents
    like these would say.
    """

    relative: Bounds
    absolute: Bounds
    of_full_run: bool

    @property
    def subject(self) -> str:
        """Whose interval it is, in words."""
        return "the full run" if self.of_full_run else "other documents like these"

    def doubts(self, threshold: Threshold) -> bool:
        """Whether the interval lies on both sides of a threshold; False for thresholds on the pruned model alone."""
        value = float(threshold.value)
        match threshold.rule:
            case Rule.MAX_RELATIVE_DROP:
                return _holds(self.relative, value)
            case Rule.MIN_RECOVERY:
                return _holds(self.relative, 1 - value)
            case Rule.MAX_ABSOLUTE_DROP:
                return _holds(self.absolute, value)
            case _:
                return False


def loss_interval(
    check: Check,
    original: MetricScores,
    pruned: MetricScores,
    *,
    drawn: int,
    total: int,
    clusters: Mapping[DocumentKey, Hashable] | None,
) -> LossInterval | None:
    """The intervals of a check; None where its metric is no mean of scores in [0, 1], of which higher is better.

    Args:
        check: the check.
        original: one model's scores.
        pruned: the other's, on the same documents.
        drawn: documents of the task that were executed.
        total: all documents of the task.
        clusters: what a document shares with others, by document; None where nothing is shared.

    A metric of a part of the documents is taken to have the same part in the full set.
    """
    from pytest_prunegate.stats.intervals import absolute_drop_interval, relative_drop_interval

    keys = list(original.by_document)
    before, after = ([scores.by_document[key] for key in keys] for scores in (original, pruned))
    if not keys or not original.higher_is_better or check.thresholds == () or not all(0 <= score <= 1 for score in (*before, *after)):  # fmt: skip
        return None
    if sum(before, Fraction()) / len(keys) != original.aggregate:  # a group that weights its members otherwise
        return None
    is_sample = drawn < total
    of = max(round(len(keys) * total / drawn), len(keys)) if is_sample else None
    shared = None if clusters is None else [clusters[key] for key in keys]
    series = [float(score) for score in before], [float(score) for score in after]
    relative = relative_drop_interval(*series, confidence=CONFIDENCE, of=of, clusters=shared)
    absolute = absolute_drop_interval(*series, confidence=CONFIDENCE, of=of, clusters=shared)
    return LossInterval(
        relative=_bounds(relative.low, min(relative.high, 1.0)),  # no score is below 0, so that no more can be lost
        absolute=_bounds(max(absolute.low, -1.0), min(absolute.high, 1.0)),
        of_full_run=is_sample,
    )


def _bounds(low: float, high: float) -> Bounds:
    return (low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def _holds(bounds: Bounds, value: float) -> bool:
    low, high = bounds
    return (low is None or low <= value) and (high is None or value <= high)
