"""A recorded run, read from its comparison_results.json: its checks, and what was asked of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.report.summary.reading import OtherVersionError, UnreadableError, measured_of, read_results
from pytest_prunegate.report.summary.records import RESULTS_FILE
from pytest_prunegate.verdict.outcome import Basis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.reading import Measured
    from pytest_prunegate.report.summary.records import AskedTask, Summary


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a threshold can be made of: a check as it was measured, and how far its loss may reach.

    `relative_high` and `absolute_high` are the upper ends of the 95% intervals of the loss, None where they are unbounded, or
    not known. `by_interval` says whether an interval decides it. `gross` is the noise floor, as a share of the original's score.
    """

    measured: Measured
    relative_high: float | None
    absolute_high: float | None
    by_interval: bool
    gross: float
    counted: str

    @property
    def has_interval(self) -> bool:
        """Whether an interval of the loss is known."""
        return self.measured.check.interval is not None

    @property
    def strictest(self) -> Mapping[str, float | None]:
        """By rule, the threshold that an interval at the check's own error rate would just meet."""
        return self.measured.decision.strictest

    @property
    def is_lower_better(self) -> bool:
        """Whether a higher score is known to be worse."""
        drop, original = self.measured.drop, self.measured.original
        return bool(drop) and original is not None and self.measured.pruned - original == drop


@dataclass(frozen=True, kw_only=True)
class RecordedCheck:
    """A check of the run: its rules, its other keys in the file, and its figures (None, and `outcome`, where it has none)."""

    task: str
    name: str
    outcome: str
    rules: tuple[str, ...]
    keys: Mapping[str, Any]
    figures: Figures | None


@dataclass(frozen=True, kw_only=True)
class RecordedTask:
    """A task of the run with its settings, in the words of thresholds.yaml. `shots` are the examples that it had."""

    name: str
    kind: str
    origins: tuple[str, ...]
    settings: Mapping[str, Any]
    shots: int | None
    checks: tuple[RecordedCheck, ...]


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run: where it was read, when it began, its models in words, and its tasks."""

    source: str
    started: str
    models: Mapping[Side, str]
    tasks: tuple[RecordedTask, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not any(check.figures for task in self.tasks for check in task.checks)


def read_run(path: Path) -> RecordedRun:
    """Read a run.

    Args:
        path: its comparison_results.json, or the folder that holds it.

    Raises:
        InputError: it cannot be read, is of another version, or measured nothing.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        run = _run(read_results(file), str(file))
    except OSError as error:
        several = sorted(file.parent.glob(f"{file.stem}_*.json")) if path.is_dir() else []
        way_on = f"Name a {RESULTS_FILE}, or the folder that holds it."
        if several:
            way_on = f"There are those of several candidates; name one: {', '.join(map(str, several))}."
        raise InputError(f"{file}: cannot be read: {error.strerror}. {way_on}") from None
    except OtherVersionError as error:
        raise InputError(f"{file}: {error}. Run the gate again: its store has the answers.") from None
    except UnreadableError as error:
        raise InputError(f"{file}: {error}.") from None
    if run.is_empty:
        raise InputError(f"{file}: holds no measured check. Measure some, for example with --prunegate-record.")
    return run


def _run(found: Summary, source: str) -> RecordedRun:
    shots = {task.name: task.num_fewshot for task in found.tasks}
    tasks = tuple(
        RecordedTask(
            name=name, kind=asked.kind, origins=asked.origins, settings=asked.settings, shots=shots.get(name),
            checks=tuple(_check(check, asked) for check in found.checks if check.task == name),
        ) for name, asked in found.asked.items()
    )  # fmt: skip
    models = {side: model.name or model.path for side, model in found.models.items()}
    return RecordedRun(source=source, started=found.started, models=models, tasks=tasks)


def _check(check: CheckSummary, asked: AskedTask) -> RecordedCheck:
    own, measured = asked.checks.get(check.name), measured_of(check)
    if own is None:
        raise UnreadableError(f"is damaged: it does not say what was asked of {check.task}.{check.name}")
    is_confident = {**asked.settings, **own.keys}.get("decide") == Decide.CONFIDENT
    figures = _figures(measured, is_confident=is_confident) if measured else None
    return RecordedCheck(
        task=check.task, name=check.name, outcome=check.outcome, rules=own.rules, keys=own.keys, figures=figures
    )


def _figures(measured: Measured, *, is_confident: bool) -> Figures:
    check, decision = measured.check, measured.decision
    return Figures(
        measured=measured,
        relative_high=check.interval.relative[1] if check.interval else None,
        absolute_high=check.interval.absolute[1] if check.interval else None,
        by_interval=is_confident or decision.basis in {Basis.SAMPLE, Basis.CONFIDENT},
        gross=check.noise.gross if check.noise else 0.0,
        counted=f"{measured.documents} {check.unit}",
    )
