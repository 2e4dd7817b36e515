"""How sure a measured loss is: intervals of a check, and on which side of a threshold they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.input.rule import Quantities
from pytest_prunegate.stats.early_stopping import EarlyStopping
from pytest_prunegate.stats.intervals import (
    Interval,
    absolute_drop_interval,
    ratio_increase_interval,
    relative_drop_interval,
)
from pytest_prunegate.stats.margins import absolute_margin

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.verdict.paired import Paired

CONFIDENCE = 0.95
_ROUNDING = 1e-12
Bounds = tuple[float | None, float | None]
"""Low and high; None where the scores do not bound it."""


@dataclass(frozen=True, kw_only=True)
class LossInterval:
    """95% intervals of a relative and of an absolute drop (positive is worse), and of the pruned model's own score.

    Where `of_full_run`, of what all documents would say, from a random sample of them; otherwise of what other documents
    like these would say. `is_anytime`: valid although the data decided when to stop.
    """

    relative: Bounds
    absolute: Bounds
    pruned: Bounds
    of_full_run: bool
    is_anytime: bool = False
    unit: str = "documents"

    @property
    def subject(self) -> str:
        """Whose interval it is, in words."""
        return "the full run" if self.of_full_run else f"other {self.unit} like these"

    def doubts(self, threshold: Threshold) -> bool:
        """Whether the interval lies on both sides of a threshold."""
        bounds = threshold.rule.of(Quantities(relative=self.relative, absolute=self.absolute, pruned=self.pruned))
        return _holds(bounds, threshold.allowed)


def loss_interval(paired: Paired, *, of_full_run: bool) -> LossInterval:
    """95% intervals of a check's loss.

    Args:
        paired: the scores.
        of_full_run: whether what all documents would say is asked, which needs a random sample of them; otherwise what
            other documents like these would say.
    """
    relative = _relative(paired, CONFIDENCE, of_full_run=of_full_run)
    absolute = _absolute(paired, CONFIDENCE, of_full_run=of_full_run)
    pruned = _pruned(paired, CONFIDENCE, of_full_run=of_full_run)
    return _as_bounds(relative, absolute, pruned, paired, of_full_run=of_full_run)


def stopped_interval(stopped: EarlyStopping, paired: Paired) -> LossInterval:
    """95% intervals of the full run's loss where a rule stopped, valid whenever it stops."""
    relative = stopped.relative_interval(CONFIDENCE, higher_is_better=paired.higher_is_better)
    absolute = stopped.absolute_interval(CONFIDENCE, higher_is_better=paired.higher_is_better)
    pruned = stopped.pruned_interval(CONFIDENCE)
    return replace(_as_bounds(relative, absolute, pruned, paired, of_full_run=True), is_anytime=True)


def change_interval(paired: Paired, *, confidence: float, of_full_run: bool) -> Bounds:
    """Bounds of pruned - original in score units, or of a perplexity's relative change (negative: it increases).

    Args:
        paired: the scores.
        confidence: two-sided.
        of_full_run: as for `loss_interval`.
    """
    if paired.sizes is not None:
        return _negated(_relative(paired, confidence, of_full_run=of_full_run))
    return _negated(_absolute(replace(paired, higher_is_better=True), confidence, of_full_run=of_full_run))


def stopped_change_interval(paired: Paired, *, confidence: float) -> Bounds:
    """The same for the full run in score units, valid wherever the data stopped it; for scores in draw order alone."""
    rule = EarlyStopping([absolute_margin(0.0)], total=paired.total, error_rate=1 - confidence)
    rule.take(paired.original, paired.pruned)
    return _negated(rule.absolute_interval(confidence))


