"""The summary: the one source of every report. Plain values, ready for JSON; templates compute nothing."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.compare import Comparison, Outcome
from pytest_prunegate.plan import SIDES
from pytest_prunegate.report.wording import relative_change, verdict_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pytest_prunegate.checks import Check
    from pytest_prunegate.gate import Gate
    from pytest_prunegate.plan import CheckResult
    from pytest_prunegate.thresholds import ThresholdsFile

SUMMARY_VERSION = 1
_LIBRARIES = ("pytest-prunegate", "lm_eval", "transformers", "torch", "tokenizers", "datasets", "pytest")


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model. Size in bytes. None: not measured, or unknown."""

    side: str
    name: str | None
    path: str
    revision: str | None
    fingerprint: str
    architecture: str | None
    parameters: int | None
    size: int
    dtype: str
    max_length: int
    sparsity: float | None
    wikitext_ppl: float | None


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """A check. `relative` has the sign that people know (negative is a loss); `reason` is a sentence."""

    task: str
    name: str
    metric: str
    filter: str
    location: str
    line: int
    thresholds: tuple[str, ...]
    outcome: str
    original: float | None
    pruned: float | None
    difference: float | None
    relative: float | None
    recovery: float | None
    interval: None
    broken: tuple[str, ...]
    documents: int | None
    total_documents: int | None
    lost: int | None
    gained: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """A task that was measured. `executed` counts requests that a model had to answer, by side."""

    name: str
    version: str
    num_fewshot: int
    documents: int
    total_documents: int
    data_fingerprint: str
    requests: int
    executed: dict[str, int]
    outputs: dict[str, dict[str, float | int | None] | None]
    started: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole run."""

    version: int
    verdict: str
    headline: str
    notes: tuple[str, ...]
    checks_measured: int
    checks_total: int
    models: dict[str, ModelSummary]
    checks: tuple[CheckSummary, ...]
    tasks: tuple[TaskSummary, ...]
    thresholds_file: str
    built_in_thresholds: bool
    seed: int
    batch_size: str
    device: str
    command: str
    started: str
    finished: str
    python: str
    libraries: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)


def build_summary(
    gate: Gate, file: ThresholdsFile, *, arguments: tuple[str, ...], started: datetime, finished: datetime
) -> Summary:
    """Summarise a run that was opened, however far it came.

    Args:
        gate: the run.
        file: its thresholds file.
        arguments: pytest's command line.
        started: when the run began.
        finished: when it ended.
    """
    checks = tuple(_check(gate, check) for check in gate.checks)
    outcomes = [Outcome(check.outcome) for check in checks]
    return Summary(
        version=SUMMARY_VERSION,
        verdict=_verdict(outcomes),
        headline=_headline(outcomes),
        notes=tuple(_notes(gate)),
        checks_measured=_measured(outcomes),
        checks_total=len(checks),
        models={side: _model(gate, side) for side in SIDES},
        checks=checks,
        tasks=tuple(_task(gate, name) for name in gate.measurements),
        thresholds_file=file.display,
        built_in_thresholds=file.built_in,
        seed=gate.options.seed,
        batch_size=gate.options.batch_size,
        device=gate.options.device,
        command=shlex.join(["pytest", *arguments]),
        started=started.isoformat(timespec="seconds"),
        finished=finished.isoformat(timespec="seconds"),
        python=platform.python_version(),
        libraries={name: importlib.metadata.version(name) for name in _LIBRARIES},
    )


def _verdict(outcomes: list[Outcome]) -> str:
    """The worst outcome of what was run; an incomplete run without anything bad is called so."""
    for outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE):
        if outcome in outcomes:
            return outcome.value
    return "incomplete" if Outcome.NOT_RUN in outcomes or not outcomes else Outcome.PASS.value


def _measured(outcomes: list[Outcome]) -> int:
    """Checks with a verdict; one that ended in an error has none."""
    return sum(outcome not in {Outcome.NOT_RUN, Outcome.ERROR} for outcome in outcomes)


def _headline(outcomes: list[Outcome]) -> str:
    counts = {outcome: outcomes.count(outcome) for outcome in Outcome}
    total, measured = len(outcomes), _measured(outcomes)
    words = {
        Outcome.FAIL: "failed",
        Outcome.ERROR: "ended in an error",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.PASS: "passed",
    }
    parts = ", ".join(f"{counts[outcome]} {word}" for outcome, word in words.items() if counts[outcome])
    incomplete = "INCOMPLETE, " if measured < total else ""
    verdict = _verdict(outcomes).upper().replace("INCOMPLETE", "")
    lead = f"{incomplete}{verdict}".rstrip(", ")
    return f"{lead}: {measured} of {total} checks measured" + (f": {parts}" if parts else "")


def _notes(gate: Gate) -> Iterator[str]:
    """What a reader must know before believing the verdict."""
    assert gate.plan is not None
    if gate.plan.is_same_model:
        yield "Both models are the same: every check passes, and says nothing about pruning."
    for name, measurement in gate.measurements.items():
        for side, scorer in measurement.scorers.items():
            if cut := scorer.truncated():
                yield f"{cut} prompts of {name} were too long for the {side} model and lost their beginning (truncate: allow)."


def _model(gate: Gate, side: str) -> ModelSummary:
    assert gate.plan is not None
    facts, conditions = gate.plan.facts[side], gate.plan.conditions[side]
    return ModelSummary(
        side=side, name=facts.name, path=facts.path, revision=facts.revision, fingerprint=facts.fingerprint,
        architecture=facts.architecture, parameters=facts.parameters, size=facts.size, dtype=conditions.dtype,
        max_length=conditions.max_length, sparsity=None, wikitext_ppl=None,
    )  # fmt: skip


def _check(gate: Gate, check: Check) -> CheckSummary:
    result = gate.results.get(check)
    measurement = gate.measurements.get(check.task)
    total = measurement.prepared.total_documents if measurement else None
    comparison = result.comparison if result else None
    numbers = _numbers(comparison)
    return CheckSummary(
        task=check.task, name=check.name, metric=check.metric, filter=check.filter, location=check.location, line=check.line,
        thresholds=tuple(threshold.describe() for threshold in check.thresholds),
        outcome=(result.outcome if result else Outcome.NOT_RUN).value,
        total_documents=total if comparison else None, reason=_reason(result, total), interval=None, **numbers,
    )  # fmt: skip


def _numbers(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        names = ("original", "pruned", "difference", "relative", "recovery", "documents", "lost", "gained")
        return dict.fromkeys(names) | {"broken": ()}
    return {
        "original": float(comparison.original),
        "pruned": float(comparison.pruned),
        "difference": float(comparison.difference),
        "relative": relative_change(comparison.relative_drop),
        "recovery": None if comparison.recovery is None else float(comparison.recovery),
        "broken": tuple(threshold.describe() for threshold in comparison.broken),
        "documents": comparison.documents,
        "lost": comparison.lost,
        "gained": comparison.gained,
    }


def _reason(result: CheckResult | None, total: int | None) -> str:
    if result is None:
        return "not run"
    if result.comparison is None or total is None:
        return result.error or ""
    return verdict_sentence(result.comparison, total_documents=total)


def _task(gate: Gate, name: str) -> TaskSummary:
    measurement = gate.measurements[name]
    prepared = measurement.prepared
    outputs = {
        side: None if shares is None else {
            "outputs": shares.outputs, "empty": float(shares.empty), "cut": None if shares.cut is None else float(shares.cut),
        }
        for side, shares in measurement.shares.items()
    }  # fmt: skip
    return TaskSummary(
        name=name, version=prepared.version, num_fewshot=prepared.num_fewshot, documents=len(prepared.documents),
        total_documents=prepared.total_documents, data_fingerprint=prepared.data_fingerprint, requests=len(prepared.requests),
        executed=dict(measurement.executed), outputs=outputs, started=measurement.started.isoformat(timespec="seconds"),
        seconds=(measurement.finished - measurement.started).total_seconds(),
    )  # fmt: skip
