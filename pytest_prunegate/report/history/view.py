"""What the history shows: a metric over runs, candidate by candidate, with what changed on the way. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_prunegate.report.history.records import History, HistoryCheck, HistoryRun

_MEASURED = ("pass", "fail", "inconclusive", "recorded")
_SHOWN = 8  # characters of a fingerprint


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """A check in a run.

    `at` counts the moments of all runs; candidates of one run share it. `since` says what is otherwise than in the
    candidate's run before, `is_new_model` whether the pruned model is another than that of the last figures. `is_again`: a run
    before has shown this measurement.
    """

    at: int
    started: str
    candidate: str
    check: HistoryCheck
    since: tuple[str, ...] = ()
    is_new_model: bool = False
    is_again: bool = False

    @property
    def has_figures(self) -> bool:
        """Whether there is something to draw."""
        return self.check.outcome in _MEASURED and self.check.pruned is not None


@dataclass(frozen=True, kw_only=True)
class MetricHistory:
    """A metric of a task over runs, the oldest first."""

    task: str
    name: str
    rows: tuple[MetricRow, ...]

    @property
    def label(self) -> str:
        """As node ids name it."""
        return f"{self.task}::{self.name}"

    @property
    def candidates(self) -> tuple[str, ...]:
        """In the order in which they appeared."""
        return tuple(dict.fromkeys(row.candidate for row in self.rows))

    @property
    def drawn(self) -> tuple[MetricRow, ...]:
        """Each measurement once."""
        return tuple(row for row in self.rows if row.has_figures and not row.is_again)

    @property
    def errors(self) -> tuple[MetricRow, ...]:
        """The runs that have no figures."""
        return tuple(row for row in self.rows if not row.has_figures)


@dataclass(frozen=True, kw_only=True)
class HistoryView:
    """All that is shown. `moments` are when runs began, by the number that rows carry; `problems` are lines left out."""

    moments: tuple[str, ...]
    metrics: tuple[MetricHistory, ...]
    problems: tuple[str, ...]


def view_of(
    history: History, *, task: str | None = None, metric: str | None = None, candidate: str | None = None, last: int | None = None,
) -> HistoryView:  # fmt: skip
    """Choose what is shown.

    Args:
        history: all runs.
        task: this one alone.
        metric: this check's name alone.
        candidate: runs of this pruned model alone, by its name or path.
        last: so many runs at the end; candidates of one run count as one.

    Raises:
        InputError: nothing has such a name; it lists those that there are.
    """
    runs = history.runs
    _refuse_unknown("--candidate", candidate, (run.candidate for run in runs))
    _refuse_unknown("--task", task, (check.task for run in runs for check in run.checks))
    _refuse_unknown("--metric", metric, (check.name for run in runs for check in run.checks if task in {None, check.task}))  # fmt: skip
    chosen = [run for run in runs if candidate in {None, run.candidate}]
    moments = tuple(dict.fromkeys(run.started for run in chosen))
    rows = _rows(chosen, {moment: at for at, moment in enumerate(moments)})
    first = 0 if last is None else max(0, len(moments) - last)
    metrics = tuple(
        _from(MetricHistory(task=name[0], name=name[1], rows=found), first)
        for name, found in rows.items()
        if task in {None, name[0]} and metric in {None, name[1]}
    )
    return HistoryView(
        moments=moments[first:], metrics=tuple(found for found in metrics if found.rows), problems=history.problems
    )


def _refuse_unknown(option: str, name: str | None, known: Iterable[str]) -> None:
    names = tuple(dict.fromkeys(known))
    if name is not None and names and name not in names:
        raise InputError(f"{option} {name}: the history has none of that name. It has: {', '.join(names)}.")


def _rows(runs: Sequence[HistoryRun], places: dict[str, int]) -> dict[tuple[str, str], tuple[MetricRow, ...]]:
    """The rows of each metric, the metrics in the order of the newest run's file."""
    found: dict[tuple[str, str], list[MetricRow]] = {
        (check.task, check.name): [] for run in reversed(runs) for check in run.checks if check.outcome != "not run"
    }
    before: dict[tuple[str, str, str], tuple[HistoryRun, HistoryCheck]] = {}
    pruned: dict[tuple[str, str, str], str] = {}
    seen: set[tuple[str, str, str, str, str | None]] = set()
    for run in runs:
        for check in run.checks:
            if check.outcome == "not run":
                continue
            key = (run.candidate, check.task, check.name)
            pair = (run.models.original.fingerprint, run.models.pruned.fingerprint)
            measurement = (*pair, check.task, check.name, check.measured)
            row = _row(places[run.started], run, check, before.get(key))
            row = replace(
                row,
                is_again=check.is_earlier and measurement in seen,
                is_new_model=pruned.get(key, pair[1]) != pair[1],
            )
            found[key[1:]].append(row)
            before[key] = (run, check)
            seen.add(measurement)
            if row.has_figures:
                pruned[key] = pair[1]
    return {name: tuple(rows) for name, rows in found.items()}


def _row(at: int, run: HistoryRun, check: HistoryCheck, before: tuple[HistoryRun, HistoryCheck] | None) -> MetricRow:
    since: list[str] = []
    if before is not None:
        earlier, was = before
        here, there = run.models, earlier.models
        for side, model, other in (("original", here.original, there.original), ("pruned", here.pruned, there.pruned)):
            if model.fingerprint != other.fingerprint:
                change = f"{other.fingerprint[:_SHOWN]} before, {model.fingerprint[:_SHOWN]} now"
                since.append(f"another {side} model under the same name ({change})" if model.label == other.label
                             else f"another {side} model: {model.label} ({change})")  # fmt: skip
        if check.thresholds != was.thresholds:
            since.append(f"threshold: {'; '.join(check.thresholds)} (before: {'; '.join(was.thresholds)})")
    return MetricRow(at=at, started=run.started, candidate=run.candidate, check=check, since=tuple(since))


def _from(metric: MetricHistory, first: int) -> MetricHistory:
    """The same without the runs before; a measurement counts where it is first seen among the others."""
    rows: list[MetricRow] = []
    seen: set[tuple[str, str | None]] = set()
    for row in metric.rows:
        if row.at >= first:
            key = (row.candidate, row.check.measured)
            rows.append(replace(row, at=row.at - first, is_again=row.is_again and key in seen))
            seen.add(key)
    return replace(metric, rows=tuple(rows))
