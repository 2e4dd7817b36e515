"""What a run can be expected to tell, before it is done: the smallest drop its documents resolve, and how many a verdict needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.stats.power import detectable_gap, documents_needed
from pytest_prunegate.verdict.check_scores import scores_of
from pytest_prunegate.verdict.paired import drawn_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import Document
    from pytest_prunegate.tasks.scores import MetricScores
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.ledger import Terms
    from pytest_prunegate.verdict.sampling import Draws


_USUAL_SCORE, _USUAL_CHANGE = 0.5, 0.1  # where nothing is known yet
_FEWEST = 30  # kept answers from which anything is estimated
_QUANTILE = 1.96  # of a 95% interval
_CHOSEN = frozenset({"acc", "acc_norm"})


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is expected of a check.

    `resolves` is the smallest distance of a relative drop from the threshold `most` that its documents tell in four cases
    of five; `needed` how many of `total` documents a verdict is expected to need where the model loses nothing (None where
    all are measured anyway). `original` and `changed` are the original's score and the share of answers that change, as
    kept answers have them; None where usual values are assumed.
    """

    check: Check
    documents: int
    total: int
    most: float
    resolves: float
    needed: int | None
    original: float | None
    changed: float | None
    is_hopeless: bool


def outlook(
    task: GateTask,
    check: Check,
    draws: Draws,
    terms: Terms,
    *,
    kept: Sequence[Measurement],
    sides: Sequence[Side],
) -> Outlook | None:
    """What is expected of a check with a threshold on what is lost; None for others, and for metrics that are no mean.

    Args:
        task: the check's.
        check: one of its checks.
        draws: the order of its documents.
        terms: what was fixed.
        kept: the documents that the store can answer, as far as they are enough to say anything.
        sides: whose answers it can give.
    """
    most = _relative_threshold(check)
    if most is None or not task.kind.is_of_lm_eval or check.is_share:
        return None
    total = len(drawn_keys(task, check, draws))
    limit = draws.most(task) if terms.is_sequential else draws.sampled
    documents = len(drawn_keys(task, check, draws, limit))
    scores = [_known(task, check, kept, side) for side in sides]
    if not documents or any(found is not None and not found.by_document for found in scores):
        return None
    original, changed = _baseline(scores)
    if original == 0:  # warned about
        return None
    score, change = (_USUAL_SCORE if original is None else original), _USUAL_CHANGE if changed is None else changed
    asks_of_others = not terms.is_sequential and (terms.decision.decide is Decide.CONFIDENT or documents == total)
    resolves = detectable_gap(
        changed=change, original=score, documents=documents, error_rate=terms.own_rate, of=None if asks_of_others else total
    )  # fmt: skip
    deviation = math.sqrt(change + most * most * score * (1 - score))
    drift = math.sqrt(total) * most * score / deviation if deviation else math.inf
    is_measured = asks_of_others and terms.decision.decide is Decide.FULL
    needed = (
        None
        if is_measured
        else documents_needed(drift=drift, total=total, error_rate=terms.own_rate)
        if drift < math.inf
        else 1
    )
    return Outlook(
        check=check, documents=documents, total=total, most=most, resolves=resolves, needed=needed, original=original,
        changed=changed, is_hopeless=resolves > most,
    )  # fmt: skip


def baseline_warning(task: GateTask, check: Check, measured: Sequence[Measurement]) -> str | None:
    """What is wrong with an original's score as a baseline: it cannot be told from 0, or from chance. None where nothing is."""
    if not task.kind.is_of_lm_eval or check.is_share:
        return None
    scores = _known(task, check, measured, "original")
    if scores is None or not scores.by_document or not scores.higher_is_better:
        return None
    values = [float(score) for score in scores.by_document.values()]
    n, mean = len(values), float(scores.aggregate)
    if n < _FEWEST:
        return None
    error = _QUANTILE * math.sqrt((sum((value - mean) * (value - mean) for value in values) + 1) / n**2)
    said = f"{check.label}: the original scores {mean:.3f} on {n} documents"
    if _relative_threshold(check) is not None and mean <= error:
        return f"{said}, which cannot be told from 0: no relative drop means much there. Take another filter, prompt or metric."
    chance = _chance(measured) if check.metric in _CHOSEN else None
    if chance is not None and mean - chance <= error:
        return (
            f"{said}, which cannot be told from guessing ({chance:.3f}): a model that knows less would score the same."
        )
    return None


def _known(task: GateTask, check: Check, measured: Sequence[Measurement], side: Side) -> MetricScores | None:
    """One model's scores on the documents that the store can answer; None where they say nothing yet."""
    if sum(len(part.prepared.documents) for part in measured) < _FEWEST:
        return None
    try:
        return scores_of(task, check, measured, side)
    except EvaluationError:  # told when the check is judged
        return None


def _baseline(scores: Sequence[MetricScores | None]) -> tuple[float | None, float | None]:
    """The original's score, and how much of the answers changes: the mean square of a document's difference."""
    original = scores[0] if scores else None
    if original is None:
        return None, None
    pruned = scores[1] if len(scores) > 1 else None
    if pruned is None or pruned.by_document.keys() != original.by_document.keys():
        return float(original.aggregate), None
    moved = [(score - pruned.by_document[key]) ** 2 for key, score in original.by_document.items()]
    return float(original.aggregate), float(sum(moved)) / len(moved)


def _relative_threshold(check: Check) -> float | None:
    """The strictest relative threshold of a check."""
    return min((threshold.allowed for threshold in check.thresholds if threshold.rule.needs_original), default=None)


def _chance(measured: Sequence[Measurement]) -> float | None:
    """What guessing would score on multiple choice; None for other tasks."""
    shares = [
        1 / _choices(document) for part in measured for document in part.prepared.documents
        if document.instances and getattr(part.prepared.task, "OUTPUT_TYPE", None) == "multiple_choice"
    ]  # fmt: skip
    documents = sum(len(part.prepared.documents) for part in measured)
    return sum(shares) / len(shares) if shares and len(shares) == documents else None


def _choices(document: Document) -> int:
    """How many answers a document offers: different endings of one beginning, or one ending of different beginnings."""
    beginnings, endings = ({instance.args[place] for instance in document.instances} for place in (0, 1))
    return max(len(beginnings), len(endings))
