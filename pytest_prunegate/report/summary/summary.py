"""The summary: the one source of every report. Plain values, ready for JSON; templates compute nothing."""

from __future__ import annotations

import platform
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_prunegate.gate.identity import data_fingerprint, fewshot_seeds
from pytest_prunegate.gate.run_notes import differences, reductions
from pytest_prunegate.report.summary.changed_records import ChangedAnswers
from pytest_prunegate.report.summary.check_records import (
    CheckSummary,
    DecisionSummary,
    ExactFigures,
    IntervalSummary,
    MemberSummary,
)
from pytest_prunegate.report.summary.files_of_models import mask_survival, model_summary
from pytest_prunegate.report.summary.headline import headline, measured, verdict
from pytest_prunegate.report.summary.parts import parts_of_check, scale_of, unknown_parts
from pytest_prunegate.report.summary.provenance import (
    answered_in,
    asked_decision,
    asked_of,
    commit,
    mixtures,
    provenance_of,
    task_provenance,
)
from pytest_prunegate.report.summary.provenance_records import RunProvenance
from pytest_prunegate.report.summary.records import (
    SUMMARY_VERSION,
    SharesOfOutputs,
    Summary,
    TaskSummary,
    Ties,
)
from pytest_prunegate.report.summary.side_by_side import agreement_summary, speed_summary
from pytest_prunegate.report.summary.wording import (
    change_bounds,
    check_interval_text,
    reason,
    relative_change,
)
from pytest_prunegate.resources import installed_version
from pytest_prunegate.verdict.check_scores import choices_of, joined_shares
from pytest_prunegate.verdict.loss_interval import CONFIDENCE
from pytest_prunegate.verdict.outcome import Outcome
from pytest_prunegate.verdict.outlook import baseline_warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.gate.identity import Identities
    from pytest_prunegate.input.thresholds import ThresholdsFile
    from pytest_prunegate.report.summary.changed import Changes
    from pytest_prunegate.report.summary.earlier import Earlier
    from pytest_prunegate.tasks.checks import Check
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.verdicts import CheckResult

_LIBRARIES = ("pytest-prunegate", "lm_eval", "transformers", "torch", "tokenizers", "datasets", "pytest")


def build_summary(
    gate: Gate,
    file: ThresholdsFile,
    *,
    arguments: tuple[str, ...],
    started: datetime,
    finished: datetime,
    identities: Identities,
    earlier: Earlier,
    archive: Path | None,
    changes: Changes | None,
    interrupted: bool,
) -> Summary:
    """Summarise a run that was opened, however far it came.

    Args:
        gate: the run.
        file: its thresholds file.
        arguments: pytest's command line.
        started: when the run began.
        finished: when it ended.
        identities: what its figures depend on.
        earlier: what earlier runs left in the output folder.
        archive: where those of their files were moved that this run is not about.
        changes: the answers that changed; None of a baseline alone.
        interrupted: whether it was stopped before its end.
    """
    begun, command = started.isoformat(timespec="seconds"), shlex.join(["pytest", *arguments])
    checks = tuple(_check(gate, check, identities, earlier, begun) for check in gate.checks)
    outcomes = [Outcome(check.outcome) for check in checks]
    own = {name: _task(gate, name) for name, measurements in gate.measurements.items() if measurements}
    tasks = (*own.values(), *(kept for name, kept in earlier.tasks.items() if name not in own))
    provenance = provenance_of(gate, tasks)
    run = RunProvenance(
        command=command, started=begun, finished=finished.isoformat(timespec="seconds"), seed=gate.options.seed,
        batch_size=gate.options.batch_size, device=gate.plan.device, python=platform.python_version(), platform=platform.platform(),
        libraries={name: installed_version(name) for name in _LIBRARIES}, commit=commit(), tasks=task_provenance(tasks),
    )  # fmt: skip
    return Summary(
        version=SUMMARY_VERSION,
        verdict=verdict(outcomes),
        headline=headline(
            outcomes,
            partial=sum(check.is_partial for check in checks),
            earlier=sum(check.is_earlier for check in checks),
        ),
        notes=(
            *(_unfinished(gate) if interrupted else ()),
            *_notes(gate),
            *unknown_parts(gate, earlier),
            *(changes.notes if changes else ()),
            *mixtures(gate, provenance),
        ),
        differences=differences(gate.facts),
        reductions=reductions(gate.facts),
        mask=mask_survival(gate),
        agreement=agreement_summary(gate) or earlier.agreement,
        speed=speed_summary(gate) or earlier.speed,
        stale=earlier.stale,
        archive=None if archive is None else str(archive),
        checks_measured=measured(outcomes),
        checks_total=len(checks),
        models={side: model_summary(gate, side, checks) for side in gate.facts},
        checks=checks,
        tasks=tasks,
        asked={task.name: asked_of(task, gate.options) for task in gate.tasks},
        thresholds_file=file.display,
        built_in_thresholds=file.built_in,
        seed=run.seed,
        batch_size=run.batch_size,
        device=run.device,
        command=run.command,
        started=run.started,
        finished=run.finished,
        python=run.python,
        libraries=run.libraries,
        changed=changes.answers() if changes else ChangedAnswers(),
        provenance=provenance,
        run=run,
    )


