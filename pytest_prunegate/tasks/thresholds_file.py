"""Reads thresholds.yaml, and makes the checks of a run of it; each section is read and resolved by its kind.

Every mistake that the file alone can tell is collected with its line; what only lm-eval's index can tell is added to them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.input.threshold_values import (
    DECISION_KEYS,
    Surroundings,
    read_decision,
    read_thresholds,
    unknown_key,
)
from pytest_prunegate.input.thresholds import DecisionSpec, TaskSpec, ThresholdsFile
from pytest_prunegate.input.yaml_nodes import Mistakes, Node, compose_document
from pytest_prunegate.tasks.checks import AskingKind, Resolution
from pytest_prunegate.tasks.kinds import sections

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.input.thresholds import TaskOptions
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.tasks.index import TaskIndex


def load_thresholds(path: Path, *, display: str, built_in: bool = False) -> tuple[ThresholdsFile, Mistakes]:
    """Read a thresholds file.

    Args:
        path: the file.
        display: how messages name it.
        built_in: whether it is the one that ships with the package.

    Returns:
        The file as far as it could be read, and all mistakes found. It is usable only if there is none.

    Raises:
        InputError: the file cannot be read at all.
    """
    return parse_thresholds(read_text(path, display=display), path=path, display=display, built_in=built_in)


def read_text(path: Path, *, display: str) -> str:
    """The text of a thresholds file, its line ends as they are.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{display}: the thresholds file cannot be read: {reason}.") from error


def parse_thresholds(text: str, *, path: Path, display: str, built_in: bool = False) -> tuple[ThresholdsFile, Mistakes]:
    """Read the text of a thresholds file, as `load_thresholds` reads the file at `path`."""
    mistakes = Mistakes(display=display)
    root = compose_document(text, mistakes)
    empty = ThresholdsFile(path=path, display=display, built_in=built_in)
    loaded = empty if root is None else _read_file(root, empty, mistakes)
    if not mistakes.found and not any(spec.has_checks for spec in loaded.specs):
        mistakes.add(1, "there is no check in this file. Write at least one task with a metric, for example "
                        "`tasks: {gsm8k: {metrics: {accuracy: {max_relative_drop: 5%, filter: flexible-extract}}}}`.")  # fmt: skip
    return loaded, mistakes


def _read_file(root: Node, empty: ThresholdsFile, mistakes: Mistakes) -> ThresholdsFile:
    kinds = sections()
    *others, last = known = ("defaults", *kinds)
    found = dict(root.entries(what=f"the keys {', '.join(others)} and {last}"))
    for name, node in found.items():
        if name not in known:
            unknown_key(node, name, known)
    before = len(mistakes.found)
    defaults = read_thresholds(found["defaults"], extra=DECISION_KEYS) if "defaults" in found else ()
    decision = read_decision(found["defaults"]) if "defaults" in found else DecisionSpec()
    usable = defaults if len(mistakes.found) == before else None
    around = Surroundings(mistakes=mistakes, folder=empty.path.parent, defaults=usable, decision=decision)
    specs = [spec for name, kind in kinds.items() if name in found for spec in kind.read(found[name], around)]
    loaded = replace(empty, defaults=defaults, decision=decision, specs=tuple(specs))
    _refuse_twin_names(loaded, mistakes)
    return loaded


def _refuse_twin_names(file: ThresholdsFile, mistakes: Mistakes) -> None:
    """Entries of all sections are chosen by their names alone."""
    free = {name for name, kind in sections().items() if kind.names_are_free}
    lines = {spec.name: spec.line for spec in file.specs if spec.section not in free}
    for spec in file.specs:
        if spec.section in free and lines.setdefault(spec.name, spec.line) != spec.line:
            mistakes.add(spec.line, f"{spec.section}.{spec.name}: the name is taken by line {lines[spec.name]}. Take another.")  # fmt: skip


def resolve_tasks(
    file: ThresholdsFile,
    index: TaskIndex,
    mistakes: Mistakes,
    *,
    only: tuple[str, ...],
    options: TaskOptions,
    built_in: ThresholdsFile,
) -> tuple[GateTask, ...]:
    """The tasks and checks of a run: what files say first, then perplexity, then the tasks in the file's order.

    Args:
        file: the thresholds file as it was read.
        index: lm-eval's tasks.
        mistakes: takes what is wrong; the result is usable only if it stays empty.
        only: the names of ``--prunegate-tasks``: the file's others are left out, unknown ones are added.
        options: the command line's settings for every task.
        built_in: the thresholds that ship with the package: metrics for a task that names none.
    """
    resolution = Resolution(file=file, index=index, mistakes=mistakes, built_in=built_in, options=options)
    kinds = sections()
    cheapest_first = [*kinds.items()][::-1]
    files_first = sorted(cheapest_first, key=lambda entry: isinstance(entry[1], AskingKind))
    found = [task for name, kind in files_first for task in kind.resolve(file.below(name), resolution)]
    known = {name for task in found for name in (task.name, *task.origins)} | {spec.name for spec in file.tasks}
    added = [TaskSpec(name=name, line=0, decision=file.decision) for name in dict.fromkeys(only) if name not in known]
    found += kinds[TaskSpec.section].resolve(added, resolution)
    _refuse_twin_tasks(found, mistakes)
    return tuple(replace(task, selected=not only or bool({task.name, *task.origins} & set(only))) for task in found)


def _refuse_twin_tasks(tasks: list[GateTask], mistakes: Mistakes) -> None:
    seen: dict[str, GateTask] = {}
    for task in tasks:
        twin = seen.setdefault(task.name, task)
        if twin is not task:
            through = f" through {task.origins[0]}" if task.origins else ""
            mistakes.add(task.spec.line, f"{task.name}: is there twice{through} (first in line {twin.spec.line}). Keep one.")  # fmt: skip
