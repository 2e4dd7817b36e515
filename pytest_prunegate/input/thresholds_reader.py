"""Reads thresholds.yaml, and collects every mistake that the file alone can tell, with its line.

Whether lm-eval has such a task and such a metric is judged in `checks.py`, against the index of lm-eval's tasks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.input.task_reader import TaskReader
from pytest_prunegate.input.threshold_values import DECISION_KEYS, read_decision, read_thresholds, unknown_key
from pytest_prunegate.input.thresholds import DecisionSpec, PerplexitySpec, SparsitySpec, TaskSpec, ThresholdsFile
from pytest_prunegate.input.yaml_nodes import Mistakes, Node, compose_document

if TYPE_CHECKING:
    from pathlib import Path

_FILE_KEYS = ("defaults", "tasks", "perplexity", "sparsity")


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
    empty = ThresholdsFile(path=path, display=display, built_in=built_in, tasks=(), defaults=())
    loaded = empty if root is None else _read_file(root, empty, mistakes)
    if not mistakes.found and not _has_checks(loaded):
        mistakes.add(1, "there is no check in this file. Write at least one task with a metric, for example "
                        "`tasks: {gsm8k: {metrics: {accuracy: {max_relative_drop: 5%, filter: flexible-extract}}}}`.")  # fmt: skip
    return loaded, mistakes


def _read_file(root: Node, empty: ThresholdsFile, mistakes: Mistakes) -> ThresholdsFile:
    sections = dict(root.entries(what="the keys defaults, tasks, perplexity and sparsity"))
    for name, node in sections.items():
        if name not in _FILE_KEYS:
            unknown_key(node, name, _FILE_KEYS)
    before = len(mistakes.found)
    defaults = read_thresholds(sections["defaults"], extra=DECISION_KEYS) if "defaults" in sections else ()
    decision = read_decision(sections["defaults"]) if "defaults" in sections else DecisionSpec()
    broken = len(mistakes.found) > before
    reader = TaskReader(mistakes, empty.path.parent, None if broken else defaults, decision)
    tasks: list[TaskSpec] = []
    perplexity: list[PerplexitySpec] = []
    sparsity: SparsitySpec | None = None
    if "tasks" in sections:
        entries = sections["tasks"].entries(what="tasks with their metrics")
        tasks = [reader.task(name, replace(node, path=name)) for name, node in entries]
    if "perplexity" in sections:
        entries = sections["perplexity"].entries(what="texts with their thresholds, such as {wikitext2: 10%}")
        perplexity = [reader.perplexity(name, node) for name, node in entries]
    if "sparsity" in sections:
        sparsity = reader.sparsity(sections["sparsity"])
    loaded = replace(
        empty, defaults=defaults, decision=decision, tasks=tuple(tasks), perplexity=tuple(perplexity), sparsity=sparsity
    )
    _refuse_twin_names(loaded, mistakes)
    return loaded


def _refuse_twin_names(file: ThresholdsFile, mistakes: Mistakes) -> None:
    """A task, a text and sparsity are chosen by their names alone."""
    lines = {spec.name: spec.line for spec in file.tasks}
    if file.sparsity:
        lines[file.sparsity.name] = file.sparsity.line
    for text in file.perplexity:
        if text.name in lines:
            mistakes.add(text.line, f"perplexity.{text.name}: the name is taken by line {lines[text.name]}. Take another.")  # fmt: skip


def _has_checks(file: ThresholdsFile) -> bool:
    tasks = any(task.metrics is None or task.metrics or task.outputs for task in file.tasks)
    return tasks or bool(file.perplexity) or file.sparsity is not None
