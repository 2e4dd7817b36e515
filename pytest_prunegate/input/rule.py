"""What a way to say how much may be lost is made of.

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
    `takes_name_of_check`: whether the file writes it under the check's own name in place of `key`. `takes_text`: whether its value is
    written in words of its own, and read by `read_text`. `has_own_check`: whether a metric's threshold of this rule is a check of its own,
    called after both (`name_of`).
    """

    key: ClassVar[str]
    figure: ClassVar[str]
    is_share: ClassVar[bool] = True
    at_least: ClassVar[bool] = False
    is_of_loss: ClassVar[bool] = False
    needs_original: ClassVar[bool] = False
    is_of_metrics: ClassVar[bool] = True
    takes_name_of_check: ClassVar[bool] = False
    takes_text: ClassVar[bool] = False
    has_own_check: ClassVar[bool] = False

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __str__(self) -> str:
        return self.key

    def name_of(self, check: str) -> str:
        """What the check is called that a threshold below a metric belongs to."""
        return f"{check}.{self}" if self.has_own_check else check

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

    def read_text(self, text: str) -> Decimal:
        """A value that is written in words of the rule's own.

        Raises:
            ValueError: it is no value for this rule, and why.
        """
        raise NotImplementedError

    def problem_with(self, metric: str, value: Decimal, text: str, *, higher_is_better: bool | None, is_mean: bool) -> str | None:  # fmt: skip
        """Why a metric cannot have a threshold of this rule; None where it can."""
        if higher_is_better is False and self.at_least:
            return f"{self} is for metrics where higher is better; lower is better for {metric}. Use max_relative_increase."
        return None

    def _may_exceed_one(self, *, is_percent: bool) -> bool:
        return False


class OfPruned(Rule):
    """A rule on the pruned model alone."""

    def of(self, quantities: Quantities[T]) -> T:
        return quantities.pruned
