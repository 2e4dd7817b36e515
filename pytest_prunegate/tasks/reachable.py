"""Loads the data of a task without any model: whether it is there, and, with a network, so that it will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.tasks.building import loading_message
from pytest_prunegate.tasks.checks import TaskKind
from pytest_prunegate.tasks.guarded import guarded, seeded_as_lm_eval
from pytest_prunegate.tasks.perplexity import load_text, text_message
from pytest_prunegate.tasks.task_loading import load_task

if TYPE_CHECKING:
    from pytest_prunegate.tasks.checks import GateTask


def load_data(part: GateTask) -> int | None:
    """Load a task, or a text for perplexity, as a run does.

    Returns:
        Bytes that the prepared data takes; None where nobody says.

    Raises:
        TaskError: it cannot be loaded.
    """
    spec: Any = part.spec
    if part.kind is TaskKind.PERPLEXITY:
        text = guarded(lambda: load_text(spec), text_message(spec))
        return len(text.encode())
    with seeded_as_lm_eval():
        task, _ = guarded(lambda: load_task(part), loading_message(part))
    splits = getattr(task, "dataset", None) or {}
    sizes = [getattr(getattr(split, "data", None), "nbytes", None) for split in splits.values()]
    known = [int(size) for size in sizes if size is not None]
    return sum(known) if known else None
