"""What earlier runs left in the output folder: figures that still hold, and figures about something else.

A figure of an earlier run stands in this run's report where the models, the settings and the data that it depends on are
those of this run; its verdict is judged anew, by today's thresholds. Everything else is stale: it is listed, and its files
are moved away. Nothing is ever joined because it has the same name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.gate.identity import WORDS, Identities, data_fingerprint
from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.report.summary.provenance import asked_decision
from pytest_prunegate.report.summary.records import Stale
from pytest_prunegate.report.summary.results_file import UnreadableError, measured_of, read_results
from pytest_prunegate.tasks.kinds import figure_metric
from pytest_prunegate.tasks.kinds.agreement import AgreementOnText
from pytest_prunegate.tasks.kinds.speed import SpeedOnDevice
from pytest_prunegate.tasks.scores import exact
from pytest_prunegate.verdict.check_scores import MemberResult, allows_silence, has_fallen_silent
from pytest_prunegate.verdict.compare import Comparison, broken_thresholds
from pytest_prunegate.verdict.loss_interval import LossInterval
from pytest_prunegate.verdict.outcome import Basis, Outcome
from pytest_prunegate.verdict.verdicts import CheckResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.report.summary.check_records import (
        DecisionSummary,
        IntervalSummary,
        PartSummary,
    )
    from pytest_prunegate.report.summary.file_names import FileNames
    from pytest_prunegate.report.summary.records import Summary, TaskSummary
    from pytest_prunegate.report.summary.results_file import Measured
    from pytest_prunegate.report.summary.running_records import AgreementSummary, SpeedSummary
    from pytest_prunegate.tasks.checks import Check


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A check's figures from an earlier run, judged anew, and when that run began.

    `changes` is the file with the answers that changed in that run, where that run says that there is one.
    """

    result: CheckResult
    measured: str
    decision: DecisionSummary
    parts: tuple[PartSummary, ...] = ()
    changes: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What is kept of earlier runs, what is stale, and the files that hold it all."""

    results: Mapping[Check, KeptResult] = field(default_factory=dict)
    tasks: Mapping[str, TaskSummary] = field(default_factory=dict)
    agreement: AgreementSummary | None = None
    speed: SpeedSummary | None = None
    stale: tuple[Stale, ...] = ()
    files: tuple[str, ...] = ()
    started: str = ""


def read_earlier(gate: Gate, identities: Identities, folder: Path, names: FileNames) -> Earlier:
    """Sort what the output folder holds.

    Args:
        gate: this run, after its last check.
        identities: what its figures depend on.
        folder: the output folder; it may not exist.
        names: of this run's files; those of other candidates are none of its business.
    """
    path = folder / names.results
    archived = (folder / "archive").glob(f"*/{names.results}")
    if not path.is_file():
        return _with_archived(gate, identities, Earlier(), archived)
    try:
        found = read_results(path)
        sorted_out = replace(_sort(gate, identities, found, folder), files=names.all)
    except (OSError, UnreadableError) as error:
        what = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        reason = f"the earlier {names.results} {what}"
        stale = Stale(task="all", name="all", measured="", reason=reason)
        sorted_out = Earlier(stale=(stale,), files=names.all)
    return _with_archived(gate, identities, sorted_out, archived)


def _sort(gate: Gate, identities: Identities, found: Summary, folder: Path) -> Earlier:
    by_name = {(check.task, check.name): check for check in gate.checks}
    tasks = {task.name: task for task in found.tasks}
    results: dict[Check, KeptResult] = {}
    stale: list[Stale] = []
    changes = _changed_file(found)
    for kept in filter(None, map(measured_of, found.checks)):
        check = by_name.get((kept.check.task, kept.check.name))
        if check is None:
            stale.append(_stale(kept, "no longer in the thresholds file"))
        elif reason := _reason(gate, identities, check, kept, tasks.get(check.task)):
            stale.append(_stale(kept, reason))
        elif check in gate.results and gate.results[check].outcome is Outcome.ERROR:
            stale.append(_stale(kept, "this run's ended in an error"))
        elif check not in gate.results:
            results[check] = KeptResult(
                result=_judged_anew(check, kept), measured=kept.check.measured or found.started, decision=kept.decision,
                parts=kept.check.parts, changes=folder / changes if changes else None,
            )  # fmt: skip
    still = {check.task for check in results}
    return Earlier(
        results=results, tasks={name: task for name, task in tasks.items() if name in still}, stale=tuple(stale), started=found.started,
        agreement=found.agreement if AgreementOnText.key in still else None, speed=found.speed if SpeedOnDevice.key in still else None,
    )  # fmt: skip


def _stale(kept: Measured, reason: str) -> Stale:
    return Stale(task=kept.check.task, name=kept.check.name, measured=kept.check.measured or "", reason=reason)


def _with_archived(gate: Gate, identities: Identities, earlier: Earlier, archived: Iterable[Path]) -> Earlier:
    """What was archived may hold again: after another setting was tried, or a run that broke. The newest comes first."""
    results, tasks = dict(earlier.results), dict(earlier.tasks)
    agreement, speed = earlier.agreement, earlier.speed
    for path in sorted(archived, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            older = _sort(gate, identities, read_results(path), path.parent)
        except (OSError, UnreadableError):  # it was told when it was moved
            continue
        results = {**older.results, **results}
        tasks = {**older.tasks, **tasks}
        agreement, speed = agreement or older.agreement, speed or older.speed
    return replace(earlier, results=results, tasks=tasks, agreement=agreement, speed=speed)


def _reason(gate: Gate, identities: Identities, check: Check, kept: Measured, task: TaskSummary | None) -> str | None:
    """Why an earlier figure is not about what this run is about; None where it is."""
    identity, known = identities.of(check), kept.check.identity or {}
    differing = [word for name, word in WORDS.items() if identity.get(name) != known.get(name)]
    parts = gate.prepared.get(check.task)
    if not differing and parts and task and data_fingerprint(parts) != task.data_fingerprint:
        differing.append(WORDS["data"])
    if differing:
        return ", ".join(differing)
    if reason := _undecided_now(gate, check, kept) or _silence_now(gate, check, kept, task):
        return reason
    if not kept.original and any(threshold.rule.needs_original for threshold in check.thresholds):
        return "the original scores 0, and today's threshold is relative"
    return None


def _undecided_now(gate: Gate, check: Check, kept: Measured) -> str | None:
    """Why a verdict on a part of the documents, or on others, does not hold today: only measured figures can be judged anew."""
    decision = kept.decision
    if decision.basis is Basis.MEASURED:
        return "decided otherwise" if check.decision.decide is Decide.CONFIDENT else None
    thresholds = tuple(threshold.describe() for threshold in check.thresholds)
    shared = figure_metric(check.metric) is not None or (  # a figure's interval shares its error with nobody
        (decision.checks or 0) >= gate.thresholds and decision.candidates >= len(gate.options.candidates)
    )
    is_same = decision.asked == asked_decision(check.decision) and kept.check.thresholds == thresholds and shared
    return None if is_same else "decided otherwise, or by other thresholds"


def _silence_now(gate: Gate, check: Check, kept: Measured, task: TaskSummary | None) -> str | None:
    """Why an earlier verdict on outputs that fell silent does not hold today: the file says otherwise how many may be empty."""
    before, after = (task.outputs.get(side) if task else None for side in SIDES)
    if before is None or after is None or (kept.check.is_partial and not kept.check.silent):
        return None
    if after.empty == 1:  # a model that says nothing at all fails whatever the file says
        return None
    is_failure = has_fallen_silent(exact(before.empty), exact(after.empty)) and not allows_silence(
        gate.task(check.task)
    )
    return None if is_failure == bool(kept.check.silent) else "the file said otherwise how many outputs may be empty"


def _verdict(kept: Measured, comparison: Comparison) -> Verdict:
    """An earlier verdict; by the measured figures, it is today's."""
    decision = kept.decision
    strictest = tuple(decision.strictest.get(threshold.rule.key) for threshold in comparison.check.thresholds)
    return Verdict(
        outcome=comparison.outcome if decision.basis is Basis.MEASURED else decision.outcome, basis=decision.basis,
        used=decision.documents, total=decision.of, error_rate=decision.error_rate, indifference=decision.indifference,
        needed=decision.needed, interval=_interval(kept.check.interval), strictest=strictest, note=decision.note,
    )  # fmt: skip