def _unfinished(gate: Gate) -> Iterator[str]:
    """How far an interrupted run came."""
    reason = gate.stop.reason or "interrupted"
    whole = (
        ", when all checks of this candidate had ended"
        if gate.candidate and gate.results.keys() >= set(gate.checks)
        else ""
    )
    yield f"Stopped before its end ({reason}){whole}. Every answer so far is kept, and the same command goes on from there."
    for name in gate.runs.begun_anew:
        yield f"{name}: not finished; its runs are kept nowhere, and start again."
    for name, sides in gate.unfinished().items():
        counts = ", ".join(f"{side} {kept} of {total}" for side, (kept, total) in sides.items())
        yield f"{name}: not finished; requests answered: {counts}."


def _notes(gate: Gate) -> Iterator[str]:
    """What a reader must know before believing the verdict."""
    if gate.plan.is_same_model:
        yield "Both models are the same: no comparison finds a loss, and none says anything about pruning."
    yield from gate.plan.notes
    yield from gate.remarks
    for facts in gate.facts.values():
        if changed := facts.change():
            yield f"The {facts.title}: {changed} during the run; its figures are of the model as it was before."
    yield from gate.noise_floor.problems.values() if gate.noise_floor else ()
    for check, result in gate.results.items():
        if (
            result.comparison is not None
            and check not in gate.warned
            and (warning := baseline_warning(gate.task(check.task), check, gate.measurements[check.task]))
        ):
            yield warning
        if result.noise is not None and result.noise.covers(check):
            yield f"{check.label}: the threshold is below the noise floor ({result.noise.gross:.2%}): numerics alone may break it."
    yield from _ties(gate)
    for name, measurements in gate.measurements.items():
        for side in gate.facts:
            if cut := sum(measurement.scorers[side].truncated() for measurement in measurements):
                yield f"{cut} prompts of {name} were too long for the {side} model and lost their beginning (truncate: allow)."


def _check(gate: Gate, check: Check, identities: Identities, earlier: Earlier, begun: str) -> CheckSummary:
    result, since, is_earlier = gate.results.get(check), begun, False
    if result is None and check in earlier.results:
        result, since, is_earlier = earlier.results[check].result, earlier.results[check].measured, True
    comparison = result.comparison if result else None
    has_figures = result is not None and result.outcome is not Outcome.ERROR
    return CheckSummary(
        task=check.task, name=check.name, metric=check.metric, filter=check.filter, location=check.location, line=check.line,
        thresholds=tuple(threshold.describe() for threshold in check.thresholds),
        outcome=result.outcome if result else Outcome.NOT_RUN, interval=_interval(result),
        decision=_decision(result, earlier.results[check].decision if is_earlier else None),
        noise=result.noise if result else None,
        reason=reason(result),
        documents=result.documents if result else None, total_documents=result.total if result else None,
        unit=result.unit if result else "documents", members=_members(result), exact=_exact(comparison),
        identity=identities.of(check) if has_figures else None, measured=since if has_figures else None,
        is_earlier=is_earlier, parts=parts_of_check(gate, check, earlier), scale=scale_of(result), **_numbers(result),
    )  # fmt: skip


def _numbers(result: CheckResult | None) -> dict[str, Any]:
    names = ("original", "pruned", "difference", "relative", "recovery", "lost", "gained")
    found: dict[str, Any] = dict.fromkeys(names) | {"broken": (), "silent": None}
    if result is None:
        return found
    comparison = result.comparison
    if comparison is None:
        return found | {"original": _float(result.baseline)}
    return {
        "original": _float(comparison.original),
        "pruned": _float(comparison.pruned),
        "difference": _float(comparison.difference),
        "relative": relative_change(comparison.relative_drop),
        "recovery": _float(comparison.recovery),
        "broken": tuple(threshold.describe() for threshold in comparison.broken),
        "silent": comparison.silent,
        "lost": comparison.lost,
        "gained": comparison.gained,
    }


