"""A recorded run, read from its comparison_results.json: its checks, and what was asked of each task."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.report.summary.records import RESULTS_FILE, SUMMARY_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MEASURED = ("pass", "fail", "inconclusive", "recorded")
_UNREADABLE = (ArithmeticError, ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured of a check. Scores and the drop are exact; positive is worse.

    `relative_high` and `absolute_high` are the upper ends of the 95% intervals of the loss, None where they are unbounded.
    `strictest` are the thresholds, by their rules, that an interval at the check's own error rate would just meet. `gross` is
    the noise floor, as a share of the original's score.
    """

    original: Fraction | None
    pruned: Fraction
    drop: Fraction | None
    has_interval: bool
    relative_high: float | None
    absolute_high: float | None
    strictest: Mapping[str, float | None]
    by_interval: bool
    gross: float
    silent: str | None
    counted: str

    @property
    def relative_drop(self) -> Fraction | None:
        """The drop over the original's score; None where that is 0."""
        return self.drop / abs(self.original) if self.drop is not None and self.original else None

    @property
    def is_lower_better(self) -> bool:
        """Whether a higher score is known to be worse."""
        return bool(self.drop) and self.original is not None and self.pruned - self.original == self.drop


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
    models: Mapping[str, str]
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
        found = json.loads(file.read_bytes())
    except OSError as error:
        several = sorted(file.parent.glob(f"{file.stem}_*.json")) if path.is_dir() else []
        way_on = f"Name a {RESULTS_FILE}, or the folder that holds it."
        if several:
            way_on = f"There are those of several candidates; name one: {', '.join(map(str, several))}."
        raise InputError(f"{file}: cannot be read: {error.strerror}. {way_on}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not JSON: {error}.") from None
    version = found.get("version") if isinstance(found, dict) else None
    if version != SUMMARY_VERSION or "asked" not in found:
        raise InputError(
            f"{file}: is not a {RESULTS_FILE} of version {SUMMARY_VERSION} (found: {version}). Run the gate again: its store has the answers."
        )
    try:
        run = _run(found, str(file))
    except _UNREADABLE as error:
        raise InputError(f"{file}: is damaged: {type(error).__name__}: {error}.") from None
    if run.is_empty:
        raise InputError(f"{file}: holds no measured check. Measure some, for example with --prunegate-record.")
    return run


def _run(found: Mapping[str, Any], source: str) -> RecordedRun:
    shots = {task["name"]: task["num_fewshot"] for task in found["tasks"]}
    tasks = tuple(
        RecordedTask(
            name=name, kind=asked["kind"], origins=tuple(asked["origins"]), settings=asked["settings"], shots=shots.get(name),
            checks=tuple(_check(check, asked) for check in found["checks"] if check["task"] == name),
        ) for name, asked in found["asked"].items()
    )  # fmt: skip
    models = {side: model["name"] or model["path"] for side, model in found["models"].items()}
    return RecordedRun(source=source, started=found["started"], models=models, tasks=tasks)


def _check(found: Mapping[str, Any], asked: Mapping[str, Any]) -> RecordedCheck:
    said = asked["checks"][found["name"]]
    decide = {**asked["settings"], **said["keys"]}.get("decide")
    figures = _figures(found, is_confident=decide == "confident") if found["outcome"] in _MEASURED else None
    return RecordedCheck(
        task=found["task"], name=found["name"], outcome=found["outcome"], rules=tuple(said["rules"]), keys=said["keys"], figures=figures,
    )  # fmt: skip


def _figures(found: Mapping[str, Any], *, is_confident: bool) -> Figures:
    exact, decision, interval = found["exact"], found["decision"], found["interval"]
    return Figures(
        original=None if exact["original"] is None else Fraction(exact["original"]),
        pruned=Fraction(exact["pruned"]),
        drop=None if exact["drop"] is None else Fraction(exact["drop"]),
        has_interval=interval is not None,
        relative_high=interval["relative"][1] if interval else None,
        absolute_high=interval["absolute"][1] if interval else None,
        strictest=decision["strictest"],
        by_interval=is_confident or decision["basis"] in {"sample", "confident"},
        gross=found["noise"]["gross"] if found["noise"] else 0.0,
        silent=found["silent"],
        counted=f"{found['documents']} {found['unit']}",
    )
