"""What is said across candidates: one summary of all of them against their original, and each check with what parts two of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING
from urllib.parse import quote

from pytest_prunegate.report.summary.candidate_records import (
    CANDIDATES_VERSION,
    FILE_KINDS,
    CandidateFile,
    CandidatePair,
    CandidateRow,
    CandidatesSummary,
    CheckAcross,
    CheckOfCandidate,
    NamedModel,
    PlotPanel,
    PlotPoint,
    Unplaced,
    WorstCheck,
)
from pytest_prunegate.report.summary.file_names import FileNames
from pytest_prunegate.report.summary.headline import overall_headline, overall_verdict
from pytest_prunegate.report.summary.wording import percent_text, signed_text
from pytest_prunegate.verdict.candidate_pairs import Answered, PairedDifference, paired_difference
from pytest_prunegate.verdict.loss_interval import CONFIDENCE
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.input.options import Require
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


def build_candidates(entries: Sequence[CandidateEntry], *, require: Require) -> CandidatesSummary:
    """Summarise all candidates of a run against its original.

    Args:
        entries: the candidates in the order in which they were given; at least one.
        require: whether all of them have to pass, or any.
    """
    rows = tuple(_row(number, entry) for number, entry in enumerate(entries, 1))
    pairs = len(rows) * (len(rows) - 1) // 2  # fixed before the first answer, whatever could be compared in the end
    confidence = 1 - (1 - CONFIDENCE) / pairs if pairs else None
    checks = checks_across(entries, confidence=confidence)
    owns = [own for entry in entries for own in entry.summary.checks]
    first = entries[0].summary
    original = first.models["original"]
    return CandidatesSummary(
        version=CANDIDATES_VERSION, verdict=overall_verdict([row.verdict for row in rows], require),
        headline=overall_headline(
            rows, require, partial=sum(own.is_partial for own in owns), earlier=sum(own.is_earlier for own in owns)
        ), require=require,
        notes=(*_shared_notes(entries), *_notes(rows, checks, original.fingerprint)),
        original=NamedModel(name=original.name, path=original.path, fingerprint=original.fingerprint),
        candidates=rows, checks=checks, plot=tuple(_panels(entries)), unplaced=tuple(_unplaced(rows)),
        pairs_confidence=confidence, pairs_note=_pairs_note(pairs), thresholds_file=first.thresholds_file,
        built_in_thresholds=first.built_in_thresholds, command=first.command, started=min(entry.summary.started for entry in entries),
        finished=max(entry.summary.finished for entry in entries), libraries=first.libraries,
    )  # fmt: skip


def _row(number: int, entry: CandidateEntry) -> CandidateRow:
    summary = entry.summary
    model, outcomes = summary.models["pruned"], [check.outcome for check in summary.checks]
    told = {"passed": Outcome.PASS, "failed": Outcome.FAIL, "errored": Outcome.ERROR, "inconclusive": Outcome.INCONCLUSIVE,
            "not_run": Outcome.NOT_RUN}  # fmt: skip
    counts = {name: outcomes.count(outcome) for name, outcome in told.items()}
    return CandidateRow(
        number=number, name=entry.name, path=model.path, revision=model.revision, base=model.base, fingerprint=model.fingerprint,
        quantised=model.quantised, parameters=model.parameters, size=model.size, sparsity=model.sparsity,
        sparsity_problem=model.sparsity_problem, verdict=summary.verdict, headline=summary.headline, **counts,
        other=len(outcomes) - sum(counts.values()), checks_total=summary.checks_total, worst=_worst(summary.checks),
        files=tuple(
            CandidateFile(kind=kind, name=name, address=quote(name, safe=""))
            for kind, name in zip(FILE_KINDS, reversed(FileNames(entry.name).comparisons), strict=True)
        ),
    )  # fmt: skip


def _worst(checks: Sequence[CheckSummary]) -> WorstCheck | None:
    found = [
        WorstCheck(task=check.task, name=check.name, relative=-check.scale.drop or 0.0, limit=-check.scale.limit or 0.0,
                   beyond=check.scale.drop - check.scale.limit)
        for check in checks if check.scale is not None and check.scale.limit is not None
    ]  # fmt: skip
    return max(found, key=lambda worst: worst.beyond, default=None)


def _shared_notes(entries: Sequence[CandidateEntry]) -> Iterator[str]:
    """What a reader must know of every candidate's run; what is said of one alone stands in its own report."""
    first, *others = (entry.summary.notes for entry in entries)
    yield from (note for note in first if all(note in notes for notes in others))


def _notes(rows: Sequence[CandidateRow], checks: Sequence[CheckAcross], original: str) -> Iterator[str]:
    """What a reader must know before comparing candidates."""
    for fingerprint in dict.fromkeys(row.fingerprint for row in rows):
        same = [row.name for row in rows if row.fingerprint == fingerprint]
        if fingerprint == original:
            yield f"{' and '.join(same)} {'is' if len(same) == 1 else 'are'} the original itself."
        elif len(same) > 1:
            yield f"{' and '.join(same)} are the same checkpoint."
    if apart := [f"{check.task}.{check.name}" for check in checks if check.originals is not None]:
        yield (
            f"Judged on different documents, so that the original's score differs between candidates: {', '.join(apart)}. Compare scores there "
            "by the documents that two candidates share."
        )


def _panels(entries: Sequence[CandidateEntry]) -> Iterator[PlotPanel]:
    for number, check in enumerate(entries[0].summary.checks):
        if check.is_counted:
            continue
        found = [(place, entry, entry.summary.checks[number]) for place, entry in enumerate(entries, 1)]
        points = tuple(
            _point(place, entry, own, sparsity)
            for place, entry, own in found
            if (sparsity := entry.summary.models["pruned"].sparsity) is not None and own.relative is not None
        )
        limits = [own.scale.limit for _, _, own in found if own.scale is not None and own.scale.limit is not None]
        if points:
            yield PlotPanel(task=check.task, name=check.name, limit=-min(limits) if limits else None, points=points)


def _point(number: int, entry: CandidateEntry, check: CheckSummary, sparsity: float) -> PlotPoint:
    assert check.relative is not None
    low, high = check.interval.relative_change if check.interval else (None, None)
    return PlotPoint(
        number=number, name=entry.name, outcome=check.outcome, sparsity=sparsity, relative=check.relative, low=low, high=high
    )  # fmt: skip


def _unplaced(rows: Sequence[CandidateRow]) -> Iterator[Unplaced]:
    for row in rows:
        if row.sparsity is None:
            yield Unplaced(name=row.name, reason=f"its sparsity is not known: {row.sparsity_problem or 'not counted'}")
        elif row.passed + row.failed + row.inconclusive + row.other == 0:
            yield Unplaced(name=row.name, reason="no check of it has a figure")


def _pairs_note(pairs: int) -> str:
    """How sure the intervals between candidates are, in words."""
    if not pairs:
        return ""
    if pairs == 1:
        return "Each interval is a 95% interval of its own; several checks do not share it."
    return (
        f"The 95% are shared over the {pairs} pairs of candidates: all intervals of one check hold together in at least 95% of cases "
        f"(each alone has {1 - (1 - CONFIDENCE) / pairs:.2%}). They are not shared over the checks."
    )
