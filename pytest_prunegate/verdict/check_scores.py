"""What the models answered for a task, and each model's scores on a check from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.checks import Check, GateTask, Measure
from pytest_prunegate.tasks.scorer import joined_choices
from pytest_prunegate.tasks.scores import (
    MemberScores,
    MetricScores,
    OutputShares,
    group_scores,
    join_shares,
    mean_scores,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.scorer import Choices, Scorer
    from pytest_prunegate.tasks.scores import DocumentKey, OutputShares
    from pytest_prunegate.verdict.compare import Comparison


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A task, or one member of a group, that the models answered, and how many seconds that took."""

    prepared: PreparedTask
    scorers: Mapping[Side, Scorer]
    shares: Mapping[Side, OutputShares | None]
    started: datetime
    seconds: float


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """What one member of a group scored on the group's metric; `lost` and `gained` are None where it has no scores of documents."""

    name: str
    documents: int
    original: Fraction
    pruned: Fraction
    lost: int | None = None
    gained: int | None = None


def scores_of(task: GateTask, check: Check, measured: Sequence[Measurement], side: Side) -> MetricScores:
    """One model's scores on a check.

    Args:
        task: the check's.
        check: need not be one of the file's.
        measured: the task's parts, in their order.
        side: original or pruned.

    Raises:
        TaskError: the metric cannot be computed.
    """
    if check.is_of_answers:
        return _answer_scores(task, check, measured, side)
    if check.is_share:
        return _share_scores(task, check, measured, side)
    if not task.is_aggregated(check):
        return measured[0].scorers[side].score((check.metric, check.filter))
    return group_scores(_members(task, check, measured, side), weight_by_size=task.aggregate_of(check).weight_by_size)


def member_results(
    task: GateTask, check: Check, measured: Sequence[Measurement], comparison: Comparison
) -> tuple[MemberResult, ...]:
    """What each member of a group scored on the group's metric; nothing for a task that is no group.

    Args:
        task: the check's.
        check: one of its checks.
        measured: the group's members.
        comparison: of the check; where it is over scores of documents, members are over the same ones.
    """
    if not task.is_aggregated(check):
        return ()
    original, pruned = (_members(task, check, measured, side) for side in ("original", "pruned"))
    if comparison.scores:
        found = [_member_of_comparison(member.name, comparison) for member in original]
        return tuple(member for member in found if member is not None)
    return tuple(
        MemberResult(name=before.name, documents=before.scores.documents, original=before.scores.aggregate, pruned=after.scores.aggregate)
        for before, after in zip(original, pruned, strict=True)
    )  # fmt: skip


def _member_of_comparison(name: str, comparison: Comparison) -> MemberResult | None:
    """A member's figures; None where the check was decided before one of its documents was drawn."""
    keys = [key for key in comparison.scores if isinstance(key, tuple) and key[0] == name]
    if not keys:
        return None
    part = comparison.part(keys)
    return MemberResult(
        name=name, documents=len(keys), original=part.original, pruned=part.pruned, lost=part.lost, gained=part.gained
    )


def joined_shares(measured: Sequence[Measurement], side: Side) -> OutputShares | None:
    """Shares of a model's empty and cut outputs over all parts that generate; None where none does."""
    found = [share for measurement in measured if (share := measurement.shares[side]) is not None]
    return join_shares(found)


def choices_of(measured: Sequence[Measurement], side: Side) -> Choices | None:
    """A model's preferences over all parts that have choices; None where none has."""
    found = [choices for measurement in measured if (choices := measurement.scorers[side].choices()) is not None]
    return joined_choices(found)


def silence_of(measured: Sequence[Measurement], side: Side) -> str | None:
    """How a model shows that it says nothing at all; None where it does say something."""
    shares = joined_shares(measured, side)
    if shares is not None and shares.all_empty:
        return f"all outputs of the {side} model are empty"
    choices = choices_of(measured, side)
    if choices is not None and choices.indifferent:
        return f"the {side} model has no preference: {choices.indifferent}"
    return None


# By which the share of empty outputs may grow where the file does not say how many may be empty.
_MOST_SILENCE = Fraction(1, 10)
_SILENCE_ERROR = 0.001  # the largest probability that all documents would show less, where a part of them shows more


@dataclass(frozen=True)
class GrownSilence:
    """The pruned model leaves more outputs empty than it may; `is_certain` says whether all documents would show it, too."""

    text: str
    is_certain: bool


def has_fallen_silent(before: Fraction, after: Fraction) -> bool:
    """Whether the share of empty outputs grew by more than it may where the file does not say how many may be empty."""
    return after - before > _MOST_SILENCE