def _negated(drop: Interval) -> Bounds:
    """Bounds of a change from those of a drop."""
    return _bounds(replace(drop, low=-drop.high, high=-drop.low))


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Bounds of how far a loss lies beyond its threshold: at most 0 is within it."""

    low: float
    high: float

    @property
    def is_within(self) -> bool:
        """Whether all of the interval meets the threshold; equality does."""
        return self.high <= _ROUNDING

    @property
    def is_beyond(self) -> bool:
        """Whether all of the interval breaks the threshold."""
        return self.low > _ROUNDING


def distance(threshold: Threshold, paired: Paired, *, error_rate: float, of_full_run: bool) -> Distance:
    """The interval that is wrong on either side with that probability, seen from a threshold.

    Args:
        threshold: of the check.
        paired: the scores.
        error_rate: one-sided: the interval's confidence is 1 - 2 * error_rate.
        of_full_run: as for `loss_interval`.
    """
    rule, confidence, value = threshold.rule, 1 - 2 * error_rate, threshold.allowed
    interval = rule.of(Quantities(relative=_relative, absolute=_absolute, pruned=_pruned))
    found = interval(paired, confidence, of_full_run=of_full_run)
    if rule.at_least and not rule.is_of_loss:  # as a loss: how far the score lies below it
        found, value = replace(found, low=-found.high, high=-found.low), -value
    return Distance(low=found.low - value, high=found.high - value)


def strictest(threshold: Threshold, paired: Paired, *, error_rate: float, of_full_run: bool) -> float | None:
    """The strictest value that a threshold can have for all of the interval to meet it; None where there is none.

    Args:
        threshold: of the check; its own value does not matter.
        paired: the scores.
        error_rate: one-sided, as for `distance`.
        of_full_run: as for `loss_interval`.
    """
    beyond = distance(threshold, paired, error_rate=error_rate, of_full_run=of_full_run).high
    value = float(threshold.value) + (-beyond if threshold.rule.at_least else beyond)
    return value if math.isfinite(value) else None


def _relative(paired: Paired, confidence: float, *, of_full_run: bool) -> Interval:
    if paired.sizes is not None:
        of = paired.total if of_full_run else None
        return ratio_increase_interval(paired.original, paired.pruned, paired.sizes, confidence=confidence, of=of)
    return _signed(relative_drop_interval, paired, confidence, of_full_run=of_full_run)


def _absolute(paired: Paired, confidence: float, *, of_full_run: bool) -> Interval:
    if paired.sizes is not None:
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    return _signed(absolute_drop_interval, paired, confidence, of_full_run=of_full_run)


def _signed(interval: Callable[..., Interval], paired: Paired, confidence: float, *, of_full_run: bool) -> Interval:
    """The interval of a loss, which is a drop where higher is better and the opposite elsewhere."""
    strata = [part if of_full_run else replace(part, of=None) for part in paired.strata]
    found = interval(
        paired.original, paired.pruned, confidence=confidence, of=paired.total if of_full_run and not strata else None,
        clusters=None if of_full_run else paired.clusters, strata=strata,
    )  # fmt: skip
    least, most = (-1.0, 1.0) if interval is absolute_drop_interval else (-math.inf, 1.0)  # scores lie between 0 and 1
    found = replace(found, low=max(found.low, least), high=min(found.high, most))
    return found if paired.higher_is_better else replace(found, low=-found.high, high=-found.low)


def _pruned(paired: Paired, confidence: float, *, of_full_run: bool) -> Interval:
    """Of the pruned model's own score: its difference from nothing at all."""
    nothing = replace(paired, original=(0.0,) * len(paired.keys), higher_is_better=False)
    found = _absolute(nothing, confidence, of_full_run=of_full_run)
    return replace(found, low=max(found.low, 0.0))


def _as_bounds(
    relative: Interval, absolute: Interval, pruned: Interval, paired: Paired, *, of_full_run: bool
) -> LossInterval:
    return LossInterval(
        relative=_bounds(relative), absolute=_bounds(absolute), pruned=_bounds(pruned) if paired.sizes is None else (None, None),
        of_full_run=of_full_run, unit="documents" if paired.is_random else "windows",
    )  # fmt: skip


def _bounds(interval: Interval) -> Bounds:
    low, high = interval.low, interval.high
    return (low if math.isfinite(low) else None, high if math.isfinite(high) else None)


def _holds(bounds: Bounds, value: float) -> bool:
    low, high = bounds
    return (low is None or low <= value) and (high is None or value <= high)
