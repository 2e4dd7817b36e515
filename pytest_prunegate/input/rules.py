"""The ways to say how much a metric may lose: one class for each, and the registry of all rules by their keys in thresholds.yaml."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.input.file_rules import (
    MAX_REGROWN,
    MAX_SIZE,
    MAX_SPARSITY,
    MIN_LAYER_SPARSITY,
    MIN_PARAMETER_REDUCTION,
    MIN_SPARSITY,
    ZERO_PATTERN,
)
from pytest_prunegate.input.rule import Number, OfPruned, Quantities, Rule, T
from pytest_prunegate.input.running_rules import MAX_KL, MAX_KL_P99, MAX_PERPLEXITY_RATIO, MIN_SPEEDUP, MIN_TOP1

if TYPE_CHECKING:
    from decimal import Decimal


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


class OfAnswers(OfPruned):
    """A rule on the share of the documents whose scores on a metric are not what they were; a mean may stay where half of them change."""

    has_own_check = True

    def problem_with(self, metric: str, value: Decimal, text: str, *, higher_is_better: bool | None, is_mean: bool) -> str | None:  # fmt: skip
        return None if is_mean else f"{self} counts documents, and {metric} has no score of each."


class MaxLost(OfAnswers):
    """Documents that the pruned model scores worse on than the original."""

    key = "max_lost"
    figure = "answers lost"


class MaxFlips(OfAnswers):
    """Documents that it scores worse or better on ("flips": https://arxiv.org/abs/2407.09141)."""

    key = "max_flips"
    figure = "answers changed"


MAX_RELATIVE_DROP = MaxRelativeDrop()
MAX_RELATIVE_INCREASE = MaxRelativeIncrease()
MAX_ABSOLUTE_DROP = MaxAbsoluteDrop()
MIN_RECOVERY = MinRecovery()
MIN_SCORE = MinScore()
MAX_SHARE = MaxShare()
MAX_LOST = MaxLost()
MAX_FLIPS = MaxFlips()

RULES: dict[str, Rule] = {
    rule.key: rule for rule in (
        MAX_RELATIVE_DROP, MAX_RELATIVE_INCREASE, MAX_ABSOLUTE_DROP, MIN_RECOVERY, MIN_SCORE, MAX_SHARE, MAX_LOST, MAX_FLIPS, MIN_SPARSITY,
        MAX_SPARSITY, MIN_LAYER_SPARSITY, ZERO_PATTERN, MIN_PARAMETER_REDUCTION, MAX_SIZE, MAX_REGROWN,
        MIN_TOP1, MAX_KL, MAX_KL_P99, MAX_PERPLEXITY_RATIO, MIN_SPEEDUP,
    )
}  # fmt: skip
"""All rules, by their keys."""
