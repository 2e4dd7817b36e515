"""Synthetic populations of paired scores, and rule U on many orders of one of them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.stats.early_stopping import Bets, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from pytest_prunegate.stats.margins import Margin

_RIGHT_MOVES_BY = 10  # documents, in search of a sum next to 0
_PARTIAL = 1 / 3  # of the documents that a model gets right
_ROUNDING = 1e-9  # of sums in floats


@dataclass(frozen=True, kw_only=True)
class Population:
    """Scores of the same documents by both models, each (n,)."""

    original: NDArray[np.float64]
    pruned: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.original)

    @property
    def relative_drop(self) -> float:
        return 1 - float(self.pruned.sum()) / float(self.original.sum())

    @property
    def flips(self) -> float:
        """Share of documents whose score changes."""
        return float((self.original != self.pruned).mean())


def usual_gain(accuracy: float) -> float:
    """Share of documents that the pruned model gains: between 1.3% (accuracy 0.05) and 2.75% (0.5)."""
    return 0.01 + 0.07 * accuracy * (1 - accuracy)


def zero_one(documents: int, *, accuracy: float, drop: float, gained: float) -> Population:
    """Scores of 0 and 1; as many are lost as the drop and the gains ask for."""
    right, gains = round(accuracy * documents), round(gained * documents)
    return _counted(documents, right=right, gains=gains, lost=round(drop * right) + gains)


def f1_like(documents: int, *, accuracy: float, drop: float, gained: float, rng: Generator) -> Population:
    """Scores of 0, of 1, and in between.

    Of the documents that a model gets right, a third are right in part: a score from U(0.2, 0.9) in place of 1, which both
    models share where neither lost; where one of them did, it keeps a third of that score. Accuracy and drop are those of
    the 0/1 scores this starts from: the means come out lower.
    """
    base = zero_one(documents, accuracy=accuracy, drop=drop, gained=gained)
    best = np.maximum(base.original, base.pruned)
    in_part = (best > 0) & (rng.random(documents) < _PARTIAL)
    score = rng.uniform(0.2, 0.9, documents)

    def scores(right: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(in_part, np.where(right > 0, score, score / 3), right)

    return Population(original=scores(base.original), pruned=scores(base.pruned))


def zero_one_at(threshold: float, documents: int, *, accuracy: float, gained: float, is_met: bool) -> Population:
    """0/1 scores whose relative drop meets the threshold just so, or breaks it by less than one document.

    The number of right documents moves by up to ten, to where the sum of contributions is as near to 0 as counts allow.
    """
    gains, middle = round(gained * documents), round(accuracy * documents)

    def lost(right: int) -> int:
        return math.floor(threshold * right + gains + _ROUNDING) + (not is_met)

    candidates = range(middle - _RIGHT_MOVES_BY, middle + _RIGHT_MOVES_BY + 1)
    right = min(candidates, key=lambda right: (abs(threshold * right + gains - lost(right)), abs(right - middle)))
    return _counted(documents, right=right, gains=gains, lost=lost(right))


def f1_like_at(
    threshold: float, documents: int, *, accuracy: float, gained: float, is_met: bool, rng: Generator
) -> Population:
    """F1-like scores whose sum of contributions is a thousandth of one document above, or below, 0.

    The pruned scores of as few documents as it takes are moved there.
    """
    base = f1_like(documents, accuracy=accuracy, drop=threshold, gained=gained, rng=rng)
    target = 1e-3 if is_met else -1e-3
    pruned = base.pruned.copy()
    missing = target - float((pruned - (1 - threshold) * base.original).sum())
    for document in rng.permutation(documents):
        move = min(max(missing, -pruned[document]), 1 - pruned[document])
        pruned[document] += move
        missing -= move
    return Population(original=base.original, pruned=pruned)


def _counted(documents: int, *, right: int, gains: int, lost: int) -> Population:
    if not (0 <= lost <= right and right + gains <= documents):
        raise ValueError(f"{documents} documents, {right} right, cannot lose {lost} and gain {gains}")
    counts = (right - lost, lost, gains, documents - right - gains)
    return Population(original=np.repeat([1.0, 1, 0, 0], counts), pruned=np.repeat([1.0, 0, 1, 0], counts))


def random_orders(contributions: NDArray[np.float64], runs: int, rng: Generator) -> NDArray[np.float64]:
    """The contributions in a random order for each run, (documents, runs)."""
    return np.ascontiguousarray(rng.permuted(np.tile(contributions, (runs, 1)), axis=1).T)


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Where each run stopped, and how, (runs,)."""

    passed: NDArray[np.bool_]
    used: NDArray[np.int64]

    def step(self, run: int) -> Step:
        return Step.PASS if self.passed[run] else Step.FAIL


def stops(orders: NDArray[np.float64], margin: Margin, error_rates: Sequence[float]) -> list[Stops]:
    """What `EarlyStopping` with this one margin says on each order, (documents, runs), for each error rate."""
    documents, runs = orders.shape
    bets = Bets(documents, np.full(runs, margin.low), margin.high)
    passed, used = np.zeros((len(error_rates), runs), bool), np.zeros((len(error_rates), runs), np.int64)
    for contributions in orders:
        bets.add(contributions)
        if bets.count == documents or used.all():
            break
        for position, error_rate in enumerate(error_rates):
            below, above = bets.below(1 / error_rate), bets.above(1 / error_rate)
            new = (below | above) & (used[position] == 0)
            used[position, new] = bets.count
            passed[position, new] = ~below[new]
    is_met = orders.sum(axis=0) >= -_ROUNDING
    passed, used = np.where(used == 0, is_met, passed), np.where(used == 0, documents, used)
    return [Stops(passed=passed[position], used=used[position]) for position in range(len(error_rates))]
