"""A threshold as a mean that must not be negative: each document contributes a number that is linear in its two scores.

`relative drop at most 5%` is `mean(pruned) - 0.95 * mean(original) >= 0`, so that a document contributes
`pruned - 0.95 * original`. Scores lie in [0, 1], which bounds every contribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Contributions `original * o + pruned * p + constant`; the threshold is met where their sum is not negative."""

    original: float
    pruned: float
    constant: float = 0.0
    is_relative: bool = False

    @property
    def low(self) -> float:
        """The least that a document can contribute."""
        return min(self.original, 0.0) + min(self.pruned, 0.0) + self.constant

    @property
    def high(self) -> float:
        """The most that a document can contribute."""
        return max(self.original, 0.0) + max(self.pruned, 0.0) + self.constant

    def of(self, original: ArrayLike, pruned: ArrayLike) -> NDArray[np.float64]:
        """Contributions of documents, (n,)."""
        return self.original * np.asarray(original, float) + self.pruned * np.asarray(pruned, float) + self.constant

    def loosened(self, by: float) -> Margin:
        """The margin of a threshold that allows so much more, in its own units: of the original's score, or score units."""
        if self.is_relative:
            return replace(self, original=self.original + by)
        return replace(self, constant=self.constant + by)


def relative_margin(most: float, *, higher_is_better: bool = True) -> Margin:
    """Of a relative loss of at most `most` (a share of the original's mean)."""
    if higher_is_better:
        return Margin(original=-(1 - most), pruned=1.0, is_relative=True)
    return Margin(original=1 + most, pruned=-1.0, is_relative=True)


def absolute_margin(most: float, *, higher_is_better: bool = True) -> Margin:
    """Of a loss of at most `most` score units."""
    sign = 1.0 if higher_is_better else -1.0
    return Margin(original=-sign, pruned=sign, constant=most)


def score_margin(least: float) -> Margin:
    """Of a pruned model's own mean of at least `least`."""
    return Margin(original=0.0, pruned=1.0, constant=-least)


def share_margin(most: float) -> Margin:
    """Of a pruned model's own mean of at most `most`."""
    return Margin(original=0.0, pruned=-1.0, constant=most)
