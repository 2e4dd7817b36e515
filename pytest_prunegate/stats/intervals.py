"""Intervals for what a pruned model lost, from paired scores of the same documents.

Two questions, never mixed: what the full set would say (`of` documents, of which these are a random sample without
replacement), and what other documents like these would say (`of` is None). Losses are positive where the pruned model is
worse.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

_LARGEST_LOGARITHM = 709.0  # of a floating point number
_LEAST = 2  # documents or clusters that have a spread


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bounds of a loss; infinite where the scores do not bound it."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A part of the documents that was drawn on its own, such as a group's member.

    `drawn` documents of it stand next to each other in the scores; `of` is the size of the full part (None: other
    documents like these are asked about). `weight` is its share of the mean; the weights of all parts add up to 1.
    """

    drawn: int
    of: int | None
    weight: float


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Squared spread of the means: sums of squares and products about the means, the weight of one flip, the quantile.

    A flip is a document, or a cluster of mean size: with G clusters of n documents, f m^2 = G / ((G - 1) n^2) (n / G)^2.
    """

    oo: float
    op: float
    pp: float
    flip: float
    quantile: float

    def at(self, recovery: float) -> float:
        """Of mean(pruned) - recovery * mean(original), times the squared quantile.

        One document, or one cluster of mean size, that changed each way is added.
        """
        own = self.pp - 2 * recovery * self.op + recovery * recovery * self.oo
        return self.quantile * self.quantile * (own + self.flip * (1 + recovery * recovery))


def relative_drop_interval(
    original: ArrayLike,
    pruned: ArrayLike,
    *,
    confidence: float,
    of: int | None = None,
    clusters: Sequence[Hashable] | None = None,
    strata: Sequence[Stratum] = (),
) -> Interval:
    """Interval for (mean of original - mean of pruned) / mean of original.

    Fieller's set for the ratio of two paired means (Fieller 1954, J. R. Stat. Soc. B 16:175), with Student's quantile and
    one document that changed each way added to the spread, so that its width is above zero where none changed. Where
    documents share a cluster, residuals are summed within it (cluster-robust, as Miller 2024, arXiv 2411.00640, does for
    one mean), and what changed each way is a cluster of mean size: whole clusters change together. Where they were drawn in
    strata, the strata's variances add up with their squared weights.

    Args:
        original: scores of the original model, (n,).
        pruned: those of the pruned model on the same documents in the same order, (n,).
        confidence: two-sided, such as 0.95.
        of: size of the full set that the documents were drawn from; None for other documents like these.
        clusters: what each document shares with others, (n,); for other documents like these alone.
        strata: the parts that the documents were drawn in, in their order, in place of `of`; empty for one. A cluster lies
            within one of them.

    Returns:
        The interval; unbounded where the original's mean cannot be told from 0, or there are fewer than two documents or
        clusters.

    Raises:
        ValueError: lengths differ, there is no document, a score is not finite, `of` is smaller than n, or clusters are
            given for a sample of a full set.
    """
    o, p = _paired(original, pruned)
    design = _Design(len(o), of, clusters, strata)
    unbounded = Interval(low=-math.inf, high=math.inf, confidence=confidence)
    mean_o, mean_p = design.mean(o), design.mean(p)
    if design.is_complete:
        return _point(1 - mean_p / mean_o, confidence) if mean_o else unbounded
    spread = design.spread(o, p, confidence)
    if spread is None:
        return unbounded
    factor = spread.quantile * spread.quantile
    a = mean_o * mean_o - factor * (spread.oo + spread.flip)
    b = mean_o * mean_p - factor * spread.op
    c = mean_p * mean_p - factor * (spread.pp + spread.flip)
    if not (0 < a < math.inf and math.isfinite(b) and math.isfinite(c)):
        return unbounded
    root = math.sqrt(max(b * b - a * c, 0.0))
    return _interval(1 - (b + root) / a, 1 - (b - root) / a, confidence)


def absolute_drop_interval(
    original: ArrayLike,
    pruned: ArrayLike,
    *,
    confidence: float,
    of: int | None = None,
    clusters: Sequence[Hashable] | None = None,
    strata: Sequence[Stratum] = (),
) -> Interval:
    """Interval for mean of original - mean of pruned, in score units.

    Student's for paired differences, with one document that changed each way added to the spread; arguments, the case of
    too few documents and errors as for `relative_drop_interval`.
    """
    o, p = _paired(original, pruned)
    design = _Design(len(o), of, clusters, strata)
    drop = design.mean(o) - design.mean(p)
    if design.is_complete:
        return _point(drop, confidence)
    spread = design.spread(o, p, confidence)
    half = math.inf if spread is None else math.sqrt(max(spread.at(1.0), 0.0))
    return _interval(drop - half, drop + half, confidence)


def ratio_increase_interval(
    original: ArrayLike, pruned: ArrayLike, sizes: ArrayLike, *, confidence: float, of: int | None = None
) -> Interval:
    """Interval for the relative increase of a perplexity, exp(sum of losses / sum of sizes), over paired windows.

    Its logarithm is a ratio of sums; the residuals of that ratio give its spread (Cochran 1977, Sampling Techniques, 3rd
    edition, equation 6.13), with Student's quantile.

    Args:
        original: negative log-likelihood of each window or document by the original model, in nats, (n,).
        pruned: that by the pruned model, (n,).
        sizes: predicted tokens, words or bytes of each, (n,).
        confidence: two-sided, such as 0.95.
        of: size of the full set that they were drawn from at random; None for others like these.

    Returns:
        The interval; unbounded where there are fewer than two.

    Raises:
        ValueError: as for `relative_drop_interval`, and sizes that are not positive.
    """
    o, p = _paired(original, pruned)
    w = np.asarray(sizes, dtype=np.float64)
    n = len(o)
    if w.shape != o.shape or not (w > 0).all():
        raise ValueError("expected a positive size for each score")
    _refuse_small_set(n, of)
    ratio = float((p - o).sum() / w.sum())
    if of == n:
        return _point(growth(ratio), confidence)
    if n < _LEAST:
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    residuals = (p - o) - ratio * w
    size = float(w.sum())
    variance = n / (n - 1) * float(residuals @ residuals) / size / size * (1 - n / of if of else 1)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * math.sqrt(variance)
    return _interval(growth(ratio - half), growth(ratio + half), confidence)


def growth(logarithm: float) -> float:
    """exp(x) - 1; infinite where floating point numbers end."""
    return math.expm1(logarithm) if not logarithm > _LARGEST_LOGARITHM else math.inf


def _interval(low: float, high: float, confidence: float) -> Interval:
    """The bounds; infinite where the scores are so large that they cannot be told."""
    return Interval(
        low=-math.inf if math.isnan(low) else low, high=math.inf if math.isnan(high) else high, confidence=confidence
    )


def _point(value: float, confidence: float) -> Interval:
    """The full set was measured, and leaves no doubt about itself."""
    return Interval(low=value, high=value, confidence=confidence)


def _paired(original: ArrayLike, pruned: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    o, p = np.asarray(original, dtype=np.float64), np.asarray(pruned, dtype=np.float64)
    if o.ndim != 1 or o.shape != p.shape or not len(o):
        raise ValueError(f"expected two series of equal length, got shapes {o.shape} and {p.shape}")
    if not (np.isfinite(o).all() and np.isfinite(p).all()):
        raise ValueError("a score is not finite")
    return o, p


def _refuse_small_set(drawn: int, of: int | None) -> None:
    if of is not None and of < drawn:
        raise ValueError(f"{drawn} documents cannot be drawn from {of}")


class _Design:
    """How documents were drawn: what each weighs, and how the spread of a mean follows from its residuals."""

    def __init__(self, n: int, of: int | None, clusters: Sequence[Hashable] | None, strata: Sequence[Stratum]) -> None:
        if clusters is not None and (of is not None or any(part.of is not None for part in strata)):
            raise ValueError("clusters are for other documents like these: a random sample of the full set needs none")
        self._parts = tuple(strata) or (Stratum(drawn=n, of=of, weight=1.0),)
        if sum(part.drawn for part in self._parts) != n:
            raise ValueError(f"the strata do not hold {n} documents")
        for part in self._parts:
            _refuse_small_set(part.drawn, part.of)
        self._clusters = clusters
        self._weights = np.concatenate([np.full(part.drawn, part.weight / part.drawn) for part in self._parts])

    @property
    def is_complete(self) -> bool:
        """Whether the full set was looked at."""
        return all(part.of == part.drawn for part in self._parts)

    def mean(self, scores: NDArray[np.float64]) -> float:
        return float(self._weights @ scores)

    def spread(self, o: NDArray[np.float64], p: NDArray[np.float64], confidence: float) -> _Spread | None:
        """The spread of the means; None where there are too few documents or clusters to have one."""
        n = len(o)
        units = [len(set(part)) for part in self._split(self._clusters)] if self._clusters else [part.drawn for part in self._parts]  # fmt: skip
        left = np.concatenate(
            [np.full(part.drawn, 1 - part.drawn / part.of if part.of else 1.0) for part in self._parts]
        )
        alone = any(count < _LEAST and part.of != part.drawn for count, part in zip(units, self._parts, strict=True))
        freedom = sum(units) - len(self._parts)
        if freedom < 1 or alone:
            return None
        residual_o, residual_p = (self._residuals(scores, left) for scores in (o, p))
        return _Spread(
            oo=float(residual_o @ residual_o), op=float(residual_o @ residual_p), pp=float(residual_p @ residual_p),
            flip=float((self._weights**2 * left).sum()) / max(sum(units) - 1, 1) * (n / sum(units)),
            quantile=float(stdtrit(freedom, (1 + confidence) / 2)),
        )  # fmt: skip

    def _residuals(self, scores: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted distances from the stratum's mean, one for each document or cluster; their squares add up to a variance."""
        found = []
        clusters = self._split(self._clusters) if self._clusters else [None] * len(self._parts)
        for inside, weights, shares, names in zip(
            self._split(scores), self._split(self._weights), self._split(left), clusters, strict=True
        ):
            distances = weights * (inside - inside.mean())
            if names is not None:
                places = {name: place for place, name in enumerate(dict.fromkeys(names))}
                distances = np.bincount([places[name] for name in names], weights=distances)
                shares = np.ones(len(distances))  # noqa: PLW2901 - clusters are for other documents like these
            count = len(distances)
            found.append(distances * np.sqrt(count / max(count - 1, 1) * shares))
        return np.concatenate(found)

    def _split(self, values: Any) -> list[Any]:
        """What belongs to each stratum."""
        ends = [0, *np.cumsum([part.drawn for part in self._parts])]
        return [values[start:stop] for start, stop in itertools.pairwise(ends)]
