"""The history: a line in ``history.jsonl`` for each finished run, and the way back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pytest_prunegate.atomic_file import opened_to_append
from pytest_prunegate.errors import InputError
from pytest_prunegate.report.summary.values import Bounds, Count, Moment, RunVerdict, Share, json_line
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.model_records import ModelSummary
    from pytest_prunegate.report.summary.records import Summary

HISTORY_FILE = "history.jsonl"
HISTORY_VERSION: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class HistoryModel:
    """A model of a run.

    Attributes:
        name: The name that the command line gives it.
        path: The path, hub id or address, as the user wrote it.
        fingerprint: Digest of weights, configuration and tokenizer.
        sparsity: Share of zeros among the decoder's linear weights.
    """

    name: str | None
    path: str
    fingerprint: str
    sparsity: Share | None

    @property
    def label(self) -> str:
        """Its name, or the path without one."""
        return self.name or self.path


@dataclass(frozen=True, kw_only=True)
class HistoryModels:
    """The pair of a run.

    Attributes:
        original: The original.
        pruned: The pruned model.
    """

    original: HistoryModel
    pruned: HistoryModel


@dataclass(frozen=True, kw_only=True)
class HistoryCheck:
    """A check of a run.

    Attributes:
        task: The task.
        name: The check's name within its task.
        outcome: How it ended.
        original: Score of the original.
        pruned: Score of the pruned model.
        relative_drop: Positive is worse, whichever direction is better; null where the original scores 0.
        interval: 95% interval of the relative drop.
        limit: The largest relative drop that all thresholds allow.
        thresholds: The thresholds in words.
        documents: What was measured, in `unit`.
        total_documents: All there is of that.
        unit: What is counted.
        lost: Documents with a worse score.
        gained: Documents with a better score.
        measured: When the run began that measured it.
        is_earlier: Whether that was an earlier run.
    """

    task: str
    name: str
    outcome: Outcome
    original: float | None
    pruned: float | None
    relative_drop: float | None
    interval: Bounds | None
    limit: float | None
    thresholds: tuple[str, ...]
    documents: Count | None
    total_documents: Count | None
    unit: str
    lost: Count | None
    gained: Count | None
    measured: Moment | None
    is_earlier: bool


@dataclass(frozen=True, kw_only=True)
class HistoryRun:
    """A finished run of a pair of models.

    Attributes:
        version: Of this format.
        started: When the run began; candidates of one run share it.
        finished: When it ended.
        verdict: The worst outcome of all checks that were run.
        thresholds_file: The thresholds file.
        command: The command line.
        commit: Commit that the CI system says it has checked out.
        models: Both models.
        checks: All checks of the thresholds file, in its order.
    """

    version: Literal[1]
    started: Moment
    finished: Moment
    verdict: RunVerdict
    thresholds_file: str
    command: str
    commit: str | None
    models: HistoryModels
    checks: tuple[HistoryCheck, ...]

    @property
    def candidate(self) -> str:
        """The pruned model's name, or its path."""
        return self.models.pruned.label


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
    line = json_line(_run(summary))
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
                    runs.setdefault(line.strip(), _read(line))
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                problems.append(f"{path}:{number}: is damaged and left out ({error}).")
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
        thresholds_file=summary.thresholds_file, command=summary.command, commit=summary.run.commit,
        models=HistoryModels(original=_model(summary.models["original"]), pruned=_model(summary.models["pruned"])),
        checks=tuple(map(_check, summary.checks)),
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


def _read(line: bytes) -> HistoryRun:
    """A line's run.

    Raises:
        msgspec.DecodeError: it is no JSON, or not what such a line holds.
        ValueError: it is of another version.
    """
    found = msgspec.json.decode(line)
    version = found.get("version") if isinstance(found, dict) else None
    if version != HISTORY_VERSION:
        raise ValueError(f"version {version!r}; {HISTORY_VERSION} is known")
    run = msgspec.convert(found, HistoryRun)
    datetime.fromisoformat(run.started)
    return run
