"""Scores of one model on one metric, as exact numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DocumentKey = int | tuple[str, int]
"""A document of a task by its id; one of a group with the task that it is of."""
_MAX_DENOMINATOR = 1_000_000
_FLOAT_NOISE = 2.0**-50  # a few units in the last place of a number in [0, 1]


@dataclass(frozen=True, kw_only=True)
class MetricScores:
    """One model's scores on one metric.

    `by_document` maps document ids (of a group: with their task) to scores where the metric is a mean over documents, and
    is empty where it is computed from all of them at once; `losses` maps them to a negative log-likelihood and what it is
    divided by, where the metric is a perplexity; `aggregate` is the metric itself, `documents` how many it was
    computed from.
    """

    by_document: Mapping[DocumentKey, Fraction]
    aggregate: Fraction
    documents: int
    higher_is_better: bool
    losses: Mapping[DocumentKey, tuple[float, float]] = field(default_factory=dict)


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


def mean_scores(by_document: Mapping[DocumentKey, Fraction], *, higher_is_better: bool) -> MetricScores:
    """Scores of a metric that is the mean over its documents (of which there must be at least one)."""
    aggregate = sum(by_document.values(), Fraction()) / len(by_document)
    return MetricScores(
        by_document=by_document,
        aggregate=aggregate,
        documents=len(by_document),
        higher_is_better=higher_is_better,
    )


@dataclass(frozen=True, kw_only=True)
class MemberScores:
    """A group's member: its name, its scores, the number of its documents, and how often the group counts it."""

    name: str
    scores: MetricScores
    documents: int
    copies: int = 1


def group_scores(members: Sequence[MemberScores], *, weight_by_size: bool) -> MetricScores:
    """A group's metric from those of its members (of which there must be at least one), as lm-eval weights them."""
    weights = [member.copies * (member.documents if weight_by_size else 1) for member in members]
    weighted = sum(
        (weight * member.scores.aggregate for weight, member in zip(weights, members, strict=True)), Fraction()
    )
    complete = all(member.scores.by_document for member in members)
    return MetricScores(
        by_document={
            (member.name, int(doc_id)): score for member in members if complete
            for doc_id, score in member.scores.by_document.items() if not isinstance(doc_id, tuple)
        },
        aggregate=weighted / sum(weights),
        documents=sum(member.scores.documents for member in members),
        higher_is_better=members[0].scores.higher_is_better,
    )  # fmt: skip


def join_shares(shares: Sequence[OutputShares]) -> OutputShares | None:
    """The shares of several tasks' outputs together; None where there are no outputs."""
    outputs = sum(share.outputs for share in shares)
    if not outputs:
        return None
    cuts = [share.cut * share.outputs for share in shares if share.cut is not None]
    return OutputShares(
        outputs=outputs,
        empty=sum((share.empty * share.outputs for share in shares), Fraction()) / outputs,
        cut=sum(cuts, Fraction()) / outputs if len(cuts) == len(shares) else None,
    )
