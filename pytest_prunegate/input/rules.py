"""The ways to say how much may be lost: one class for each, and the registry of them by their keys in thresholds.yaml.

A rule knows how its value is written, which figure it is about, and when that breaks it. What else depends on it (an interval,
a margin, a noise floor) is asked for by `of`, which picks the value that goes with the rule's figure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Generic, TypeVar

T = TypeVar("T")
Number = TypeVar("Number", float, Decimal, Fraction)


@dataclass(frozen=True, kw_only=True)
class Quantities(Generic[T]):
    """One value for each figure that a threshold can be about: the relative loss, the loss in score units, the pruned model's own score."""

    relative: T
    absolute: T
    pruned: T


class Rule(ABC):
    """A kind of threshold. Rules have no state: two of one class are equal.

    `figure` names the figure in words. `is_share`: whether values are shares, written in per cent; otherwise they are in score
    units. `at_least`: whether the figure must not fall below the value; otherwise it must not exceed it. `is_of_loss`: whether
    the figure is what was lost against the original; otherwise it is the pruned model's own. `needs_original`: whether the
    figure exists only where the original scores above 0. `is_of_metrics`: whether a metric in thresholds.yaml may have it.
    `takes_name_of_check`: whether the file writes it under the check's own name in place of `key`.
    """

    key: ClassVar[str]
    figure: ClassVar[str]
    is_share: ClassVar[bool] = True
    at_least: ClassVar[bool] = False
    is_of_loss: ClassVar[bool] = False
    needs_original: ClassVar[bool] = False
    is_of_metrics: ClassVar[bool] = True
    takes_name_of_check: ClassVar[bool] = False

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __str__(self) -> str:
        return self.key

    @property
    def words(self) -> str:
        """The rule in a few words, before a threshold's value."""
        return f"{self.figure} {'at least' if self.at_least else 'at most'}"

    @abstractmethod
    def of(self, quantities: Quantities[T]) -> T:
        """The value that goes with the figure of this rule."""

    def as_loss(self, value: Number) -> Number:
        """A threshold's value as the loss that it allows, and back; of a rule on the pruned model's own score, that score."""
        return value

    def figure_of(self, figures: Quantities[Fraction | None]) -> Fraction | None:
        """The figure that a threshold is held against; None where there is none."""
        return self.of(figures)

    def is_broken(self, value: Decimal, figures: Quantities[Fraction | None]) -> bool:
        """Whether the figure breaks a threshold; equality does not, and a figure that does not exist does."""
        figure, limit = self.figure_of(figures), Fraction(value)
        return figure is None or (figure < limit if self.at_least else figure > limit)

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        """Whether no score from 0 on breaks a threshold.

        Args:
            value: the threshold's.
            within_one: whether scores are known to lie in [0, 1].
        """
        return value <= 0 if self.at_least else value >= 1

    def relative_limit(self, value: Decimal, original: Fraction, *, higher_is_better: bool) -> Fraction | None:
        """The largest relative drop that a threshold allows; negative where it asks for a gain, None where it names no drop.

        Args:
            value: the threshold's.
            original: the original's score, which is not 0.
            higher_is_better: of the metric.
        """
        return None

    def read(self, number: Decimal, text: str) -> Decimal:
        """A value as thresholds.yaml has it.

        Args:
            number: without its per cent sign.
            text: as it is written.

        Raises:
            ValueError: it is no value for this rule, and why.
        """
        percent = text.endswith("%")
        value = number / 100 if percent else number
        if value < 0 or (value > 1 and not self._may_exceed_one(is_percent=percent)):
            hint = f" For {text} per cent write {text}% or {value / 100}." if not percent and value > 1 else ""
            raise ValueError(f"{self} is {text}: it must lie between 0 and 1 (0% and 100%).{hint}")
        return value

    def problem_with(self, metric: str, value: Decimal, text: str, *, higher_is_better: bool | None, is_mean: bool) -> str | None:  # fmt: skip
        """Why a metric cannot have a threshold of this rule; None where it can."""
        if higher_is_better is False and self.at_least:
            return f"{self} is for metrics where higher is better; lower is better for {metric}. Use max_relative_increase."
        return None

    def _may_exceed_one(self, *, is_percent: bool) -> bool:
        return False