def _judged_anew(check: Check, kept: Measured) -> CheckResult:
    """An earlier run's figures under today's thresholds."""
    original, pruned, drop, relative, summary = kept.original, kept.pruned, kept.drop, kept.relative_drop, kept.check
    comparison = Comparison(
        check=check, original=original, pruned=pruned, difference=None if original is None else pruned - original, drop=drop,
        relative_drop=relative, recovery=pruned / original if original and drop is not None else None,
        documents=kept.documents, lost=summary.lost, gained=summary.gained,
        broken=broken_thresholds(check, pruned, drop, relative), silent=summary.silent, higher_is_better=not summary.is_lower_better,
    )  # fmt: skip
    members = tuple(
        MemberResult(
            name=member.name, documents=member.documents, original=Fraction(member.exact[0]), pruned=Fraction(member.exact[1]),
            lost=member.lost, gained=member.gained,
        ) for member in summary.members
    )  # fmt: skip
    verdict = _verdict(kept, comparison)
    return CheckResult(
        check=check, outcome=verdict.outcome, comparison=comparison, documents=comparison.documents,
        total=summary.total_documents, unit=summary.unit, members=members, verdict=verdict, noise=summary.noise,
    )  # fmt: skip


def _interval(kept: IntervalSummary | None) -> LossInterval | None:
    if kept is None:
        return None
    return LossInterval(
        relative=kept.relative, absolute=kept.absolute, pruned=kept.pruned, of_full_run=kept.of_full_run,
        is_anytime=kept.is_anytime, unit=kept.unit,
    )  # fmt: skip


def _changed_file(found: Summary) -> str | None:
    """The file beside the results that has the answers that changed; None where none did."""
    name = found.changed.file
    if name is not None and (Path(name).name != name or Path(name).suffix != ".jsonl"):
        raise UnreadableError(f"is damaged: {name} is no name of a file")
    return name
