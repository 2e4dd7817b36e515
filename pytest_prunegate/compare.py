"""A check and the scores of both models -> a verdict, by exact arithmetic.

The measured drop decides; equality with a threshold passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.thresholds import Rule, Threshold

if TYPE_CHECKING:
    from pytest_prunegate.checks import Check
    from pytest_prunegate.scores import MetricScores


class Outcome(StrEnum):
    """How a check ended. ERROR is no verdict: measuring broke. NOT_RUN was not asked for."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on one check, and the verdict.

    `difference` is pruned - original in score units. `drop` is the loss in score units and `relative_drop` the loss
    over the original's score (None where that is 0): positive is worse, whichever direction is better.
    `lost` and `gained` count documents with a worse and a better score (None where the metric has none per document).
    """

    check: Check
    original: Fraction
    pruned: Fraction
    difference: Fraction
    drop: Fraction
    relative_drop: Fraction | None
    recovery: Fraction | None
    documents: int
    lost: int | None
    gained: int | None
    broken: tuple[Threshold, ...]
    silent: bool

    @property
    def outcome(self) -> Outcome:
        """PASS, or FAIL where a threshold is broken or the pruned model said nothing at all."""
        return Outcome.FAIL if self.broken or self.silent else Outcome.PASS


def compare(check: Check, original: MetricScores, pruned: MetricScores, *, silent: bool = False) -> Comparison:
    """Compare two models on one check.

    Args:
        check: the check with its thresholds.
        original: the original model's scores.
        pruned: the pruned model's scores on the same documents.
        silent: whether all outputs of the pruned model are empty; it then fails whatever its score.

    Raises:
        TaskError: the documents differ, or a relative threshold meets a baseline of 0.
    """
    if original.by_document.keys() != pruned.by_document.keys() or original.documents != pruned.documents:
        raise TaskError(f"{check.label}: the two models were not scored on the same documents.")
    difference = pruned.aggregate - original.aggregate
    drop = -difference if original.higher_is_better else difference
    relative = drop / abs(original.aggregate) if original.aggregate else None
    if relative is None and any(threshold.rule in _RELATIVE for threshold in check.thresholds):
        raise TaskError(
            f"{check.location}: {check.label}: the original model scores 0 on {original.documents} documents, so that no relative "
            "drop exists. Take more documents, another metric or filter, or a max_absolute_drop."
        )
    pairs = [(score, pruned.by_document[doc_id]) for doc_id, score in original.by_document.items()]
    sign = 1 if original.higher_is_better else -1
    return Comparison(
        check=check, original=original.aggregate, pruned=pruned.aggregate, difference=difference, drop=drop,
        relative_drop=relative, recovery=pruned.aggregate / original.aggregate if original.aggregate else None,
        documents=original.documents,
        lost=sum(sign * (after - before) < 0 for before, after in pairs) if pairs else None,
        gained=sum(sign * (after - before) > 0 for before, after in pairs) if pairs else None,
        broken=tuple(threshold for threshold in check.thresholds if _is_broken(threshold, pruned.aggregate, drop, relative)),
        silent=silent,
    )  # fmt: skip


_RELATIVE = (Rule.MAX_RELATIVE_DROP, Rule.MIN_RECOVERY)


def _is_broken(threshold: Threshold, pruned: Fraction, drop: Fraction, relative: Fraction | None) -> bool:
    limit = Fraction(threshold.value)
    match threshold.rule:
        case Rule.MAX_ABSOLUTE_DROP:
            return drop > limit
        case Rule.MIN_SCORE:
            return pruned < limit
        case Rule.MAX_SHARE:
            return pruned > limit
        case Rule.MAX_RELATIVE_DROP:
            return relative is None or relative > limit
        case Rule.MIN_RECOVERY:
            return relative is None or 1 - relative < limit
