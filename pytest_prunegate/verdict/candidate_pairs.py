"""Two candidates on one check, by the documents that both answered: one stands where the original does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.stats.intervals import growth
from pytest_prunegate.verdict.check_scores import scores_of
from pytest_prunegate.verdict.loss_interval import change_interval, stopped_change_interval
from pytest_prunegate.verdict.paired import drawn_keys, pair_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.scores import DocumentKey, MetricScores
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.judge import Look
    from pytest_prunegate.verdict.loss_interval import Bounds
    from pytest_prunegate.verdict.outcome import Conclusion
    from pytest_prunegate.verdict.paired import Paired

_OTHER_ORDER = "their documents were drawn in different orders, and the data decided when to stop"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A candidate's run of a check's task: what was measured, and which of its documents the check looks at."""

    task: GateTask
    measured: Sequence[Measurement]
    look: Look


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What parts two candidates on a check. `change` is candidate - against in score units.

    `relative` is a perplexity's relative change, with the sign that people know: negative is worse.

    `bounds` are of `change`, or of `relative` where that is given (a perplexity); None without an interval, and `problem` says
    why, as it does where there is no difference at all. `better` and `worse` count documents that the candidate answers
    better, and worse, of `documents` that both answered.
    """

    documents: int = 0
    total: int | None = None
    candidate: float | None = None
    against: float | None = None
    relative: float | None = None
    bounds: Bounds | None = None
    of_full_run: bool = False
    is_anytime: bool = False
    better: int | None = None
    worse: int | None = None
    higher_is_better: bool = True
    problem: str | None = None

    @property
    def change(self) -> float | None:
        """The difference of their scores."""
        return None if self.candidate is None or self.against is None else self.candidate - self.against

    @property
    def conclusion(self) -> Conclusion | None:
        """Whether the interval says that the candidate is better, or worse; open where it holds no difference, too."""
        if self.bounds is None:
            return None
        low, high = self.bounds
        is_more_better = self.higher_is_better or self.relative is not None
        if low is not None and low > 0:
            return "better" if is_more_better else "worse"
        if high is not None and high < 0:
            return "worse" if is_more_better else "better"
        return "open"


def paired_difference(check: Check, candidate: Answered, against: Answered, *, confidence: float) -> PairedDifference:
    """Compare two candidates on a check.

    Only documents that both answered count. Where one of them was stopped by the data, the interval is rule U's, which holds
    wherever it stops; it needs that both drew in the same order.

    Args:
        check: one of their thresholds file.
        candidate: the one whose difference is told.
        against: the other.
        confidence: of the interval, two-sided.
    """
    sides = (against, candidate)
    data = [[measured.prepared.data_fingerprint for measured in side.measured] for side in sides]
    if data[0] != data[1]:
        return PairedDifference(problem="they were not asked about the same data")
    try:
        scores = [scores_of(side.task, check, side.measured, "pruned") for side in sides]
        keys = [_keys(check, side, found) for side, found in zip(sides, scores, strict=True)]
        return _of_shared(check, sides, scores, keys, confidence)
    except EvaluationError as error:
        return PairedDifference(problem=str(error))


def _keys(check: Check, side: Answered, scores: MetricScores) -> list[DocumentKey]:
    """The documents that a check looks at, in draw order, as far as they have a score of their own."""
    if scores.losses:
        return list(scores.losses)
    drawn = drawn_keys(side.task, check, side.look.draws, side.look.count)
    return [key for key in drawn if key in scores.by_document]


def _of_shared(
    check: Check,
    sides: Sequence[Answered],
    scores: Sequence[MetricScores],
    keys: Sequence[list[DocumentKey]],
    confidence: float,
) -> PairedDifference:
    if not all(keys):
        return _without_documents(check, sides, scores)
    first, second = keys
    partial = min(sides, key=lambda side: side.look.count)  # whose order the shared documents are a beginning of
    other = set(second) if partial is sides[0] else set(first)
    shared = [key for key in (first if partial is sides[0] else second) if key in other]
    if not shared:
        return PairedDifference(problem="no document was answered by both")
    paired = _pair_up(check, partial, shared, scores)
    if paired is None:
        return replace(_plain(scores, shared), problem="its scores do not lie between 0 and 1")
    counted = _counted(paired)
    if paired.sizes is not None and [scores[1].losses[key][1] for key in shared] != list(paired.sizes):
        return PairedDifference(problem="their texts were not divided alike")
    return _with_interval(check, sides, paired, counted, confidence)


def _with_interval(
    check: Check, sides: Sequence[Answered], paired: Paired, counted: PairedDifference, confidence: float
) -> PairedDifference:
    is_part = not paired.is_complete
    if is_part and any(side.look.is_sequential for side in sides):
        if not paired.is_sequence or sides[0].look.draws.order != sides[1].look.draws.order:
            return replace(counted, problem=_OTHER_ORDER)
        bounds = stopped_change_interval(paired, confidence=confidence)
        return replace(counted, bounds=bounds, of_full_run=True, is_anytime=True)
    of_full_run = is_part and paired.is_random and check.decision.decide is not Decide.CONFIDENT
    bounds = change_interval(paired, confidence=confidence, of_full_run=of_full_run)
    return replace(counted, bounds=bounds, of_full_run=of_full_run)


def _counted(paired: Paired) -> PairedDifference:
    """The figures on the shared documents; a perplexity has no document that is answered better."""
    if paired.sizes is not None:
        losses = [math.fsum(side) / math.fsum(paired.sizes) for side in (paired.original, paired.pruned)]
        against, candidate = (1 + growth(loss) for loss in losses)
        relative = -growth(losses[1] - losses[0])
        return PairedDifference(
            documents=len(paired.keys), total=paired.total, candidate=candidate, against=against, relative=relative,
            higher_is_better=False,
        )  # fmt: skip
    against, candidate = (_mean(paired, side) for side in (paired.original, paired.pruned))
    sign = 1 if paired.higher_is_better else -1
    changes = [sign * (after - before) for before, after in zip(paired.original, paired.pruned, strict=True)]
    return PairedDifference(
        documents=len(paired.keys), total=paired.total, candidate=candidate, against=against, higher_is_better=paired.higher_is_better,
        better=sum(change > 0 for change in changes), worse=sum(change < 0 for change in changes),
    )  # fmt: skip


def _mean(paired: Paired, scores: Sequence[float]) -> float:
    """The mean of scores, each stratum with its weight."""
    if not paired.strata:
        return math.fsum(scores) / len(scores)
    found, start = 0.0, 0
    for stratum in paired.strata:
        found += stratum.weight * math.fsum(scores[start : start + stratum.drawn]) / stratum.drawn
        start += stratum.drawn
    return found


def _plain(scores: Sequence[MetricScores], shared: Sequence[DocumentKey]) -> PairedDifference:
    """The figures on shared documents whose scores no interval is known for."""
    against, candidate = ([float(found.by_document[key]) for key in shared] for found in scores)
    sign = 1 if scores[0].higher_is_better else -1
    changes = [sign * (after - before) for before, after in zip(against, candidate, strict=True)]
    return PairedDifference(
        documents=len(shared), candidate=math.fsum(candidate) / len(shared), against=math.fsum(against) / len(shared),
        better=sum(change > 0 for change in changes), worse=sum(change < 0 for change in changes),
        higher_is_better=scores[0].higher_is_better,
    )  # fmt: skip


def _without_documents(check: Check, sides: Sequence[Answered], scores: Sequence[MetricScores]) -> PairedDifference:
    """A metric that is computed from all documents at once can be told apart only where both saw the same ones."""
    drawn = [set(drawn_keys(side.task, check, side.look.draws, side.look.count)) for side in sides]
    if drawn[0] != drawn[1]:
        return PairedDifference(
            problem="the metric has no score per document, and they were measured on different documents"
        )
    against, candidate = (float(found.aggregate) for found in scores)
    return PairedDifference(
        documents=scores[0].documents, candidate=candidate, against=against, higher_is_better=scores[0].higher_is_better,
        problem="the metric has no score per document",
    )  # fmt: skip


def _pair_up(
    check: Check, side: Answered, shared: Sequence[DocumentKey], scores: Sequence[MetricScores]
) -> Paired | None:
    original, pruned = (_only(found, shared) for found in scores)
    return pair_up(side.task, check, side.look.draws, shared, original=original, pruned=pruned)


def _only(scores: MetricScores, keys: Sequence[DocumentKey]) -> MetricScores:
    return replace(scores, by_document={key: scores.by_document[key] for key in keys if key in scores.by_document})
