"""Both models' scores of a check side by side, in the order in which the documents were drawn: what the statistics take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.thresholds import TaskSpec
from pytest_prunegate.stats.intervals import Stratum
from pytest_prunegate.verdict.check_scores import scores_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import OwnScorer
    from pytest_prunegate.tasks.scores import DocumentKey, MetricScores
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.sampling import Draws


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Scores of the documents drawn so far that have the metric, (n,), and of how many they are.

    Scores lie in [0, 1], unless there are `sizes`: then they are losses whose sums are divided by those of the sizes
    (perplexity). `strata` are a group's members where each was drawn on its own or weighs differently. `is_sequence` tells
    whether the rule that looks at every document may judge them; `is_random` whether they are a random sample at all.
    """

    keys: tuple[DocumentKey, ...]
    original: tuple[float, ...]
    pruned: tuple[float, ...]
    total: int
    higher_is_better: bool
    is_sequence: bool
    is_random: bool = True
    sizes: tuple[float, ...] | None = None
    strata: tuple[Stratum, ...] = ()
    clusters: tuple[Hashable, ...] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether they are all that there are."""
        return len(self.keys) == self.total


def drawn_keys(task: GateTask, check: Check, draws: Draws, count: int | None = None) -> list[DocumentKey]:
    """The first documents of the draw that have a check's metric, as far as the task says beforehand which have it."""
    members = _members(task, check)
    return [
        task.document_key(draws.parts[number].name, doc_id)
        for number, doc_id in draws.order[:count]
        if number in members and _has_metric(task, check, draws, number, doc_id)
    ]


def paired_scores(
    task: GateTask, check: Check, measured: Sequence[Measurement], draws: Draws, count: int
) -> Paired | None:
    """The scores of a check; None where its metric is no mean of scores in [0, 1] and no perplexity.

    Args:
        task: the check's.
        check: its metric.
        measured: the task's parts, with the documents that were executed.
        draws: their order.
        count: how many of the drawn documents are looked at.

    Raises:
        TaskError: the metric cannot be computed, or documents lack the field `cluster_by`.
    """
    original, pruned = (scores_of(task, check, measured, side) for side in ("original", "pruned"))
    if original.losses:
        return pair_up(task, check, draws, tuple(original.losses), original=original, pruned=pruned)
    executed = drawn_keys(task, check, draws, sum(len(part.prepared.documents) for part in measured))
    if not executed or set(executed) != set(original.by_document) or set(executed) != set(pruned.by_document):
        return None
    return pair_up(task, check, draws, drawn_keys(task, check, draws, count), original=original, pruned=pruned)


def pair_up(
    task: GateTask,
    check: Check,
    draws: Draws,
    drawn: Sequence[DocumentKey],
    *,
    original: MetricScores,
    pruned: MetricScores,
) -> Paired | None:
    """Two models' scores of the same documents; None where one is not in [0, 1], and it is no perplexity.

    Args:
        task: the check's.
        check: its metric.
        draws: the order of the task's documents.
        drawn: those that are looked at, in that order, which both models' scores have.
        original: one model's scores.
        pruned: the other's.

    Raises:
        TaskError: documents lack the field `cluster_by`.
    """
    if original.losses:
        return _ratio(drawn, original, pruned, draws)
    if not all(0 <= score <= 1 for side in (original, pruned) for score in side.by_document.values()):
        return None
    keys = list(drawn)
    strata = _strata(task, check, draws, keys)
    if strata:  # whose documents stand next to each other
        places = {member.name: number for number, member in enumerate(task.members)}
        keys.sort(key=lambda key: places[_member_of(key)])
    return Paired(
        keys=tuple(keys), original=tuple(float(original.by_document[key]) for key in keys),
        pruned=tuple(float(pruned.by_document[key]) for key in keys), total=len(drawn_keys(task, check, draws)),
        higher_is_better=original.higher_is_better, is_sequence=draws.is_pooled and task.stops_early(check), strata=strata,
        clusters=_clusters(task, draws, keys),
    )  # fmt: skip


def _ratio(keys: Sequence[DocumentKey], original: MetricScores, pruned: MetricScores, draws: Draws) -> Paired:
    return Paired(
        keys=tuple(keys), original=tuple(original.losses[key][0] for key in keys), pruned=tuple(pruned.losses[key][0] for key in keys),
        sizes=tuple(original.losses[key][1] for key in keys), total=draws.total, higher_is_better=False, is_sequence=False,
        is_random=draws.is_random,
    )  # fmt: skip


def _members(task: GateTask, check: Check) -> set[int]:
    """The numbers of the parts that have the metric."""
    if not task.is_aggregated(check):
        return set(range(len(task.parts)))
    return {
        number for number, member in enumerate(task.members)
        if member.info and check.metric in {metric.name for metric in member.info.metrics} and check.filter in member.info.filters
    }  # fmt: skip


def _has_metric(task: GateTask, check: Check, draws: Draws, number: int, doc_id: int) -> bool:
    """Whether a document counts for a check's metric, as far as the task's scorer knows beforehand."""
    own = _own_scorer(task, draws)
    return own is None or own.has_metric(draws.parts[number].documents[doc_id].content, check.metric)


def _own_scorer(task: GateTask, draws: Draws) -> OwnScorer | None:
    """What scores a task in lm-eval's place; a group is scored member by member."""
    return None if task.members else draws.parts[0].own


def _strata(task: GateTask, check: Check, draws: Draws, keys: Sequence[DocumentKey]) -> tuple[Stratum, ...]:
    """A group's members with their weights, where it is no plain mean over its documents or was not drawn as one."""
    if not task.members or (draws.is_pooled and task.is_plain_mean(check)):
        return ()
    by_size = check.is_share or task.aggregate_of(check).weight_by_size
    drawn = Counter(_member_of(key) for key in keys)
    sizes = {draws.parts[number].name: draws.parts[number].total_documents for number in _members(task, check)}
    weights = {
        member.name: (1 if check.is_share else member.copies) * (sizes[member.name] if by_size else 1)
        for member in task.members
        if member.name in drawn
    }
    return tuple(
        Stratum(drawn=drawn[name], of=sizes[name], weight=weight / sum(weights.values()))
        for name, weight in weights.items()
    )


def _member_of(key: DocumentKey) -> str:
    return key[0] if isinstance(key, tuple) else ""


def _clusters(task: GateTask, draws: Draws, keys: Sequence[DocumentKey]) -> tuple[Hashable, ...] | None:
    """What documents share: the value of the field that the thresholds file names, or else the task's scorer."""
    own = _own_scorer(task, draws)
    name = (task.spec.cluster_by if isinstance(task.spec, TaskSpec) else None) or (own.cluster_by if own else None)
    if name is None:
        return None
    contents = {
        task.document_key(part.name, document.doc_id): document.content
        for part in draws.parts
        for document in part.documents
    }
    found = []
    for key in keys:
        if name not in contents[key]:
            raise TaskError(
                f"{task.name}: cluster_by: a document has no field {name}. It has: {', '.join(map(str, contents[key]))}."
            )
        found.append((_member_of(key), str(contents[key][name])))
    return tuple(found)
