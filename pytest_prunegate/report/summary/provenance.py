"""Provenance: where the answers come from, as the store or a baseline file keeps it beside them, and what the run was asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_prunegate.input.task_reader import decision_words, settings_words
from pytest_prunegate.input.thresholds import Decision, TaskSpec
from pytest_prunegate.report.summary.check_records import AskedDecision
from pytest_prunegate.report.summary.provenance_records import (
    Environment,
    ModelProvenance,
    TaskProvenance,
)
from pytest_prunegate.report.summary.records import AskedCheck, AskedTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.report.summary.records import TaskSummary
    from pytest_prunegate.tasks.checks import Check, GateTask


def asked_of(task: GateTask, options: Options) -> AskedTask:
    """What is asked of a task: its kind, the tags it came through, its settings, and its checks with their rules.

    Args:
        task: with its settled settings.
        options: of the run. One that records decides nothing, and then the file's word is told.
    """
    decisions = {check.name: _decision(task, check, options) for check in task.checks}
    outer = _outer_decision(task, decisions)
    return AskedTask(
        kind=task.kind.key,
        origins=tuple(task.origins),
        settings=_settings(task) | task.kind.decision_words(outer),
        checks={
            check.name: AskedCheck(
                rules=tuple(threshold.rule.key for threshold in check.thresholds),
                keys=_keys(task, check) | decision_words(decisions[check.name], within=outer),
            )
            for check in task.checks
        },
    )


def asked_decision(decision: Decision) -> AskedDecision:
    """What was asked for of a decision; rates as the exact decimal numbers that they are."""
    return AskedDecision(
        decide=decision.decide, error_rate=str(decision.error_rate), indifference=str(decision.indifference), inconclusive=decision.inconclusive,
    )  # fmt: skip


def _settings(task: GateTask) -> dict[str, Any]:
    """A task's settings. The command line's stand in a group's members; each member keeps those that it can have."""
    found = settings_words(task.spec)
    for member in task.members:
        found |= settings_words(member.spec)
    return found


def _outer_decision(task: GateTask, decisions: dict[str, Decision]) -> Decision:
    """What is said for the whole task: how its outputs are decided, which cannot say it themselves, or else its first check."""
    outputs = [written.name for written in task.spec.outputs] if isinstance(task.spec, TaskSpec) else []
    return next(iter([*(decisions[name] for name in outputs), *decisions.values()]), Decision())


def _decision(task: GateTask, check: Check, options: Options) -> Decision:
    return task.spec.decision_of(check.name).settled() if options.record else check.decision


def _keys(task: GateTask, check: Check) -> dict[str, Any]:
    written = task.spec.written if isinstance(task.spec, TaskSpec) else ()
    return next(({"filter": metric.filter} for metric in written if metric.name == check.name and metric.filter), {})


_COMMIT = ("GITHUB_SHA", "CI_COMMIT_SHA")  # GitHub's and GitLab's
_TIPS = "Numerics may tip an answer now and then; --prunegate-noise-floor tells how many."


def provenance_of(gate: Gate, tasks: Sequence[TaskSummary]) -> dict[Side, ModelProvenance]:
    """Which models answered, and where the answers to these tasks were made, by side."""
    return {side: _model(gate, side, tasks) for side in gate.facts}


def answered_in(gate: Gate, task: str) -> dict[Side, tuple[Environment, ...]]:
    """Where the answers to a measured task were made, by side."""
    parts = [measurement.prepared for measurement in gate.measurements[task]]
    return {
        side: joined(msgspec.convert(gate.baselines.environments(side, parts), tuple[Environment, ...]))
        for side in gate.facts
    }


def joined(environments: Iterable[Environment]) -> tuple[Environment, ...]:
    """Each place once, with all of its answers, the earliest first."""
    places: dict[str, Environment] = {}
    for one in environments:
        known = places.get(one.place)
        places[one.place] = one if known is None else replace(
            known, batch_sizes=tuple(sorted({*known.batch_sizes, *one.batch_sizes})),
            answers=None if known.answers is None or one.answers is None else known.answers + one.answers,
            first=min(known.first, one.first), last=max(known.last, one.last),
        )  # fmt: skip
    return tuple(sorted(places.values(), key=lambda one: (one.first, one.place)))


def _model(gate: Gate, side: Side, tasks: Iterable[TaskSummary]) -> ModelProvenance:
    facts, conditions = gate.facts[side], gate.conditions[side]
    return ModelProvenance(
        path=facts.path, name=facts.name, revision=facts.revision, base=facts.base, fingerprint=facts.fingerprint,
        file=None if facts.file is None else str(facts.file), backend=conditions.backend, dtype=conditions.dtype,
        arguments=dict(facts.arguments), max_length=conditions.max_length, lm_eval=conditions.lm_eval,
        environments=joined(one for task in tasks for one in task.answered_in.get(side, ())),
    )  # fmt: skip


def task_provenance(tasks: Iterable[TaskSummary]) -> dict[str, TaskProvenance]:
    """What was asked of each task."""
    return {
        task.name: TaskProvenance(
            version=task.version, data_fingerprint=task.data_fingerprint, num_fewshot=task.num_fewshot,
            fewshot_seeds=task.fewshot_seeds, started=task.started, seconds=task.seconds,
        ) for task in tasks
    }  # fmt: skip


def commit() -> str | None:
    """The commit that the CI system says it has checked out."""
    return next((os.environ[name] for name in _COMMIT if os.environ.get(name)), None)


def mixtures(gate: Gate, models: Mapping[Side, ModelProvenance]) -> Iterator[str]:
    """Where the answers of one model, or of the two, were not all made on the same hardware by the same libraries."""
    for side, model in models.items():
        if len(model.environments) > 1:
            places = _apart(model.environments)
            told = "; ".join(f"{_count(one)}: {place}" for one, place in zip(model.environments, places, strict=True))
            yield f"The answers of the {gate.facts[side].title} were made in {len(places)} places: {told}. {_TIPS}"
    alone = {side: model.environments[0] for side, model in models.items() if len(model.environments) == 1}
    # What a file was computed with is compared with this run before it begins; a server says nothing of its own libraries.
    if len({one.place for one in alone.values()}) > 1 and not gate.files and not any(model.served for model in gate.facts.values()):  # fmt: skip
        told = "; ".join(f"{side}: {place}" for side, place in zip(alone, _apart([*alone.values()]), strict=True))
        yield f"The answers of the two models were made in different places: {told}. {_TIPS}"


def _apart(environments: Sequence[Environment]) -> list[str]:
    """What tells places apart, in words; what all have in common is left out."""
    said = [[one.hardware, *(f"{name} {version}" for name, version in one.libraries.items())] for one in environments]
    common = set(said[0]).intersection(*said[1:])
    return [", ".join(word for word in words if word not in common) or "nothing else is known" for words in said]


def _count(one: Environment) -> str:
    days = one.first if one.first == one.last else f"{one.first} to {one.last}"
    return f"some of {days}" if one.answers is None else f"{one.answers:,} of {days}"
