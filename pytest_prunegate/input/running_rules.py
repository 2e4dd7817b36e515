"""Rules on what is found where both models run side by side: their next-token distributions (``agreement:``), their speed (``speed:``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.input.rule import OfPruned

if TYPE_CHECKING:
    from decimal import Decimal


class OfRuns(OfPruned):
    """A rule on a figure of both models that ran."""

    is_of_metrics = False


class MinTop1(OfRuns):
    """The share of positions at which both models find the same token the likeliest."""

    key = "min_top1"
    figure = "top-1 agreement"
    at_least = True


class OfNumbers(OfRuns):
    """A rule on a figure that is no share."""

    is_share = False

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        return False

    def read(self, number: Decimal, text: str) -> Decimal:
        if text.endswith("%"):
            raise ValueError(f"{self} is {text}: it is no share, and takes no per cent sign.")
        if number < 0:
            raise ValueError(f"{self} is {text}: it cannot be negative.")
        return number


class MaxKl(OfNumbers):
    """The mean Kullback-Leibler divergence over positions, in nats."""

    key = "max_kl"
    figure = "mean KL divergence"


class MaxKlP99(OfNumbers):
    """Its 99th percentile over positions, in nats: a mean hides where the model breaks down."""

    key = "max_kl_p99"
    figure = "99th percentile of the KL divergence"


class MaxPerplexityRatio(OfNumbers):
    """The pruned model's perplexity over the original's."""

    key = "max_perplexity_ratio"
    figure = "ratio of perplexities"


class MinSpeedup(OfNumbers):
    """The original's time over the pruned model's, for a prompt and the tokens generated behind it."""

    key = "min_speedup"
    figure = "speedup"
    at_least = True


MIN_TOP1 = MinTop1()
MAX_KL = MaxKl()
MAX_KL_P99 = MaxKlP99()
MAX_PERPLEXITY_RATIO = MaxPerplexityRatio()
MIN_SPEEDUP = MinSpeedup()
