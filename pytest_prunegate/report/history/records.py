"""The history: a line in ``history.jsonl`` for each finished run, and the way back."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_prunegate.atomic_file import opened_to_append
from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytest_prunegate.report.summary.records import CheckSummary, ModelSummary, Summary

HISTORY_FILE = "history.jsonl"
HISTORY_VERSION = 1
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "str | None": (str, _NONE), "int": (int,), "int | None": (int, _NONE), "float | None": (int, float, _NONE),
    "bool": (bool,),
}  # fmt: skip
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class HistoryModel:
    """A model of a run."""

    name: str | None
    path: str
    fingerprint: str
    sparsity: float | None

    @property
    def label(self) -> str:
        """Its name, or the path without one."""
        return self.name or self.path


@dataclass(frozen=True, kw_only=True)
class HistoryCheck:
    """A check of a run. Drops are relative, and positive is worse; `limit` is the most that its thresholds allow of them.

    `measured` is when the run began that measured it, `is_earlier` whether that was an earlier one.
    """

    task: str
    name: str
    outcome: str
    original: float | None
    pruned: float | None
    relative_drop: float | None
    interval: Bounds | None
    limit: float | None
    thresholds: tuple[str, ...]
    documents: int | None
    total_documents: int | None
    unit: str
    lost: int | None
    gained: int | None
    measured: str | None
    is_earlier: bool


@dataclass(frozen=True, kw_only=True)
class HistoryRun:
    """A finished run of a pair of models."""

    version: int
    started: str
    finished: str
    verdict: str
    thresholds_file: str
    command: str
    commit: str | None
    models: dict[str, HistoryModel]
    checks: tuple[HistoryCheck, ...]

    @property
    def candidate(self) -> str:
        """The pruned model's name, or its path."""
        return self.models["pruned"].label


@dataclass(frozen=True, kw_only=True)
class History:
    """Runs, the oldest first, and what is wrong with lines that could not be read."""

    runs: tuple[HistoryRun, ...]
    problems: tuple[str, ...]


def append_run(summary: Summary, folder: Path) -> Path:
    """Add a run to the history of its output folder. To be called by the one who is alone in it.

    One write: what a crash tears is this line alone, and it spoils none that comes later.

    Args:
        summary: of a finished run of two models.
        folder: the output folder.

    Returns:
        The history's file.

    Raises:
        OSError: the line cannot be written.
    """
    path = folder / HISTORY_FILE
    line = json.dumps(asdict(_run(summary)), allow_nan=False).encode() + b"\n"
    try:
        with os.fdopen(opened_to_append(path), "a+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END) and _last_byte(file) != b"\n":  # a crash tore the last line
                line = b"\n" + line
            if file.write(line) != len(line):
                raise OSError("the disk is full")  # noqa: TRY301 - told like all others
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"{path} could not be added to ({error.strerror or error}); all other files are there") from error
    return path


def read_history(paths: Iterable[Path]) -> History:
    """Read several histories as one. Damaged lines are told and left out; a line that two files share counts once.

    Args:
        paths: files, or output folders that hold one.

    Raises:
        InputError: a file is not there, or cannot be read.
    """
    runs: dict[bytes, HistoryRun] = {}
    problems: list[str] = []
    for given in paths:
        path = given / HISTORY_FILE if given.is_dir() else given
        for number, line in enumerate(_lines(path), 1):
            try:
                if line.strip():
                    runs.setdefault(line.strip(), _from_json(json.loads(line, parse_constant=_refuse)))
            except _UNREADABLE as error:
                problems.append(f"{path}:{number}: is damaged and left out ({_told(error)}).")
    return History(runs=tuple(sorted(runs.values(), key=lambda run: run.started)), problems=tuple(problems))


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        raise InputError(
            f"{path}: is not there. Every finished run of two models adds a line to {HISTORY_FILE} in its output folder "
            "(--prunegate-output): name that folder, or the file."
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return bytes(file.read(1))


def _run(summary: Summary) -> HistoryRun:
    return HistoryRun(
        version=HISTORY_VERSION, started=summary.started, finished=summary.finished, verdict=summary.verdict,
        thresholds_file=summary.thresholds_file, command=summary.command, commit=summary.run.commit if summary.run else None,
        models={side: _model(model) for side, model in summary.models.items()}, checks=tuple(map(_check, summary.checks)),
    )  # fmt: skip


def _model(model: ModelSummary) -> HistoryModel:
    return HistoryModel(name=model.name, path=model.path, fingerprint=model.fingerprint, sparsity=model.sparsity)


def _check(check: CheckSummary) -> HistoryCheck:
    interval = check.interval.relative if check.interval else None
    return HistoryCheck(
        task=check.task, name=check.name, outcome=check.outcome, original=check.original, pruned=check.pruned,
        relative_drop=None if check.relative is None else 0.0 - check.relative,
        interval=None if interval is None else (interval[0], interval[1]), limit=check.scale.limit if check.scale else None,
        thresholds=check.thresholds, documents=check.documents, total_documents=check.total_documents, unit=check.unit,
        lost=check.lost, gained=check.gained, measured=check.measured, is_earlier=check.is_earlier,
    )  # fmt: skip


def _from_json(found: Mapping[str, Any]) -> HistoryRun:
    if found["version"] != HISTORY_VERSION:
        raise ValueError(f"version {found['version']!r}; {HISTORY_VERSION} is known")
    models = {side: HistoryModel(**_checked(HistoryModel, found["models"][side])) for side in ("original", "pruned")}
    checks = tuple(HistoryCheck(**_checked(HistoryCheck, one)) for one in found["checks"])
    run = HistoryRun(**_checked(HistoryRun, {**found, "models": models, "checks": checks}))
    datetime.fromisoformat(run.started)
    return run


def _checked(record: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record, each of its kind."""
    values = {field.name: found[field.name] for field in fields(record)}
    for field in fields(record):
        value, kinds = values[field.name], _KINDS.get(str(field.type))
        if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise TypeError(f"{field.name} is {value!r:.50}")
    if record is HistoryCheck:
        values["thresholds"] = tuple(str(text) for text in values["thresholds"])
        values["interval"] = None if values["interval"] is None else _bounds(values["interval"])
    return values


def _bounds(found: Any) -> Bounds:
    if not isinstance(found, list) or len(found) != 2 or not all(type(bound) in {int, float, _NONE} for bound in found):  # noqa: PLR2004 - low and high
        raise TypeError(f"interval is {found!r:.50}")
    low, high = found
    return (low, high)


def _refuse(constant: str) -> float:
    raise ValueError(f"it says {constant}")


def _told(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "no JSON"
    return f"it lacks {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
