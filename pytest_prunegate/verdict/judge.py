"""From what was measured of a task to the verdict on one of its checks."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.tasks.own_scorers import OWN_SCORERS
from pytest_prunegate.tasks.scores import MetricScores, mean_scores
from pytest_prunegate.verdict.check_scores import grown_silence, metric_of, scores_of, silence_of
from pytest_prunegate.verdict.compare import Comparison, compare
from pytest_prunegate.verdict.outcome import Outcome
from pytest_prunegate.verdict.paired import drawn_keys, paired_scores
from pytest_prunegate.verdict.verdicts import Verdict, is_open, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.ledger import Commitment, Terms
    from pytest_prunegate.verdict.sampling import Draws


_ALLOWED = ": up to 10 points more are allowed, or what `outputs: {max_empty: ...}` in the file says"
_COLLAPSE = Fraction(1, 10)  # of a part's score: from there on a total that passes hides something


@dataclass(frozen=True, kw_only=True)
class Look:
    """Which documents a check looks at: the first `count` of these draws. `is_sequential`: the data decided when to stop."""

    draws: Draws
    count: int
    is_sequential: bool


class Judge:
    """Judges the checks of a run, each on the documents that decide it, whatever else its task goes on to need.

    Args:
        draws: the order of each task's documents, by task.
        commitments: what was fixed for each, by task.
    """

    def __init__(self, draws: Mapping[str, Draws], commitments: Mapping[str, Commitment]) -> None:
        self._draws = draws
        self._commitments = commitments
        self._settled: dict[Check, tuple[Comparison, Verdict]] = {}

    def is_undecided(self, task: GateTask, measured: Sequence[Measurement]) -> bool:
        """Whether a check of a task needs more documents; those that do not are judged."""
        open_checks = 0
        draws, commitment = self._draws[task.name], self._commitments[task.name]
        for check in task.checks:
            if check in self._settled:
                continue
            if is_undecided(task, check, measured, draws, commitment):
                open_checks += 1
                continue
            with contextlib.suppress(EvaluationError):  # told by the check's own item
                self._settled[check] = judge_check(task, check, measured, draws, commitment)
        return open_checks > 0

    def judge(self, task: GateTask, check: Check, measured: Sequence[Measurement]) -> tuple[Comparison, Verdict]:
        """The verdict on a check, which need not be one of the file's.

        Raises:
            TaskError: the metric cannot be computed or compared.
        """
        if check not in self._settled:
            self._settled[check] = judge_check(
                task, check, measured, self._draws[task.name], self._commitments[task.name]
            )
        return self._settled[check]

    def look(self, task: GateTask, check: Check, measured: Sequence[Measurement]) -> Look:
        """Which of a task's documents a check may look at by now, those behind the one that decided it included."""
        draws = self._draws[task.name]
        terms = self._commitments[task.name].terms(task, check, draws)
        return Look(draws=draws, count=_looked_at(terms, measured, draws), is_sequential=terms.is_sequential)


def judge_check(
    task: GateTask,
    check: Check,
    measured: Sequence[Measurement],
    draws: Draws,
    commitment: Commitment,
) -> tuple[Comparison, Verdict]:
    """Judge a check of a task.

    Args:
        task: the check's.
        check: one of its checks.
        measured: the task's parts, with the documents that were executed.
        draws: their order.
        commitment: what was fixed beforehand.

    Raises:
        TaskError: the metric cannot be computed or compared.
    """
    terms = commitment.terms(task, check, draws)
    looked_at = _looked_at(terms, measured, draws)
    is_complete = looked_at == draws.total
    paired = paired_scores(task, check, measured, draws, looked_at) if check.thresholds else None
    sides = [scores_of(task, check, measured, side) for side in ("original", "pruned")]
    silence = grown_silence(task, measured, is_complete=is_complete)
    silent = silence_of(measured, "pruned") or (f"{silence.text}{_ALLOWED}" if silence and silence.is_certain else None)

    def compare_first(count: int | None) -> Comparison:
        keys = None if paired is None or paired.sizes is not None else paired.keys[:count]
        original, pruned = (_of(scores, keys) for scores in sides)
        compared = compare(check, original, pruned, silent=silent)
        return _with_answers(task, compared, measured) if check.is_of_answers else compared

    comparison, verdict = judge(check, terms, paired, compare_first, is_complete=is_complete)
    if silence and not silence.is_certain:
        outcome = Outcome.INCONCLUSIVE if verdict.outcome is Outcome.PASS else verdict.outcome
        verdict = replace(
            verdict,
            outcome=outcome,
            note=_joined(verdict.note, f"{silence.text}: more documents tell whether that is a failure."),
        )
    if verdict.outcome is Outcome.PASS:
        verdict = replace(verdict, note=_joined(verdict.note, *_hidden(task, check, measured)))
    if check.is_share:  # a share of outputs has no loss
        used = verdict.used if paired else looked_at
        return comparison, replace(
            verdict, terms=terms, total=paired.total if paired else draws.total, used=used,
            interval=verdict.interval if check.is_of_answers else None,
        )  # fmt: skip
    total = paired.total if paired else comparison.documents if is_complete else draws.total
    return comparison, replace(verdict, terms=terms, total=total)


