"""The records of what both models gave when they ran side by side: how far apart their distributions are, and how fast they are."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_prunegate.report.summary.values import Count, Share
from pytest_prunegate.tasks.agreement import QUANTILE


@dataclass(frozen=True, kw_only=True)
class AgreementStretch:
    """Agreement on a part of all windows.

    Attributes:
        first: First position in the window, from 1.
        last: Last one.
        top1: Share of these positions at which both models find the same token the likeliest.
        kl: Mean divergence there, in nats.
    """

    first: Count
    last: Count
    top1: Share
    kl: float


@dataclass(frozen=True, kw_only=True)
class AgreementSummary:
    """How far the pruned model's next-token distributions are from the original's on windows of a text.

    Attributes:
        windows: How many there are.
        positions: Tokens that were predicted in them.
        top1: Share of positions at which both models find the same token the likeliest.
        kl: Mean divergence KL(original || pruned), in nats.
        kl_error: Its standard error over windows; null for a single one.
        sampling_error: The part of that error that comes of a baseline's keeping a sample of the original's distributions; 0 where it is exact.
        kl_p99: 99th percentile of the divergence over positions, in nats; null where a baseline kept a sample, which would make it too high.
        perplexity_ratio: The pruned model's perplexity over the original's.
        ratio_error: Its standard error over windows; null for a single one.
        original_perplexity: The original's.
        pruned_perplexity: The pruned model's.
        along: The same along the position in the window.
    """

    windows: Count
    positions: Count
    top1: Share
    kl: float
    kl_error: float | None
    sampling_error: float
    kl_p99: float | None
    perplexity_ratio: float
    ratio_error: float | None
    original_perplexity: float
    pruned_perplexity: float
    along: tuple[AgreementStretch, ...]

    @property
    def text(self) -> str:
        """The figures in words; what stands behind ± is a standard error."""
        kl, ratio = ("" if error is None else f" ± {error:.4g}" for error in (self.kl_error, self.ratio_error))
        percentile = "" if self.kl_p99 is None else f" (99th percentile {self.kl_p99:.4g})"
        sampled = (
            f", of a baseline's sample: known within {QUANTILE * self.sampling_error:.2g}"
            if self.sampling_error
            else ""
        )
        return (
            f"top-1 agreement {self.top1:.2%}, KL divergence {self.kl:.4g}{kl} nats{percentile}{sampled}, "
            f"perplexity x{self.perplexity_ratio:.4f}{ratio}, at {self.positions:,} positions of {self.windows} windows"
        )


@dataclass(frozen=True, kw_only=True)
class SpeedRatio:
    """How many times as fast the pruned model is: the original's time over its own.

    Attributes:
        median: Over pairs of runs.
        low: Lower bound of the median's 95% interval.
        high: Upper bound.
    """

    median: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The ratio in words."""
        return f"{self.median:.2f}x ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class ModelSpeed:
    """How fast one of the models is.

    Attributes:
        prefill: Tokens of prompts read in a second.
        decode: Tokens generated in a second.
        memory: Bytes of its weights and of all beside them at the peak; null where the device does not tell.
        weights: Bytes of its weights in memory.
    """

    prefill: float
    decode: float
    memory: Count | None
    weights: Count

    @property
    def text(self) -> str:
        """The tokens a second in words."""
        return f"{self.prefill:,.1f} tokens/s read, {self.decode:,.1f} generated"


@dataclass(frozen=True, kw_only=True)
class SpeedSummary:
    """What pruning bought on this machine, by runs of both models by turns.

    Attributes:
        prompt: Tokens of a prompt.
        generate: Tokens generated behind it.
        batch: Prompts at once.
        pairs: Pairs of runs.
        place: Device and hardware.
        total: Ratio of times of whole runs.
        prefill: That of reading the prompts.
        decode: That of generating.
        original: How fast the original is.
        pruned: How fast the pruned model is.
        remark: Why zeros made it no faster; null where that is no question.
    """

    prompt: Count
    generate: Count
    batch: Count
    pairs: Count
    place: str
    total: SpeedRatio
    prefill: SpeedRatio
    decode: SpeedRatio
    original: ModelSpeed
    pruned: ModelSpeed
    remark: str | None

    @property
    def text(self) -> str:
        """The ratios in words."""
        parts = f"prefill {self.prefill.text}, decoding {self.decode.text}"
        what = f"{self.batch} x ({self.prompt} + {self.generate}) tokens in {self.pairs} pairs of runs on {self.place}"
        return f"{self.total.text} as fast: {parts}; {what}"
