"""How far two models' next-token distributions are from one another on windows of a text: records, and figures over all of them.

The divergence is that of Kullback and Leibler, KL(original || pruned) = sum over tokens of p log(p / q), in nats; 0 where both are equal.
llama.cpp's ``llama-perplexity --kl-divergence`` shows the same figures, on the second half of each window only.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cached_property
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from pytest_prunegate.tasks.requests import DISTRIBUTIONS, Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSION = "1"
"""Of this definition."""
QUANTILE = 1.96
"""Standard errors of a 95% interval, for a mean over thousands of positions."""
_PERCENTILE = 0.99
_STRETCHES = 16  # of a window, along which agreement is told


@dataclass(frozen=True, kw_only=True)
class WindowAgreement:
    """Both models on one window: one value for each token but the first, given those before it.

    `kl` is the divergence of the pruned model's distribution from the original's in nats, `same` says whether both find the same token
    the likeliest, and `original` and `pruned` are the models' losses on the text's own token, in nats.
    """

    kl: tuple[float, ...]
    same: tuple[bool, ...]
    original: tuple[float, ...]
    pruned: tuple[float, ...]
    variance: float = 0.0
    """Of the window's mean divergence, where a baseline kept a sample of the original's distributions; 0 where all of them were there."""

    def as_text(self) -> str:
        """JSON, from which `from_text` makes an equal one."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> WindowAgreement:
        """One that was written as text."""
        found = json.loads(text)
        return cls(variance=found.pop("variance"), **{key: tuple(values) for key, values in found.items()})


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of all windows: positions `first` to `last`, with the share of equal likeliest tokens and the mean divergence there."""

    first: int
    last: int
    top1: float
    kl: float


@dataclass(frozen=True)
class Agreement:
    """Both models on all windows, which are equally long; there is at least one."""

    windows: tuple[WindowAgreement, ...]

    @property
    def positions(self) -> int:
        """How many tokens were predicted."""
        return sum(len(window.kl) for window in self.windows)

    @cached_property
    def top1(self) -> Fraction:
        """The share of positions at which both models find the same token the likeliest."""
        return Fraction(sum(sum(window.same) for window in self.windows), self.positions)

    @cached_property
    def kl(self) -> float:
        """The mean divergence over positions, in nats."""
        return statistics.fmean(chain.from_iterable(window.kl for window in self.windows))

    @cached_property
    def kl_error(self) -> float | None:
        """The standard error of that mean over windows; None for a single window."""
        return _standard_error([statistics.fmean(window.kl) for window in self.windows])

    @cached_property
    def sampling_error(self) -> float:
        """The part of that error that is due to a baseline's keeping a sample: the standard error of the mean; 0 where it is exact."""
        return math.sqrt(sum(window.variance for window in self.windows)) / len(self.windows)

    @property
    def sampling_reach(self) -> float:
        """How far the mean may be from the exact one by that, in 95 of 100 baselines."""
        return QUANTILE * self.sampling_error

    @cached_property
    def kl_p99(self) -> float:
        """The 99th percentile of the divergence over positions, linearly between the two nearest, in nats."""
        ordered = sorted(chain.from_iterable(window.kl for window in self.windows))
        place = _PERCENTILE * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    @cached_property
    def perplexities(self) -> tuple[float, float]:
        """Of both models: exp of the mean loss."""
        original, pruned = (
            statistics.fmean(chain.from_iterable(getattr(window, side) for window in self.windows)) for side in ("original", "pruned")
        )  # fmt: skip
        return math.exp(original), math.exp(pruned)

    @cached_property
    def ratio(self) -> float:
        """The pruned model's perplexity over the original's: exp of the mean difference of losses."""
        return math.exp(statistics.fmean(self._differences))

    @cached_property
    def ratio_error(self) -> float | None:
        """The standard error of that ratio over windows, by the delta method; None for a single window."""
        error = _standard_error(self._differences)
        return None if error is None else self.ratio * error

    @property
    def _differences(self) -> list[float]:
        return [statistics.fmean(window.pruned) - statistics.fmean(window.original) for window in self.windows]

    def along_windows(self) -> Iterator[Stretch]:
        """The same figures along the position in the window."""
        length = len(self.windows[0].kl)
        bounds = sorted({round(part * length / _STRETCHES) for part in range(_STRETCHES + 1)})
        for start, stop in pairwise(bounds):
            yield Stretch(
                first=start + 1, last=stop,
                top1=statistics.fmean(chain.from_iterable(window.same[start:stop] for window in self.windows)),
                kl=statistics.fmean(chain.from_iterable(window.kl[start:stop] for window in self.windows)),
            )  # fmt: skip


def kept_requests(windows: Sequence[tuple[int, ...]]) -> tuple[Request, ...]:
    """What the original is asked for a baseline, one request for each window."""
    return tuple(Request(kind=DISTRIBUTIONS, tokens=window) for window in windows)


def rows_differ(original: int, pruned: int) -> str:
    """That two models give probabilities to different numbers of tokens, and what to do."""
    return (
        f"agreement: the original model's output has {original} tokens, and the pruned model's {pruned}: no divergence exists between them. "
        "Where one is padded, give both the same rows: `model.resize_token_embeddings(...)`, saved anew."
    )


def _standard_error(values: list[float]) -> float | None:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
