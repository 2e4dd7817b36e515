"""Stops as soon as the documents drawn so far say what all of them would say, with a stated probability of error.

Rule U: bets on the sign of a sum, from documents drawn without replacement in a random order.

Two gamblers watch the contributions d of a finite set of documents (each within [low, high]). One bets that their sum is
above 0, the other that it is below. Under the hypothesis that a gambler bets against, the mean of what remains is at most
(at least) m = -S / remaining, so that the wealth is a nonnegative supermartingale that starts at 1, and exceeds 1/alpha at
any time with probability at most alpha (Ville's inequality). Source: Waudby-Smith and Ramdas 2020, "Confidence sequences
for sampling without replacement" (arXiv 2006.04347), and 2023, "Estimating means of bounded random variables by betting"
(arXiv 2010.09686). The bets here are a mixture of four constant drifts in the time of sampling without replacement.
Beside the bets stands exact curtailment: what the documents that remain could change at most.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.stats.intervals import Interval
from pytest_prunegate.stats.margins import absolute_margin, relative_margin, share_margin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from pytest_prunegate.stats.margins import Margin


_DRIFTS = np.array([2.5, 5.0, 10.0, 20.0])  # sqrt(total) * |mean| / deviation: from close calls to plain ones
_CAP = 0.6  # most of the wealth that one document can cost
_PRIOR_COUNT, _PRIOR_VARIANCE = 10, 0.08  # shrink the variance of the first documents
_LEAST_VARIANCE = 1e-6
_ROUNDING = 1e-9  # of sums of contributions in floats, far below what one document can change


class Bets:
    """The wealth of both gamblers, for any number of sums side by side (thresholds, or runs of a simulation).

    Args:
        total: documents of the full set.
        low: the least that a document contributes, of any shape.
        high: the most, likewise.

    Raises:
        ValueError: there is no document, or bounds that leave no room.
    """

    def __init__(self, total: int, low: ArrayLike, high: ArrayLike) -> None:
        self.total = total
        self._low, self._high = np.broadcast_arrays(np.asarray(low, float), np.asarray(high, float))
        if total < 1 or not (self._low < self._high).all():
            raise ValueError(f"no bets are possible on {total} documents between {low!r} and {high!r}")
        self.count = 0
        self._sum = np.zeros(self._low.shape)
        self._squares = np.zeros(self._low.shape)
        shape = (len(_DRIFTS), *self._low.shape)
        self._above = np.full(shape, 1 / len(_DRIFTS))
        self._below = np.full(shape, 1 / len(_DRIFTS))
        self._drifts = _DRIFTS.reshape(-1, *(1,) * self._low.ndim)

    def add(self, contributions: ArrayLike) -> None:
        """Bet on the next document, and see its contributions (of the bounds' shape).

        Raises:
            ValueError: all documents were drawn.
        """
        remaining = self.total - self.count
        if remaining < 1:
            raise ValueError(f"all {self.total} documents were drawn")
        d = np.asarray(contributions, float)
        fair = -self._sum / remaining  # the mean of what remains, were the whole sum 0
        weight = self.count + _PRIOR_COUNT
        variance = (self._squares + _PRIOR_COUNT * _PRIOR_VARIANCE) / weight - (self._sum / weight) ** 2
        variance = np.maximum(variance, _LEAST_VARIANCE)
        stake = self._drifts * (self.total / remaining) / np.sqrt(variance * self.total)
        surprise = d - fair
        with np.errstate(over="ignore"):  # a wealth beyond every bound stays there
            self._above *= 1 + np.minimum(stake, _CAP / np.maximum(fair - self._low, _ROUNDING)) * surprise
            self._below *= 1 - np.minimum(stake, _CAP / np.maximum(self._high - fair, _ROUNDING)) * surprise
        self._sum = self._sum + d
        self._squares = self._squares + d * d
        self.count += 1

    def above(self, wealth: float) -> NDArray[np.bool_]:
        """Whether the sum is not negative: certainly, or by a gambler with that wealth."""
        certain = self._sum + (self.total - self.count) * self._low >= -_ROUNDING
        return np.asarray(certain | (self._above.sum(axis=0) >= wealth))

    def below(self, wealth: float) -> NDArray[np.bool_]:
        """Whether the sum is negative, likewise."""
        certain = self._sum + (self.total - self.count) * self._high < -_ROUNDING
        return np.asarray(certain | (self._below.sum(axis=0) >= wealth))


_FINE = 20  # steps within a cell of the grid
_GRID = np.linspace(-1.0, 1.0, 101)  # losses; a pruned model more than twice as good leaves the interval open there
_LARGE_LOSSES = np.geomspace(1.1, 100, 30)  # where lower is better, more than everything can be lost


class Step(StrEnum):
    """What the documents say so far."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    GO_ON = "go on"


class EarlyStopping:
    """Rule U on one or several thresholds: all have to be met, and one that is broken decides.

    Fed in draw order, in batches of any size; where it stops does not depend on the batches. After all documents the
    measured sums decide. `used` counts the documents up to the decision.

    Args:
        margins: of the thresholds.
        total: documents of the full set, of which these are drawn in a random order without replacement.
        error_rate: the largest probability of a PASS that the full set would not give.
        checks: how many thresholds share the error rate of a false FAIL.
        indifference: how far from its threshold a loss may be judged either way; 0 for nowhere.

    Raises:
        ValueError: there is no margin or document, or a rate outside (0, 1).
    """

    def __init__(
        self,
        margins: Sequence[Margin],
        *,
        total: int,
        error_rate: float,
        checks: int = 1,
        indifference: float = 0.0,
    ) -> None:
        if not margins or not 0 < error_rate < 1 or checks < 1 or indifference < 0:
            raise ValueError(
                f"no rule for {len(margins)} margins at error rate {error_rate}, {checks} checks, indifference {indifference}"
            )
        self.total = total
        self.used = 0
        self.step = Step.GO_ON
        self._exact = tuple(margins)
        loose = [margin.loosened(indifference) for margin in margins]
        tight = [margin.loosened(-indifference) for margin in margins]
        self._count = len(loose)
        self._margins = loose + tight
        self._bets = Bets(total, [margin.low for margin in self._margins], [margin.high for margin in self._margins])
        self._wealth_to_pass, self._wealth_to_fail = 1 / error_rate, checks / error_rate
        self._passed = np.zeros(self._count, bool)
        self._original: list[float] = []
        self._pruned: list[float] = []

    def feed(self, original: Sequence[float], pruned: Sequence[float]) -> Step:
        """Look at the next documents, up to the one that decides; those behind it are left out.

        Args:
            original: their scores by the original model, in [0, 1], in draw order, (n,).
            pruned: those by the pruned model, (n,).

        Returns:
            PASS, FAIL, or GO_ON where more documents are needed.

        Raises:
            ValueError: lengths differ, or a score is outside [0, 1] or NaN.
        """
        _refuse_others(original, pruned)
        for before, after in zip(original, pruned, strict=True):
            if self.step is not Step.GO_ON:
                break
            self._original.append(before)
            self._pruned.append(after)
            self._bets.add([float(margin.of(before, after)) for margin in self._margins])
            self.used = self._bets.count
            self.step = self._look()
        return self.step

    def take(self, original: Sequence[float], pruned: Sequence[float]) -> None:
        """Look at the next documents for the intervals alone: something else decides where to stop, and they hold there, too.

        Arguments and errors as for `feed`, of which it takes the place.
        """
        _refuse_others(original, pruned)
        self._original += original
        self._pruned += pruned
        self.used = len(self._original)

    def _look(self) -> Step:
        if self.used == self.total:
            sums = [float(margin.of(self._original, self._pruned).sum()) for margin in self._exact]
            return Step.PASS if all(total >= -1e-9 for total in sums) else Step.FAIL  # noqa: PLR2004 - rounding of a sum in floats
        if self._bets.below(self._wealth_to_fail)[self._count :].any():
            return Step.FAIL
        self._passed |= self._bets.above(self._wealth_to_pass)[: self._count]
        return Step.PASS if self._passed.all() else Step.GO_ON

    def relative_interval(self, confidence: float, *, higher_is_better: bool = True) -> Interval:
        """Interval of the full set's relative loss from the documents used, valid wherever it stopped.

        All losses that neither gambler would have excluded, on a grid, rounded outwards; infinite where the grid ends before,
        and where the original scores 0 so far.
        """
        mean = float(np.mean(self._original)) if self._original else 0.0
        if mean == 0:
            return Interval(low=-math.inf, high=math.inf, confidence=confidence)
        grid = _GRID if higher_is_better else np.concatenate([_GRID, _LARGE_LOSSES])
        return self._interval(
            lambda most: relative_margin(most, higher_is_better=higher_is_better), grid, confidence,
            measured=self._loss(higher_is_better=higher_is_better) / mean, outside=(-math.inf, 1.0 if higher_is_better else math.inf),
        )  # fmt: skip

    def absolute_interval(self, confidence: float, *, higher_is_better: bool = True) -> Interval:
        """The same for the loss in score units, which lies between -1 and 1."""
        if not self._original:
            return Interval(low=-1.0, high=1.0, confidence=confidence)
        return self._interval(
            lambda most: absolute_margin(most, higher_is_better=higher_is_better), _GRID, confidence,
            measured=self._loss(higher_is_better=higher_is_better), outside=(-1.0, 1.0),
        )  # fmt: skip

    def pruned_interval(self, confidence: float) -> Interval:
        """The same for the pruned model's own mean, which lies between 0 and 1."""
        if not self._pruned:
            return Interval(low=0.0, high=1.0, confidence=confidence)
        mean = float(np.mean(self._pruned))
        return self._interval(share_margin, _GRID[_GRID >= 0], confidence, measured=mean, outside=(0.0, 1.0))

    def _loss(self, *, higher_is_better: bool) -> float:
        drop = float(np.mean(self._original)) - float(np.mean(self._pruned))
        return drop if higher_is_better else -drop

    def _interval(
        self,
        margin: Callable[[float], Margin],
        grid: NDArray[np.float64],
        confidence: float,
        *,
        measured: float,
        outside: tuple[float, float],
    ) -> Interval:
        if self.used == self.total:
            return Interval(low=measured, high=measured, confidence=confidence)
        wealth = 2 / (1 - confidence)
        edges = _edges(grid, *self._excluded([margin(float(most)) for most in grid], wealth))
        fine = np.concatenate([_within(edge) for edge in edges])
        low, high = self._excluded([margin(float(most)) for most in fine], wealth)
        lowest = float(max(fine[low])) if edges[0] is not None else outside[0]
        highest = float(min(fine[high])) if edges[1] is not None else outside[1]
        # Where every loss is excluded, which happens to one interval in many, what lies between the ends is told.
        return Interval(low=min(lowest, highest), high=max(lowest, highest), confidence=confidence)

    def _excluded(self, margins: Sequence[Margin], wealth: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each loss is below, and above, the full set's, judged at every document so far."""
        if not margins:
            return np.zeros(0, bool), np.zeros(0, bool)
        bets = Bets(self.total, [margin.low for margin in margins], [margin.high + 1e-12 for margin in margins])
        originals, pruneds, constants = (
            np.array([getattr(margin, name) for margin in margins]) for name in ("original", "pruned", "constant")
        )
        below, above = np.zeros(len(margins), bool), np.zeros(len(margins), bool)
        for before, after in zip(self._original, self._pruned, strict=True):
            bets.add(originals * before + pruneds * after + constants)
            below |= bets.below(wealth)
            above |= bets.above(wealth)
        return below, above


def _edges(
    grid: NDArray[np.float64], low: NDArray[np.bool_], high: NDArray[np.bool_]
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """The grid's cells with the lower and the upper end of the interval; None where the grid does not hold it."""
    lower = int(np.flatnonzero(low)[-1]) if low.any() else None
    upper = int(np.flatnonzero(high)[0]) if high.any() else None
    last = len(grid) - 1
    below = None if lower is None else (float(grid[lower]), float(grid[min(lower + 1, last)]))
    above = None if upper is None else (float(grid[max(upper - 1, 0)]), float(grid[upper]))
    return below, above


def _within(edge: tuple[float, float] | None) -> NDArray[np.float64]:
    return np.zeros(0) if edge is None else np.linspace(*edge, _FINE + 1)


def _refuse_others(original: Sequence[float], pruned: Sequence[float]) -> None:
    if len(original) != len(pruned):
        raise ValueError(f"expected two series of equal length, got {len(original)} and {len(pruned)}")
    scores = np.array([*original, *pruned], float)
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN compares as false
        raise ValueError("a score is not within [0, 1]")
