"""Each check on all candidates: their figures side by side, and what parts two of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.candidate_records import CandidatePair, CheckAcross, CheckOfCandidate
from pytest_prunegate.report.summary.wording import percent_text, signed_text
from pytest_prunegate.verdict.candidate_pairs import Answered, PairedDifference, paired_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.records import Summary


@dataclass(frozen=True, kw_only=True)
class CandidateEntry:
    """A candidate's run: its name, the gate that measured it, and the summary of that."""

    name: str
    gate: Gate
    summary: Summary


_Own = tuple["CandidateEntry", "CheckSummary"]
"""A candidate with its summary of a check."""


def checks_across(entries: Sequence[CandidateEntry], *, confidence: float | None) -> tuple[CheckAcross, ...]:
    """The checks of the file on all candidates.

    Args:
        entries: the candidates.
        confidence: of the interval between two of them; None for one candidate alone.
    """
    by_name = [{(check.task, check.name): check for check in entry.summary.checks} for entry in entries]
    return tuple(
        _across([(entry, own[key]) for entry, own in zip(entries, by_name, strict=True)], confidence)
        for key in by_name[0]
    )


def _across(owns: Sequence[_Own], confidence: float | None) -> CheckAcross:
    first = owns[0][1]
    originals = [own.original for _, own in owns if own.original is not None]
    differ = len(set(originals)) > 1
    ranked = _ranked(owns)
    return CheckAcross(
        task=first.task, name=first.name, metric=first.metric, thresholds=first.thresholds, location=first.location,
        unit=next((own.unit for _, own in owns if own.documents is not None), first.unit),
        original=None if differ or not originals else originals[0], originals=(min(originals), max(originals)) if differ else None,
        candidates=tuple(_figures(entry, own) for entry, own in owns), best=ranked[0][0].name if ranked else None,
        pairs=() if confidence is None else tuple(
            _pair(candidate, against, confidence) for against, candidate in itertools.combinations(ranked, 2)
        ),
    )  # fmt: skip


def _figures(entry: CandidateEntry, own: CheckSummary) -> CheckOfCandidate:
    low, high = own.interval.relative_change if own.interval else (None, None)
    return CheckOfCandidate(
        candidate=entry.name, outcome=own.outcome, original=own.original, score=own.pruned, relative=own.relative, low=low, high=high,
        interval=own.interval.text if own.interval else None, documents=own.documents, total_documents=own.total_documents,
        measured=own.measured, is_earlier=own.is_earlier, reason=own.reason,
    )  # fmt: skip


def _ranked(owns: Sequence[_Own]) -> list[_Own]:
    """The candidates that have a score, the best first; equal ones in their order."""
    sign = -1 if any(_is_loss(own) == (own.difference > 0) for _, own in owns if own.difference) else 1
    return sorted((own for own in owns if own[1].pruned is not None), key=lambda own: -sign * (own[1].pruned or 0.0))


def _is_loss(own: CheckSummary) -> bool:
    """Whether a difference is one for the worse; more sparsity never is."""
    if own.exact is not None and own.exact.drop is not None:
        return Fraction(own.exact.drop) > 0
    return own.relative < 0 if own.relative is not None else (own.difference or 0) < 0


def _pair(candidate: _Own, against: _Own, confidence: float) -> CandidatePair:
    found = _difference(candidate, against, confidence)
    low, high = found.bounds or (None, None)
    return CandidatePair(
        candidate=candidate[0].name, against=against[0].name, documents=found.documents or None, total_documents=found.total,
        score=found.candidate, score_against=found.against, difference=found.change, relative=found.relative, low=low, high=high,
        interval=None if found.bounds is None else bounds_text(low, high, relative=found.relative is not None),
        confidence=None if found.bounds is None else confidence, of_full_run=found.of_full_run, is_anytime=found.is_anytime,
        better=found.better, worse=found.worse, conclusion=found.conclusion, problem=found.problem,
    )  # fmt: skip


def bounds_text(low: float | None, high: float | None, *, relative: bool) -> str:
    """Bounds of a difference in score units, or of a relative one."""
    ends = [percent_text(end, signed=True) if relative else signed_text(end) for end in (low, high)]
    if low is None or high is None:
        return "unbounded" if low is high else f"{ends[0]} or more" if high is None else f"{ends[1]} or less"
    return f"{ends[0]} to {ends[1]}"


def _difference(candidate: _Own, against: _Own, confidence: float) -> PairedDifference:
    if candidate[1].is_counted:
        return PairedDifference(
            candidate=candidate[1].pruned, against=against[1].pruned, problem="counted, not sampled"
        )
    if earlier := [entry.name for entry, own in (candidate, against) if own.is_earlier]:
        whose = " and ".join(earlier)
        return PairedDifference(
            problem=f"not compared: {whose} measured by an earlier run, whose scores by document are not at hand"
        )
    answered = [_answered(*own) for own in (candidate, against)]
    if answered[0] is None or answered[1] is None:
        return PairedDifference(problem="not compared: the scores by document are not at hand")
    gate, own = against[0].gate, against[1]
    check = next(check for check in gate.checks if (check.task, check.name) == (own.task, own.name))
    return paired_difference(check, answered[0], answered[1], confidence=confidence)


def _answered(entry: CandidateEntry, own: CheckSummary) -> Answered | None:
    """What a candidate's gate measured of a check's task; None where there is nothing of it."""
    gate = entry.gate
    measured = gate.measurements.get(own.task)
    if not measured:
        return None
    task = gate.task(own.task)
    check = next(check for check in gate.checks if (check.task, check.name) == (own.task, own.name))
    return Answered(task=task, measured=measured, look=gate.judging.look(task, check, measured))
