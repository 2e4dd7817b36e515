"""Intervals for what a pruned model lost, from paired scores of the same documents.

Two questions, never mixed: what the full set would say (`of` documents, of which these are a random sample without
replacement), and what other documents like these would say (`of` is None). Losses are positive where the pruned model is
worse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

_LEAST = 2  # documents or clusters that have a spread


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bounds of a loss; infinite where the scores do not bound it."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Squared spread of the means: sums of squares and products about the means, and what they are multiplied by."""

    oo: float
    op: float
    pp: float
    factor: float

    def at(self, recovery: float) -> float:
        """Of mean(pruned) - recovery * mean(original), with one document that changed each way."""
        own = self.pp - 2 * recovery * self.op + recovery**2 * self.oo
        return self.factor * (own + 1 + recovery**2)


def relative_drop_interval(
    original: ArrayLike,
    pruned: ArrayLike,
    *,
    confidence: float,
    of: int | None = None,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Interval for (mean of original - mean of pruned) / mean of original.

    Fieller's set for the ratio of two paired means (Fieller 1954, J. R. Stat. Soc. B 16:175), with Student's quantile and
    one document that changed each way added to the spread, so that its width is above zero where none changed. Where
    documents share a cluster, residuals are summed within it (cluster-robust, as Miller 2024, arXiv 2411.00640, does for
    one mean).

    Args:
        original: scores of the original model, (n,).
        pruned: those of the pruned model on the same documents in the same order, (n,).
        confidence: two-sided, such as 0.95.
        of: size of the full set that the documents were drawn from; None for other documents like these.
        clusters: what each document shares with others, (n,).

    Returns:
        The interval; unbounded where the original's mean cannot be told from 0, or there are fewer than two documents or
        clusters.

    Raises:
        ValueError: lengths differ, there is no document, a score is not finite, or `of` is smaller than n.
    """
    o, p = _paired(original, pruned, of)
    unbounded = Interval(low=-math.inf, high=math.inf, confidence=confidence)
    mean_o, mean_p = float(o.mean()), float(p.mean())
    if of == len(o):
        return _point(1 - mean_p / mean_o, confidence) if mean_o else unbounded
    spread = _spread(o, p, confidence, of, clusters)
    if spread is None:
        return unbounded
    a = mean_o**2 - spread.factor * (spread.oo + 1)
    b = mean_o * mean_p - spread.factor * spread.op
    c = mean_p**2 - spread.factor * (spread.pp + 1)
    if a <= 0:
        return unbounded
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(low=1 - (b + root) / a, high=1 - (b - root) / a, confidence=confidence)


def absolute_drop_interval(
    original: ArrayLike,
    pruned: ArrayLike,
    *,
    confidence: float,
    of: int | None = None,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Interval for mean of original - mean of pruned, in score units.

    Student's for paired differences, with one document that changed each way added to the spread; arguments, the case of
    too few documents and errors as for `relative_drop_interval`.
    """
    o, p = _paired(original, pruned, of)
    drop = float(o.mean() - p.mean())
    if of == len(o):
        return _point(drop, confidence)
    spread = _spread(o, p, confidence, of, clusters)
    half = math.inf if spread is None else math.sqrt(spread.at(1.0))
    return Interval(low=drop - half, high=drop + half, confidence=confidence)


def _point(value: float, confidence: float) -> Interval:
    """The full set was measured, and leaves no doubt about itself."""
    return Interval(low=value, high=value, confidence=confidence)


def _paired(original: ArrayLike, pruned: ArrayLike, of: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    o, p = np.asarray(original, dtype=np.float64), np.asarray(pruned, dtype=np.float64)
    if o.ndim != 1 or o.shape != p.shape or not len(o):
        raise ValueError(f"expected two series of equal length, got shapes {o.shape} and {p.shape}")
    if not (np.isfinite(o).all() and np.isfinite(p).all()):
        raise ValueError("a score is not finite")
    if of is not None and of < len(o):
        raise ValueError(f"{len(o)} documents cannot be drawn from {of}")
    return o, p


def _spread(
    o: NDArray[np.float64],
    p: NDArray[np.float64],
    confidence: float,
    of: int | None,
    clusters: Sequence[Hashable] | None,
) -> _Spread | None:
    """The spread times the squared quantile; None where there are too few documents or clusters to have one."""
    n = len(o)
    residual_o, residual_p = o - o.mean(), p - p.mean()
    groups, factor = n, 1 / (n * max(n - 1, 1))
    if clusters is not None:
        names = {name: position for position, name in enumerate(dict.fromkeys(clusters))}
        places = np.array([names[name] for name in clusters])
        residual_o, residual_p = (np.bincount(places, weights=values) for values in (residual_o, residual_p))
        groups = len(names)
        factor = groups / (max(groups - 1, 1) * n**2)
    if groups < _LEAST:
        return None
    quantile = float(stdtrit(groups - 1, (1 + confidence) / 2))
    if of is not None:
        factor *= 1 - n / of
    return _Spread(
        oo=float(residual_o @ residual_o), op=float(residual_o @ residual_p), pp=float(residual_p @ residual_p),
        factor=factor * quantile**2,
    )  # fmt: skip
