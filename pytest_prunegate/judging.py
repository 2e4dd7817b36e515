"""From what was measured of a task to the verdict on one of its checks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.check_scores import joined_shares, scores_of
from pytest_prunegate.checks import Measure
from pytest_prunegate.compare import Comparison, compare
from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.paired import drawn_keys, paired_scores
from pytest_prunegate.scores import MetricScores, mean_scores
from pytest_prunegate.verdicts import Verdict, is_open, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.checks import Check, GateTask
    from pytest_prunegate.drawing import Draws
    from pytest_prunegate.plan import Measurement
    from pytest_prunegate.protocol import Protocol, Terms
    from pytest_prunegate.scores import DocumentKey


def judge_check(
    task: GateTask,
    check: Check,
    measured: Sequence[Measurement],
    draws: Draws,
    protocol: Protocol,
) -> tuple[Comparison, Verdict]:
    """Judge a check of a task.

    Args:
        task: the check's.
        check: one of its checks.
        measured: the task's parts, with the documents that were executed.
        draws: their order.
        protocol: what was fixed beforehand.

    Raises:
        TaskError: the metric cannot be computed or compared.
    """
    terms = protocol.terms(check, draws)
    looked_at = _looked_at(terms, measured, draws)
    paired = paired_scores(task, check, measured, draws, looked_at) if check.thresholds else None
    sides = [scores_of(task, check, measured, side) for side in ("original", "pruned")]
    shares = joined_shares(measured, "pruned")

    def compare_first(count: int | None) -> Comparison:
        keys = None if paired is None or paired.sizes is not None else paired.keys[:count]
        original, pruned = (_of(scores, keys) for scores in sides)
        return compare(check, original, pruned, silent=shares is not None and shares.all_empty)

    comparison, verdict = judge(check, terms, paired, compare_first, is_complete=looked_at == draws.total)
    total = draws.total if paired is None else paired.total
    interval = verdict.interval if check.measure is Measure.METRIC else None  # a share of outputs has no loss
    return comparison, replace(verdict, terms=terms, total=max(total, comparison.documents), interval=interval)


def is_undecided(
    task: GateTask, check: Check, measured: Sequence[Measurement], draws: Draws, protocol: Protocol
) -> bool:
    """Whether more documents may decide a check. One that cannot be scored is not drawn for."""
    terms = protocol.terms(check, draws)
    looked_at = _looked_at(terms, measured, draws)
    if not drawn_keys(task, check, draws, looked_at):
        return terms.is_sequential
    try:
        paired = paired_scores(task, check, measured, draws, looked_at)
    except EvaluationError:  # told by the check's own item
        return False
    return is_open(check, terms, paired, is_complete=looked_at == draws.total)


def _looked_at(terms: Terms, measured: Sequence[Measurement], draws: Draws) -> int:
    """How many documents a check looks at: all that were drawn where it goes on until they decide, else its own sample."""
    executed = sum(len(part.prepared.documents) for part in measured)
    return executed if terms.is_sequential else min(executed, draws.sampled)


def _of(scores: MetricScores, keys: Sequence[DocumentKey] | None) -> MetricScores:
    """The scores of some documents alone; a metric that is no plain mean over them was measured on all."""
    if keys is None or len(keys) == len(scores.by_document):
        return scores
    return mean_scores({key: scores.by_document[key] for key in keys}, higher_is_better=scores.higher_is_better)
