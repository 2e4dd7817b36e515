"""Rule U: bets on the sign of a sum, from documents drawn without replacement in a random order.

Two gamblers watch the contributions d of a finite set of documents (each within [low, high]). One bets that their sum is
above 0, the other that it is below. Under the hypothesis that a gambler bets against, the mean of what remains is at most
(at least) m = -S / remaining, so that the wealth is a nonnegative supermartingale that starts at 1, and exceeds 1/alpha at
any time with probability at most alpha (Ville's inequality). Source: Waudby-Smith and Ramdas 2020, "Confidence sequences
for sampling without replacement" (arXiv 2006.04347), and 2023, "Estimating means of bounded random variables by betting"
(arXiv 2010.09686). The bets here are a mixture of four constant drifts in the time of sampling without replacement.
Beside the bets stands exact curtailment: what the documents that remain could change at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

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
