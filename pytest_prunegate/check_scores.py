"""Each model's scores on a check, from what was measured of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.checks import Check, GateTask, Measure, TaskKind
from pytest_prunegate.errors import TaskError
from pytest_prunegate.loss_interval import LossInterval, loss_interval
from pytest_prunegate.plan import MemberResult
from pytest_prunegate.scores import MemberScores, MetricScores, OutputShares, group_scores, join_shares

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from fractions import Fraction

    from pytest_prunegate.plan import Measurement
    from pytest_prunegate.scores import DocumentKey


def scores_of(task: GateTask, check: Check, measured: Sequence[Measurement], side: str) -> MetricScores:
    """One model's scores on a check.

    Args:
        task: the check's.
        check: need not be one of the file's.
        measured: the task's parts, in their order.
        side: original or pruned.

    Raises:
        TaskError: the metric cannot be computed.
    """
    if check.measure is not Measure.METRIC:
        return _share_scores(check, joined_shares(measured, side))
    if task.kind is not TaskKind.GROUP:
        return measured[0].scorers[side].score((check.metric, check.filter))
    *_, last = (
        aggregate for aggregate in task.aggregates
        if aggregate.metric == check.metric and (aggregate.filters is None or check.filter in aggregate.filters)
    )  # fmt: skip
    return group_scores(_members(task, check, measured, side), weight_by_size=last.weight_by_size)


def member_results(task: GateTask, check: Check, measured: Sequence[Measurement]) -> tuple[MemberResult, ...]:
    """What each member of a group scored on the group's metric; nothing for a task that is no group."""
    if task.kind is not TaskKind.GROUP or check.measure is not Measure.METRIC:
        return ()
    original, pruned = (_members(task, check, measured, side) for side in ("original", "pruned"))
    return tuple(
        MemberResult(name=before.name, documents=before.scores.documents, original=before.scores.aggregate, pruned=after.scores.aggregate)
        for before, after in zip(original, pruned, strict=True)
    )  # fmt: skip


def check_interval(task: GateTask, check: Check, measured: Sequence[Measurement]) -> LossInterval | None:
    """How sure the loss on a check is; None where its metric is no mean of scores in [0, 1]."""
    if check.measure is not Measure.METRIC:
        return None
    original, pruned = (scores_of(task, check, measured, side) for side in ("original", "pruned"))
    prepared = [measurement.prepared for measurement in measured]
    return loss_interval(
        check, original, pruned, clusters=_clusters(task, measured), drawn=sum(len(part.documents) for part in prepared),
        total=sum(part.total_documents for part in prepared),
    )  # fmt: skip


def _clusters(task: GateTask, measured: Sequence[Measurement]) -> dict[DocumentKey, Hashable] | None:
    """squadv2's questions share passages."""
    if task.name != "squadv2":
        return None
    return {document.doc_id: document.content["context"] for document in measured[0].prepared.documents}


def joined_shares(measured: Sequence[Measurement], side: str) -> OutputShares | None:
    """Shares of a model's empty and cut outputs over all parts that generate; None where none does."""
    found = [share for measurement in measured if (share := measurement.shares[side]) is not None]
    return join_shares(found)


def _members(task: GateTask, check: Check, measured: Sequence[Measurement], side: str) -> list[MemberScores]:
    """The members that have the metric, as lm-eval aggregates them."""
    found = []
    for member, measurement in zip(task.members, measured, strict=True):
        info = member.info
        if info and check.metric in {metric.name for metric in info.metrics} and check.filter in info.filters:
            scores = measurement.scorers[side].score((check.metric, check.filter))
            documents = len(measurement.prepared.documents)
            found.append(MemberScores(name=member.name, scores=scores, documents=documents, copies=member.copies))
    if not found:
        raise TaskError(f"{check.location}: {check.label}: no task of {task.name} has the metric {check.metric},{check.filter}.")  # fmt: skip
    return found


def _share_scores(check: Check, shares: OutputShares | None) -> MetricScores:
    if shares is None:
        raise TaskError(f"{check.location}: {check.label}: the task {check.task} generates no outputs.")
    share: Fraction | None = shares.empty if check.measure is Measure.EMPTY else shares.cut
    if share is None:
        raise TaskError(f"{check.location}: {check.label}: the backend does not say which outputs were cut.")
    return MetricScores(by_document={}, aggregate=share, documents=shares.outputs, higher_is_better=False)
