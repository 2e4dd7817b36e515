"""Scores of one model on one metric, as exact numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_DENOMINATOR = 1_000_000
_FLOAT_NOISE = 2.0**-50  # a few units in the last place of a number in [0, 1]


@dataclass(frozen=True, kw_only=True)
class MetricScores:
    """One model's scores on one metric.

    `by_document` maps document ids to scores where the metric is a mean over documents, and is empty where it is
    computed from all of them at once; `aggregate` is the metric itself, `documents` how many it was computed from.
    """

    by_document: Mapping[int, Fraction]
    aggregate: Fraction
    documents: int
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class OutputShares:
    """Shares of a model's generated outputs that are empty, or cut at the token limit (None: cannot be told)."""

    outputs: int
    empty: Fraction
    cut: Fraction | None

    @property
    def all_empty(self) -> bool:
        """Whether the model said nothing at all."""
        return self.outputs > 0 and self.empty == 1


def exact(value: float | Fraction) -> Fraction:
    """The exact number that a score stands for.

    A float within rounding noise of a fraction with a small denominator is that fraction: 2/3 computed in floats
    counts as 2/3, so that a threshold which is met with equality passes.

    Raises:
        ValueError: the score is not finite.
    """
    if isinstance(value, Fraction):
        return value
    if not math.isfinite(value):
        raise ValueError(f"the score is {value}")
    near = Fraction(value).limit_denominator(_MAX_DENOMINATOR)
    return near if abs(near - Fraction(value)) <= _FLOAT_NOISE else Fraction(value)


def mean_scores(by_document: Mapping[int, Fraction], *, higher_is_better: bool) -> MetricScores:
    """Scores of a metric that is the mean over its documents (of which there must be at least one)."""
    aggregate = sum(by_document.values(), Fraction()) / len(by_document)
    return MetricScores(
        by_document=by_document,
        aggregate=aggregate,
        documents=len(by_document),
        higher_is_better=higher_is_better,
    )