class RelativeLoss(Rule):
    """A rule on what was lost, as a share of the original's score."""

    is_of_loss = True
    needs_original = True

    def of(self, quantities: Quantities[T]) -> T:
        return quantities.relative

    def relative_limit(self, value: Decimal, original: Fraction, *, higher_is_better: bool) -> Fraction | None:
        return self.as_loss(Fraction(value))


class MaxRelativeDrop(RelativeLoss):
    """The loss over the original's score."""

    key = "max_relative_drop"
    figure = "relative drop"


class MaxRelativeIncrease(RelativeLoss):
    """The same loss, in the words of metrics where lower is better; a perplexity can more than double."""

    key = "max_relative_increase"
    figure = "relative increase"

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        return False

    def problem_with(self, metric: str, value: Decimal, text: str, *, higher_is_better: bool | None, is_mean: bool) -> str | None:  # fmt: skip
        if higher_is_better:
            return f"{self} is for metrics where lower is better; higher is better for {metric}. Use max_relative_drop."
        return None

    def _may_exceed_one(self, *, is_percent: bool) -> bool:
        return is_percent


class MinRecovery(RelativeLoss):
    """The pruned model's score over the original's: 1 less the relative loss."""

    key = "min_recovery"
    figure = "recovery"
    at_least = True

    def as_loss(self, value: Number) -> Number:
        return 1 - value

    def figure_of(self, figures: Quantities[Fraction | None]) -> Fraction | None:
        return None if figures.relative is None else 1 - figures.relative


class MaxAbsoluteDrop(Rule):
    """The loss in score units."""

    key = "max_absolute_drop"
    figure = "absolute drop"
    is_share = False
    is_of_loss = True

    def of(self, quantities: Quantities[T]) -> T:
        return quantities.absolute

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        return within_one and value >= 1

    def relative_limit(self, value: Decimal, original: Fraction, *, higher_is_better: bool) -> Fraction | None:
        return Fraction(value) / abs(original)

    def read(self, number: Decimal, text: str) -> Decimal:
        if text.endswith("%"):
            raise ValueError(
                f"{self} is in score units and takes no per cent sign. For three points of a score in [0, 1] write 0.03."
            )
        if number < 0:
            raise ValueError(f"{self} is {text}: it cannot be negative.")
        return number

    def problem_with(self, metric: str, value: Decimal, text: str, *, higher_is_better: bool | None, is_mean: bool) -> str | None:  # fmt: skip
        if is_mean and value > 1:
            return f"{self} is {text}: scores lie between 0 and 1. For {text} points write {value / 100}."
        return None


class OfPruned(Rule):
    """A rule on the pruned model alone."""

    def of(self, quantities: Quantities[T]) -> T:
        return quantities.pruned


class MinScore(OfPruned):
    """The pruned model's own score."""

    key = "min_score"
    figure = "score"
    is_share = False
    at_least = True

    def relative_limit(self, value: Decimal, original: Fraction, *, higher_is_better: bool) -> Fraction | None:
        return (original - Fraction(value)) / abs(original) if higher_is_better else None


class MaxShare(OfPruned):
    """A share of the pruned model's outputs; written as outputs.max_empty and outputs.max_cut."""

    key = "max_share"
    figure = "share"
    is_of_metrics = False
    takes_name_of_check = True


class MinSparsity(OfPruned):
    """The share of zeros among the pruned model's weights; written as sparsity.min."""

    key = "min"
    figure = "sparsity"
    at_least = True
    is_of_metrics = False


MAX_RELATIVE_DROP = MaxRelativeDrop()
MAX_RELATIVE_INCREASE = MaxRelativeIncrease()
MAX_ABSOLUTE_DROP = MaxAbsoluteDrop()
MIN_RECOVERY = MinRecovery()
MIN_SCORE = MinScore()
MAX_SHARE = MaxShare()
MIN_SPARSITY = MinSparsity()

RULES: dict[str, Rule] = {
    rule.key: rule for rule in (
        MAX_RELATIVE_DROP, MAX_RELATIVE_INCREASE, MAX_ABSOLUTE_DROP, MIN_RECOVERY, MIN_SCORE, MAX_SHARE, MIN_SPARSITY,
    )
}  # fmt: skip
"""All rules, by their keys."""
