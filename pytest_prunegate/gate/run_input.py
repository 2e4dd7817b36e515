"""Reads everything that a run is asked for: options, thresholds file, lm-eval's tasks."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.execution.conditions import parse_arguments
from pytest_prunegate.execution.registry import canonical_backend
from pytest_prunegate.input.options import BUILT_IN, read_options
from pytest_prunegate.plain import seen_from
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks import index as task_index
from pytest_prunegate.tasks.guarded import warnings_logged
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_prunegate.input.options import Options
    from pytest_prunegate.input.thresholds import TaskOptions, ThresholdsFile
    from pytest_prunegate.tasks.checks import GateTask


def read_input(config: pytest.Config) -> tuple[Options, ThresholdsFile, tuple[GateTask, ...]]:
    """Options, thresholds file and tasks of a run.

    Raises:
        InputError: with every mistake of the first of them that has any.
    """
    options = read_options(config, parse_arguments=parse_arguments)
    canonical_backend(options.backend)
    asked = TasksAsked(
        thresholds=options.thresholds, only=options.tasks, include_path=options.include_path, cache_dir=options.cache_dir,
        for_tasks=options.for_tasks, folder=config.invocation_params.dir,
    )  # fmt: skip
    file, tasks = read_tasks(asked)
    return options, file, tasks


@dataclass(frozen=True, kw_only=True)
class TasksAsked:
    """Which tasks a user asks for. `folder` is where the user stands; `only` leaves out the file's other tasks."""

    thresholds: Path | None
    only: tuple[str, ...]
    include_path: Path | None
    cache_dir: Path | None
    for_tasks: TaskOptions
    folder: Path


def read_tasks(asked: TasksAsked) -> tuple[ThresholdsFile, tuple[GateTask, ...]]:
    """The thresholds file and its tasks.

    Raises:
        InputError: with every mistake of both.
    """
    built_in_path = resource_path("thresholds.yaml")
    built_in, _ = load_thresholds(built_in_path, display="thresholds.yaml", built_in=True)
    if asked.thresholds is None and not asked.only:
        raise InputError(
            f"there is no thresholds.yaml in {asked.folder}. Write one, or run with --thresholds=default (squadv2, gsm8k, WikiText-2) or quick, "
            "or name tasks with --prunegate-tasks=hellaswag,boolq."
        )
    if asked.thresholds is None:
        file, mistakes = load_thresholds(built_in_path, display=f"built-in {built_in_path.name}", built_in=True)
        file = replace(file, specs=())
    else:
        is_built_in = asked.thresholds in map(resource_path, BUILT_IN.values())
        display = f"built-in {asked.thresholds.name}" if is_built_in else str(seen_from(asked.folder, asked.thresholds))
        file, mistakes = load_thresholds(asked.thresholds, display=display, built_in=is_built_in)
    index = _index(asked, wanted=not mistakes.found)
    tasks = (
        resolve_tasks(file, index, mistakes, only=asked.only, options=asked.for_tasks, built_in=built_in)
        if index
        else ()
    )
    if mistakes.found:
        raise InputError(mistakes.render())
    return file, tasks


def _index(asked: TasksAsked, *, wanted: bool) -> task_index.TaskIndex | None:
    """The index of all tasks; None where there is none yet and it is not worth half a minute."""
    cache_dir = asked.cache_dir or task_index.default_cache_dir()
    index = task_index.load_index(cache_dir)
    if index is None and wanted:
        # The terminal reporter does not exist yet, and half a minute of silence looks like a hang.
        sys.stderr.write(
            f"prunegate: indexing the tasks of lm-eval {task_index.lm_eval_version()}: half a minute, once\n"
        )
        with warnings_logged():
            index = task_index.build_index(cache_dir)
    return index.including(asked.include_path) if index and asked.include_path else index
