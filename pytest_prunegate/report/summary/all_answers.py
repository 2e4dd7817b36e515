"""All answers of a run in a file, the unchanged ones too, where they were asked for (``--prunegate-answers``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.atomic_file import remove_left_behind, replacing
from pytest_prunegate.report.summary.changed import changed_score
from pytest_prunegate.report.summary.changed_records import AnswerLine
from pytest_prunegate.report.summary.values import json_line
from pytest_prunegate.verdict.answers import texts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.tasks.checks import GateTask


def write_answers(gate: Gate, path: Path) -> None:
    """Write a line for each document that both models answered, task by task in the order in which they were drawn.

    Args:
        gate: the run, after its last check.
        path: of the file; where nothing was measured there is none, nor that of an earlier run.

    Raises:
        OSError: it cannot be written.
    """
    remove_left_behind(path)
    measured = [task for task in gate.tasks if gate.measurements.get(task.name)]
    if not measured:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        for task in measured:
            for line in _lines(gate, task):
                file.write(json_line(line))


def _lines(gate: Gate, task: GateTask) -> Iterator[AnswerLine]:
    measured, draws = gate.measurements[task.name], gate.draws[task.name]
    executed = {(part.prepared.name, document.doc_id) for part in measured for document in part.prepared.documents}
    results = ((check, gate.results.get(check)) for check in task.checks)
    compared = {
        check: result.comparison for check, result in results if result is not None and result.comparison is not None
    }
    texts_by_key = texts_of(task, measured)
    for drawn, (number, doc_id) in enumerate(draws.order, start=1):
        name = draws.parts[number].name
        if (name, doc_id) not in executed:
            continue
        key = task.document_key(name, doc_id)
        texts = texts_by_key(key)
        yield AnswerLine(
            task=task.name, member=name if task.members else None, doc_id=doc_id, drawn=drawn,
            scores=tuple(changed_score(check, comparison, key) for check, comparison in compared.items() if key in comparison.scores),
            prompt=texts.prompt, gold=texts.gold, original=texts.original.text, pruned=texts.pruned.text,
            original_note=texts.original.note, pruned_note=texts.pruned.note,
        )  # fmt: skip
