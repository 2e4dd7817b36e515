"""The ways to say how much may be lost: one class for each, and the registry of them by their keys in thresholds.yaml.

A rule knows how its value is written, which figure it is about, and when that breaks it. What else depends on it (an interval,
a margin, a noise floor) is asked for by `of`, which picks the value that goes with the rule's figure.
"""

from __future__ import annotations

import re
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
    written in words of its own, and read by `read_text`.
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


class OfFiles(OfPruned):
    """A rule on what is counted in the pruned model's files; written below ``sparsity:``."""

    is_of_metrics = False


class MinSparsity(OfFiles):
    """The share of zeros among the pruned model's weights."""

    key = "min"
    figure = "sparsity"
    at_least = True


class MaxSparsity(OfFiles):
    """The same share from above: more zeros than were wanted are a mistake too."""

    key = "max"
    figure = "sparsity"


class MinLayerSparsity(OfFiles):
    """The share of zeros of the matrix that has the smallest."""

    key = "per_layer_min"
    figure = "sparsity of each matrix"
    at_least = True


class ZeroPattern(OfFiles):
    """The share of groups or blocks that keep a pattern of zeros: all of them have to."""

    key = "pattern"
    figure = "pattern"
    at_least = True
    takes_text = True

    @property
    def words(self) -> str:
        return self.figure

    def read_text(self, text: str) -> Decimal:
        parse_pattern(text)
        return Decimal(1)


class MinParameterReduction(OfFiles):
    """By how much fewer parameters the pruned model has, as a share of the original's."""

    key = "min_parameter_reduction"
    figure = "parameter reduction"
    at_least = True


class MaxSize(OfFiles):
    """Bytes of the pruned model's weight files."""

    key = "max_size"
    figure = "size on disk"
    is_share = False
    takes_text = True

    def read_text(self, text: str) -> Decimal:
        found = _SIZE.fullmatch(text)
        if not found:
            raise ValueError(f"{self} is {text}: expected a size such as 4 GiB, 900 MiB or 3.5 GB.")
        return Decimal(found["number"]) * _BYTES[found["unit"].lower()]

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        return False


class MaxRegrown(OfFiles):
    """The share of the zeros that pruning left that are numbers again; written as mask.max_regrown."""

    key = "max_regrown"
    figure = "regrown zeros"


@dataclass(frozen=True, kw_only=True)
class Groups:
    """At most `most` numbers other than zero in each group of `size` neighbours in a row."""

    most: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of so many rows and columns, each of them all zero or without zeros."""

    rows: int
    columns: int


def parse_pattern(text: str) -> Groups | Blocks:
    """A pattern of zeros as thresholds.yaml has it.

    Raises:
        ValueError: it is none, and why.
    """
    if found := _GROUPS.fullmatch(text.strip()):
        most, size = int(found[1]), int(found[2])
        if most >= size:
            raise ValueError(
                f"pattern is {text}: of N:M, N numbers other than zero are left in each group of M, and N is smaller than M."
            )
        return Groups(most=most, size=size)
    if found := _BLOCK.fullmatch(text.strip()):
        return Blocks(rows=int(found[1]), columns=int(found[2]))
    raise ValueError(f'pattern is {text}: expected N:M such as "2:4", or "block:16x16".')


_GROUPS = re.compile(r"([1-9]\d?):([1-9]\d{0,2})")
_BLOCK = re.compile(r"block:([1-9]\d{0,3})x([1-9]\d{0,3})")
_SIZE = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>[kmgt]i?b|b)", re.IGNORECASE)
_BYTES: dict[str, int] = {"b": 1} | {
    f"{letter}{i}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for i, base in (("", 1000), ("i", 1024))
}

MAX_RELATIVE_DROP = MaxRelativeDrop()
MAX_RELATIVE_INCREASE = MaxRelativeIncrease()
MAX_ABSOLUTE_DROP = MaxAbsoluteDrop()
MIN_RECOVERY = MinRecovery()
MIN_SCORE = MinScore()
MAX_SHARE = MaxShare()
MIN_SPARSITY = MinSparsity()
MAX_SPARSITY = MaxSparsity()
MIN_LAYER_SPARSITY = MinLayerSparsity()
ZERO_PATTERN = ZeroPattern()
MIN_PARAMETER_REDUCTION = MinParameterReduction()
MAX_SIZE = MaxSize()
MAX_REGROWN = MaxRegrown()

RULES: dict[str, Rule] = {
    rule.key: rule for rule in (
        MAX_RELATIVE_DROP, MAX_RELATIVE_INCREASE, MAX_ABSOLUTE_DROP, MIN_RECOVERY, MIN_SCORE, MAX_SHARE, MIN_SPARSITY,
        MAX_SPARSITY, MIN_LAYER_SPARSITY, ZERO_PATTERN, MIN_PARAMETER_REDUCTION, MAX_SIZE, MAX_REGROWN,
    )
}  # fmt: skip
"""All rules, by their keys."""