def allows_silence(task: GateTask) -> bool:
    """Whether the file says how many outputs of a task may be empty."""
    return any(check.measure is Measure.EMPTY for check in task.checks)


def grown_silence(task: GateTask, measured: Sequence[Measurement], *, is_complete: bool) -> GrownSilence | None:
    """How far the pruned model fell silent beside the original; None where it did not, or the file says how many outputs may be empty.

    From a part of the documents, Hoeffding's inequality for the mean of differences within [-1, 1] tells
    (https://doi.org/10.1080/01621459.1963.10500830).
    """
    before, after = (joined_shares(measured, side) for side in ("original", "pruned"))
    if before is None or after is None or allows_silence(task) or not has_fallen_silent(before.empty, after.empty):
        return None
    margin = 0.0 if is_complete else 2 * math.sqrt(math.log(1 / _SILENCE_ERROR) / (2 * after.outputs))
    text = (
        f"{float(after.empty):.1%} of the pruned model's outputs are empty, {float(before.empty):.1%} of the original's"
    )
    return GrownSilence(text, is_certain=has_fallen_silent(before.empty, after.empty - Fraction(margin)))


def refuse_silent_original(name: str, measured: Sequence[Measurement]) -> None:
    """See that there is something to compare with.

    Raises:
        TaskError: all outputs of the original are empty, or it has no preference among any choices.
    """
    choices = choices_of(measured, "original")
    if choices is not None and choices.indifferent:
        raise TaskError(
            f"{name}: the original model has no preference ({choices.indifferent}, {choices.documents} of them), so that there is nothing to "
            "compare with. Its head may be missing or zero: look at the checkpoint."
        )
    shares = joined_shares(measured, "original")
    if shares is not None and shares.all_empty:
        raise TaskError(
            f"{name}: all {shares.outputs} outputs of the original model are empty, so that there is nothing to compare with. "
            "Look at its prompts: a missing chat template or a wrong stop string is the usual reason."
        )


def _members(task: GateTask, check: Check, measured: Sequence[Measurement], side: Side) -> list[MemberScores]:
    """The members that have the metric, as lm-eval aggregates them."""
    found = []
    for member, measurement in zip(task.members, measured, strict=True):
        info = member.info
        if not measurement.prepared.documents:  # none of its documents is drawn yet
            continue
        if info and check.metric in {metric.name for metric in info.metrics} and check.filter in info.filters:
            scores = measurement.scorers[side].score((check.metric, check.filter))
            documents = len(measurement.prepared.documents)
            found.append(MemberScores(name=member.name, scores=scores, documents=documents, copies=member.copies))
    if not found:
        raise TaskError(f"{check.location}: {check.label}: no task of {task.name} has the metric {check.metric},{check.filter}.")  # fmt: skip
    return found


def metric_of(check: Check) -> Check:
    """The check on the metric whose documents another one counts."""
    return replace(check, measure=Measure.METRIC)


def _answer_scores(task: GateTask, check: Check, measured: Sequence[Measurement], side: Side) -> MetricScores:
    """1 for each document that the pruned model scores otherwise (or worse) on than the original, which itself has 0 everywhere."""
    original = scores_of(task, metric_of(check), measured, "original")
    if not original.by_document:
        raise TaskError(
            f"{check.location}: {check.label}: {check.metric} has no score of each document, so that no answers are lost or gained."
        )
    found: dict[DocumentKey, Fraction] = dict.fromkeys(original.by_document, Fraction(0))
    if side == "pruned":
        pruned, sign = scores_of(task, metric_of(check), measured, "pruned"), 1 if original.higher_is_better else -1
        for key, before in original.by_document.items():
            loss = sign * (before - pruned.by_document[key])
            found[key] = Fraction(loss > 0 if check.measure is Measure.LOST else loss != 0)
    return mean_scores(found, higher_is_better=False)


def _share_scores(task: GateTask, check: Check, measured: Sequence[Measurement], side: Side) -> MetricScores:
    shares = joined_shares(measured, side)
    if shares is None:
        raise TaskError(f"{check.location}: {check.label}: the task {check.task} generates no outputs.")
    share: Fraction | None = shares.empty if check.measure is Measure.EMPTY else shares.cut
    if share is None:
        raise TaskError(f"{check.location}: {check.label}: the backend does not say which outputs were cut.")
    by_document: dict[DocumentKey, Fraction] = {}
    for part in measured:
        found = part.scorers[side].output_scores(cut=check.measure is Measure.CUT)
        by_document |= {task.document_key(part.prepared.name, doc_id): score for doc_id, score in found.items()}
    complete = len(by_document) == shares.outputs
    return MetricScores(
        by_document=by_document if complete else {}, aggregate=share, documents=shares.outputs, higher_is_better=False
    )
