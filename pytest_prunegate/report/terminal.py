"""Lines for the terminal. Yields text; the plugin prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.compare import Outcome
from pytest_prunegate.report.wording import (
    count_text,
    duration_text,
    percent_text,
    score_text,
    signed_text,
    size_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.options import Options
    from pytest_prunegate.plan import Plan, TaskPlan
    from pytest_prunegate.report.summary import CheckSummary, Summary
    from pytest_prunegate.thresholds import ThresholdsFile

_HEADS = ("task", "metric", "original", "pruned", "difference", "relative", "threshold", "n", "verdict")
_LEFT = {"task", "metric", "threshold", "verdict"}
_SHORT_RULES = {"relative drop at most": "drop", "absolute drop at most": "abs drop", "recovery at least": "recovery",
                "score at least": "score", "share at most": "share"}  # fmt: skip


def plan_lines(plan: Plan, file: ThresholdsFile, options: Options) -> Iterator[str]:
    """What the run will do, before it does it."""
    for side, facts in plan.facts.items():
        conditions = plan.conditions[side]
        parameters = f"{facts.parameters / 1e6:,.0f}M parameters, " if facts.parameters else ""
        name = f"{facts.name} = " if facts.name else ""
        yield f"{side + ':':<10}{name}{facts.path} ({parameters}{size_text(facts.size)}, {conditions.dtype}, fingerprint {facts.fingerprint[:12]})"
    if plan.is_same_model:
        yield "          Both are the same model: every check will pass, and says nothing about pruning."
    source = "built-in thresholds" if file.built_in else file.display
    yield f"settings: {source}, seed {options.seed}, batch size {options.batch_size}, device {options.device}"
    for task in plan.tasks:
        yield f"task:     {_task_line(task)}"
    pending = sum(sum(task.missing.values()) for task in plan.tasks)
    if all(task.problem for task in plan.tasks):
        yield "time:     nothing can be measured"
    elif not pending:
        yield "time:     every answer is in the store; no model is loaded"
    elif plan.seconds is None:
        yield "time:     not known yet (nothing like it was timed before); the progress line tells as it goes"
    else:
        yield f"time:     about {duration_text(plan.seconds)}, by earlier runs on this device"


def _task_line(task: TaskPlan) -> str:
    if task.problem:
        return f"{task.name}: cannot run: {task.problem.splitlines()[0]}"
    total = 2 * task.requests
    missing = sum(task.missing.values())
    kept = f"{total - missing} of them in the store" if missing < total else "none in the store"
    seconds = f", about {duration_text(task.seconds)}" if task.seconds and missing else ""
    documents = count_text(task.documents, task.total_documents)
    return f"{task.name}: {documents}, {task.num_fewshot} shots, {total} requests to both models, {kept}{seconds}"


def table_lines(summary: Summary) -> Iterator[tuple[str, str]]:
    """The table of all checks, each line with its outcome (empty for the head)."""
    rows = [_row(check) for check in summary.checks]
    widths = [max(len(row[column]) for row in [_HEADS, *rows]) for column in range(len(_HEADS))]
    yield _join(_HEADS, widths), ""
    for check, row in zip(summary.checks, rows, strict=True):
        yield _join(row, widths), check.outcome


def closing_lines(summary: Summary) -> Iterator[str]:
    """What the table does not say: notes, broken outputs, what was not run."""
    yield from summary.notes
    for task in summary.tasks:
        for side, outputs in task.outputs.items():
            if outputs and (outputs["empty"] or outputs["cut"]):
                shares = (
                    f"{percent_text(outputs['empty'])} empty, {percent_text(outputs['cut'])} cut at the token limit"
                )
                yield f"Outputs of {task.name}, {side}: {shares}."
    skipped = [f"{check.task}::{check.name}" for check in summary.checks if check.outcome == Outcome.NOT_RUN]
    if skipped:
        yield f"Not run: {', '.join(skipped)}."
    yield "Relative: negative is a loss, whichever direction is better for the metric."


def _row(check: CheckSummary) -> tuple[str, ...]:
    verdict = {Outcome.NOT_RUN: "-"}.get(Outcome(check.outcome), check.outcome.upper())
    n = "-" if check.documents is None else str(check.documents)
    return (
        check.task, check.name, score_text(check.original), score_text(check.pruned), signed_text(check.difference),
        percent_text(check.relative, signed=True), "; ".join(_short(text) for text in check.thresholds), n, verdict,
    )  # fmt: skip


def _short(threshold: str) -> str:
    for long, short in _SHORT_RULES.items():
        threshold = threshold.replace(long, short)
    return threshold


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if head in _LEFT else cell.rjust(width)
        for cell, width, head in zip(cells, widths, _HEADS, strict=True)
    ]  # fmt: skip
    return "  ".join(padded).rstrip()
