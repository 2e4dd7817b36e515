"""What a run was asked for, in the words of thresholds.yaml and with what the command line said in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.task_reader import decision_words, settings_words
from pytest_prunegate.input.thresholds import Decision, TaskSpec
from pytest_prunegate.report.summary.check_records import AskedDecision
from pytest_prunegate.report.summary.records import AskedCheck, AskedTask

if TYPE_CHECKING:
    from pytest_prunegate.input.options import Options
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
