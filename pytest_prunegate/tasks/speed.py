"""How fast two models run: timed runs in pairs, and ratios of their times with intervals."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIDENCE = 0.95
LEAST_PAIRS = 6
"""Fewer have no interval for the median at this confidence."""


@dataclass(frozen=True, kw_only=True)
class TimedRun:
    """One run: seconds until the first token, and for those behind it.

    `memory` is what it took beside the weights at its peak, in bytes; None where the device does not tell.
    """

    prefill: float
    decode: float
    memory: int | None = None

    @property
    def seconds(self) -> float:
        """Both."""
        return self.prefill + self.decode


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The median of ratios of pairs, and the bounds of its interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Both models on the same prompts: `batch` prompts of `prompt` tokens, each with `generate` tokens behind it.

    `pairs` are runs one after the other, the original's first in each pair of numbers; `weights` are the bytes of both models in memory,
    `place` is the device with its hardware.
    """

    prompt: int
    generate: int
    batch: int
    pairs: tuple[tuple[TimedRun, TimedRun], ...]
    weights: tuple[int, int]
    place: str

    @property
    def total(self) -> Ratio:
        """That of whole runs."""
        return self.ratio(lambda run: run.seconds)

    @property
    def prefill(self) -> Ratio:
        """That of reading the prompts."""
        return self.ratio(lambda run: run.prefill)

    @property
    def decode(self) -> Ratio:
        """That of generating."""
        return self.ratio(lambda run: run.decode)

    def ratio(self, seconds: Callable[[TimedRun], float]) -> Ratio:
        """How many times as fast the pruned model is.

        The interval is that of the median between two order statistics, which needs no distribution of times: from nine pairs on, a
        run that something else on the machine delays moves no bound (Conover, Practical Nonparametric Statistics, 3.2).

        Args:
            seconds: what counts of a run.
        """
        found = sorted(seconds(original) / seconds(pruned) for original, pruned in self.pairs)
        rank = _rank(len(found))
        return Ratio(median=statistics.median(found), low=found[rank - 1], high=found[-rank])

    def tokens_per_second(self, side: int) -> tuple[float, float]:
        """Medians of a model's tokens a second: of prompts read, and of tokens generated."""
        runs = [pair[side] for pair in self.pairs]
        prefill, decode = (
            statistics.median(times) for times in ([run.prefill for run in runs], [run.decode for run in runs])
        )
        return self.batch * self.prompt / prefill, self.batch * (self.generate - 1) / decode

    def memory(self, side: int) -> int | None:
        """Bytes of a model's weights and of all that its runs took beside them at their peak; None where the device does not tell."""
        beside = [pair[side].memory for pair in self.pairs]
        known = [one for one in beside if one is not None]
        return self.weights[side] + max(known) if len(known) == len(beside) else None


def _rank(pairs: int) -> int:
    """The largest rank from either end between whose values the median lies with this confidence: binomial with 1/2."""
    tail, rank = 0.0, 0
    while tail + math.comb(pairs, rank) / 2**pairs <= (1 - CONFIDENCE) / 2:
        tail += math.comb(pairs, rank) / 2**pairs
        rank += 1
    return rank