def _exact(comparison: Comparison | None) -> ExactFigures | None:
    if comparison is None:
        return None
    original, pruned, drop = (
        None if value is None else str(value) for value in (comparison.original, comparison.pruned, comparison.drop)
    )
    return ExactFigures(original=original, pruned=pruned, drop=drop)


def _interval(result: CheckResult | None) -> IntervalSummary | None:
    interval = result.verdict.interval if result and result.verdict else None
    if interval is None or result is None:
        return None
    return IntervalSummary(
        **asdict(interval),
        confidence=CONFIDENCE,
        relative_change=change_bounds(interval.relative),
        text=check_interval_text(result, interval),
        subject=interval.subject,
    )


def _decision(result: CheckResult | None, kept: DecisionSummary | None) -> DecisionSummary | None:
    """How a check was decided: what was asked for, what the verdict rests on, and of what its figures are an estimate."""
    if result is None or result.verdict is None:
        return None
    verdict, asked = result.verdict, result.check.decision
    terms = verdict.terms
    return DecisionSummary(
        asked=asked_decision(asked),
        outcome=verdict.outcome, basis=verdict.basis, error_rate=verdict.error_rate, indifference=verdict.indifference,
        documents=verdict.used, of=verdict.total, is_estimate=verdict.is_estimate,
        estimate_of=f"the scores on all {verdict.total} {result.unit}" if verdict.is_estimate else None, needed=verdict.needed,
        seed=terms.seed if terms and verdict.is_estimate else kept.seed if kept else None,
        checks=terms.checks if terms else kept.checks if kept else None,
        candidates=terms.candidates if terms else kept.candidates if kept else 1,
        earlier_looks=tuple(at for at, _ in terms.looks) if terms else kept.earlier_looks if kept else (),
        strictest={threshold.rule.key: value for threshold, value in zip(result.check.thresholds, verdict.strictest, strict=False)},
        note=verdict.note,
    )  # fmt: skip


def _members(result: CheckResult | None) -> tuple[MemberSummary, ...]:
    return tuple(
        MemberSummary(
            name=member.name, documents=member.documents, original=float(member.original), pruned=float(member.pruned),
            difference=float(member.pruned - member.original), exact=(str(member.original), str(member.pruned)),
            lost=member.lost, gained=member.gained,
        ) for member in (result.members if result else ())
    )  # fmt: skip


def _ties(gate: Gate) -> Iterator[str]:
    """Where a model's best choices have the same log-likelihood, and lm-eval takes the first of them."""
    for name, measurements in gate.measurements.items():
        found = {
            side: choices
            for side in gate.facts
            if measurements and (choices := choices_of(measurements, side)) is not None
        }
        if any(choices.tied for choices in found.values()):
            told = ", ".join(f"{side} {choices.tied} of {choices.documents}" for side, choices in found.items())
            yield f"{name}: documents whose best choices tie, of which the first counts as chosen: {told}."


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _task(gate: Gate, name: str) -> TaskSummary:
    measurements = gate.measurements[name]
    first, prepared = measurements[0], [measurement.prepared for measurement in measurements]
    shares = {side: joined_shares(measurements, side) for side in gate.facts}
    outputs = {
        side: SharesOfOutputs(outputs=found.outputs, empty=float(found.empty), cut=_float(found.cut)) if found else None
        for side, found in shares.items()
    }
    return TaskSummary(
        name=name, version=", ".join(dict.fromkeys(part.version for part in prepared)), unit=prepared[0].unit, outputs=outputs,
        num_fewshot=max(part.num_fewshot for part in prepared), documents=sum(len(part.documents) for part in prepared),
        total_documents=sum(part.total_documents for part in prepared),
        data_fingerprint=data_fingerprint(prepared), requests=sum(len(part.requests) for part in prepared),
        started=first.started.isoformat(timespec="seconds"),
        seconds=max(measurement.seconds for measurement in measurements),
        fewshot_seeds=fewshot_seeds(gate.task(name), prepared), answered_in=answered_in(gate, name),
        ties={
            side: Ties(documents=found.documents, tied=found.tied) if (found := choices_of(measurements, side)) else None
            for side in gate.facts
        },
    )  # fmt: skip