def _with_answers(task: GateTask, comparison: Comparison, measured: Sequence[Measurement]) -> Comparison:
    """A share of the documents with the scores that they are counted by, which say what was lost and what was gained."""
    metric = metric_of(comparison.check)
    before, after = (
        _of(scores_of(task, metric, measured, side), list(comparison.scores)) for side in ("original", "pruned")
    )
    own = compare(replace(metric, thresholds=()), before, after)
    return replace(
        comparison, scores=own.scores, lost=own.lost, gained=own.gained, higher_is_better=own.higher_is_better
    )


def _joined(*notes: str | None) -> str | None:
    return " ".join(filter(None, notes)) or None


def _hidden(task: GateTask, check: Check, measured: Sequence[Measurement]) -> Iterator[str]:
    """What a check that passes hides: the collapse of a part of its documents that the file has no check for."""
    own = OWN_SCORERS.get(task.name)
    judged = {one.metric for one in task.checks}
    for metric in own.metrics_of_parts(check.metric) if own else ():
        if metric in judged:
            continue
        part = replace(check, metric=metric)
        try:
            original, pruned = (scores_of(task, part, measured, side) for side in ("original", "pruned"))
        except EvaluationError:  # none of the documents is of this part
            continue
        fell = (original.aggregate - pruned.aggregate) / original.aggregate if original.aggregate else 0
        if fell >= _COLLAPSE:
            yield f"{metric} fell {float(fell):.1%} ({float(original.aggregate):.4f} -> {float(pruned.aggregate):.4f}): add it to the file."


def is_undecided(
    task: GateTask, check: Check, measured: Sequence[Measurement], draws: Draws, commitment: Commitment
) -> bool:
    """Whether more documents may decide a check. One that cannot be scored is not drawn for; silence is not judged early."""
    terms = commitment.terms(task, check, draws)
    looked_at = _looked_at(terms, measured, draws)
    if not terms.is_sequential or looked_at == draws.total:
        return False
    if not drawn_keys(task, check, draws, looked_at) or any(
        silence_of(measured, side) for side in ("original", "pruned")
    ):
        return True
    silence = grown_silence(task, measured, is_complete=False)
    if silence and not silence.is_certain:
        return True
    try:
        paired = paired_scores(task, check, measured, draws, looked_at)
    except EvaluationError:  # told by the check's own item
        return False
    return is_open(check, terms, paired)


def _looked_at(terms: Terms, measured: Sequence[Measurement], draws: Draws) -> int:
    """How many documents a check looks at: all that were drawn where it goes on until they decide, else its own sample."""
    executed = sum(len(part.prepared.documents) for part in measured)
    return executed if terms.is_sequential else min(executed, draws.sampled)


def _of(scores: MetricScores, keys: Sequence[DocumentKey] | None) -> MetricScores:
    """The scores of some documents alone; a metric that is no plain mean over them was measured on all."""
    if keys is None or len(keys) == len(scores.by_document):
        return scores
    return mean_scores({key: scores.by_document[key] for key in keys}, higher_is_better=scores.higher_is_better)
