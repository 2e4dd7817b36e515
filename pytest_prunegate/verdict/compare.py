"""A check and the scores of both models -> what was lost, and which thresholds that breaks, by exact arithmetic.

By these figures alone; `verdicts.py` says what they are worth. Equality with a threshold passes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.rule import Quantities
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.tasks.checks import Check, Figure
    from pytest_prunegate.tasks.scores import DocumentKey, MetricScores


@dataclass(frozen=True, kw_only=True)
class Part:
    """Both models' mean scores on some of a comparison's documents; `drop` is the loss in score units."""

    original: Fraction
    pruned: Fraction
    drop: Fraction
    lost: int
    gained: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on one check, and the verdict.

    `difference` is pruned - original in score units. `drop` is the loss in score units and `relative_drop` the loss
    over the original's score (None where that is 0): positive is worse, whichever direction is better. All three and
    `original` are None where only the pruned model could be counted.
    `lost` and `gained` count documents with a worse and a better score (None where the metric has none per document), and
    `scores` has those documents with both models' scores: the very ones that the figures are over. `silent` says how the pruned model
    shows that it says nothing at all, empty outputs or no preference among any choices; None where it speaks.
    """

    check: Check
    original: Fraction | None
    pruned: Fraction
    difference: Fraction | None
    drop: Fraction | None
    relative_drop: Fraction | None
    recovery: Fraction | None
    documents: int
    lost: int | None
    gained: int | None
    broken: tuple[Threshold, ...]
    silent: str | None
    scores: Mapping[DocumentKey, tuple[Fraction, Fraction]] = field(default_factory=dict, repr=False, compare=False)
    higher_is_better: bool = True

    def loss(self, key: DocumentKey) -> Fraction:
        """What a document lost in score units; negative where it gained."""
        before, after = self.scores[key]
        return before - after if self.higher_is_better else after - before

    def part(self, keys: Sequence[DocumentKey]) -> Part:
        """The figures on some of the documents that `scores` has, of which there must be one."""
        original, pruned = (sum((self.scores[key][side] for key in keys), Fraction()) / len(keys) for side in (0, 1))
        losses = [self.loss(key) for key in keys]
        return Part(
            original=original, pruned=pruned, drop=original - pruned if self.higher_is_better else pruned - original,
            lost=sum(loss > 0 for loss in losses), gained=sum(loss < 0 for loss in losses),
        )  # fmt: skip

    @property
    def figures(self) -> Quantities[Fraction | None]:
        """What thresholds are held against."""
        return Quantities(relative=self.relative_drop, absolute=self.drop, pruned=self.pruned)

    @property
    def outcome(self) -> Outcome:
        """What these figures alone say: FAIL where a threshold is broken or the pruned model said nothing at all."""
        return Outcome.FAIL if self.broken or self.silent else Outcome.PASS


class UnjudgedError(TaskError):
    """Both models were measured, and no verdict follows from it; carries what was."""

    def __init__(self, message: str, comparison: Comparison) -> None:
        super().__init__(message)
        self.comparison = comparison


def compare(check: Check, original: MetricScores, pruned: MetricScores, *, silent: str | None = None) -> Comparison:
    """Compare two models on one check.

    Args:
        check: the check with its thresholds.
        original: the original model's scores.
        pruned: the pruned model's scores on the same documents.
        silent: how the pruned model shows that it says nothing at all; it then fails whatever its score. None where it speaks.

    Raises:
        TaskError: the documents differ.
        UnjudgedError: a relative threshold meets a baseline of 0.
    """
    if original.by_document.keys() != pruned.by_document.keys() or original.documents != pruned.documents:
        raise TaskError(f"{check.label}: the two models were not scored on the same documents.")
    difference = pruned.aggregate - original.aggregate
    drop = -difference if original.higher_is_better else difference
    relative = drop / abs(original.aggregate) if original.aggregate else None
    pairs = {key: (score, pruned.by_document[key]) for key, score in original.by_document.items()}
    sign = 1 if original.higher_is_better else -1
    has_no_drop = relative is None and any(threshold.rule.needs_original for threshold in check.thresholds)
    comparison = Comparison(
        check=check, original=original.aggregate, pruned=pruned.aggregate, difference=difference, drop=drop,
        relative_drop=relative, recovery=pruned.aggregate / original.aggregate if original.aggregate else None,
        documents=original.documents,
        lost=sum(sign * (after - before) < 0 for before, after in pairs.values()) if pairs else None,
        gained=sum(sign * (after - before) > 0 for before, after in pairs.values()) if pairs else None,
        broken=() if has_no_drop else broken_thresholds(check, pruned.aggregate, drop, relative), silent=silent, scores=pairs,
        higher_is_better=original.higher_is_better,
    )  # fmt: skip
    if has_no_drop:
        message = (
            f"{check.location}: {check.label}: the original model scores 0 on {original.documents} documents, so that no relative "
            "drop exists. Take more documents, another metric or filter, or a max_absolute_drop."
        )
        raise UnjudgedError(message, comparison)
    return comparison


def compare_figure(check: Check, found: Figure) -> Comparison:
    """Judge a figure of the pruned model; the original's is for information, and no loss is known."""
    original, pruned = found.original, found.pruned
    difference = pruned - original if original is not None and found.metric.form == "share" else None
    return Comparison(
        check=check, original=original, pruned=pruned, difference=difference, drop=None,
        relative_drop=None, recovery=None, documents=found.of, lost=None, gained=None,
        broken=_surely_broken(check, found), silent=None,
    )  # fmt: skip


def outcome_of(comparison: Comparison, found: Figure) -> Outcome:
    """How a figure ends; open where one end of its interval breaks a threshold, and the other does not."""
    if comparison.broken or found.interval is None:
        return comparison.outcome
    is_open = any(broken_thresholds(comparison.check, end, None, None) for end in found.interval)
    return Outcome.INCONCLUSIVE if is_open else Outcome.PASS


def _surely_broken(check: Check, found: Figure) -> tuple[Threshold, ...]:
    """What the figure breaks, or both ends of its interval do."""
    ends = found.interval or (found.pruned,)
    broken = [broken_thresholds(check, end, None, None) for end in ends]
    return tuple(threshold for threshold in broken[0] if all(threshold in other for other in broken))


def broken_thresholds(
    check: Check, pruned: Fraction, drop: Fraction | None, relative: Fraction | None
) -> tuple[Threshold, ...]:
    """The check's thresholds that these numbers break. A relative one without a relative drop is broken."""
    figures = Quantities(relative=relative, absolute=drop, pruned=pruned)
    return tuple(threshold for threshold in check.thresholds if threshold.rule.is_broken(threshold.value, figures))
