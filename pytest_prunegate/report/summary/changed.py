"""The answers that changed in a run, and in earlier ones whose figures still hold: in the reports, and all in a file.

A line of `changed.jsonl` is a JSON object with a document that changed; the lines stand in the order of the reports: lost ones
first, the largest losses at the top, then gained ones (`ChangedLine`).
The objects of one check whose change is lost are as many as the check's lost documents in the results; gained likewise.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from pytest_prunegate.atomic_file import remove_left_behind, replacing
from pytest_prunegate.report.summary.changed_records import CHANGED_FILE, ChangedAnswers, ChangedLine, ChangedScore
from pytest_prunegate.report.summary.shown_answers import Change, chosen, embedded
from pytest_prunegate.tasks.answer_texts import Answer
from pytest_prunegate.verdict.answers import Texts, doc_id_of, member_of, texts_of
from pytest_prunegate.verdict.outcome import GAINED, LOST, SAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.report.summary.earlier import Earlier, KeptResult
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.outcome import Direction, Moved


Place = tuple[str, str | None, int]
"""A document: its task, its group's task, its id."""


@dataclass(kw_only=True)
class KeptChanges:
    """Documents that changed in earlier runs, by task, member and id: their scores on checks that still hold, and their texts.

    `notes` say of which checks not all are known any more.
    """

    scores: dict[Place, list[ChangedScore]] = field(default_factory=dict)
    texts: dict[Place, Callable[[], Texts]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def kept_changes(earlier: Earlier, moved: Path | None) -> KeptChanges:
    """Read what earlier runs wrote of the checks whose figures are theirs.

    Args:
        earlier: those checks.
        moved: the folder that took the files of an earlier run; None where none were moved.
    """
    found = KeptChanges()
    by_file: dict[Path | None, dict[tuple[str, str], KeptResult]] = {}
    for check, kept in earlier.results.items():
        by_file.setdefault(kept.changes, {})[check.task, check.name] = kept
    counts: Counter[tuple[str, str, str]] = Counter()
    for file, wanted in by_file.items():
        if file is not None:
            path = file if moved is None or file.is_file() else moved / file.name
            _read(path, wanted, found, counts)
    found.notes = tuple(_notes(earlier.results, counts))
    return found


def _read(
    path: Path, wanted: Mapping[tuple[str, str], KeptResult], found: KeptChanges, counts: Counter[tuple[str, str, str]]
) -> None:
    """Take what is wanted of a file; a line that cannot be read is left out."""
    for offset, line in _lines(path):
        try:
            kept = msgspec.json.decode(line, type=ChangedLine)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        place = (kept.task, kept.member, kept.doc_id)
        scores = [score for score in kept.scores if (kept.task, score.check) in wanted]
        if not any(score.change != SAME for score in scores):
            continue
        known = {score.check for score in found.scores.get(place, ())}
        new = [score for score in scores if score.check not in known]
        found.scores.setdefault(place, []).extend(new)
        found.texts.setdefault(place, partial(_texts_at, path, offset))
        counts.update((place[0], score.check, score.change) for score in new)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with where they begin; none of one that is not there."""
    try:
        with path.open("rb") as file:
            offset = 0
            for line in file:
                yield offset, line
                offset += len(line)
    except OSError:
        return


def _texts_at(path: Path, offset: int) -> Texts:
    """The texts of a line that was read before."""
    with path.open("rb") as file:
        file.seek(offset)
        kept = msgspec.json.decode(file.readline(), type=ChangedLine)
    return Texts(
        prompt=kept.prompt, gold=kept.gold, original=Answer(text=kept.original, note=kept.original_note),
        pruned=Answer(text=kept.pruned, note=kept.pruned_note),
    )  # fmt: skip


def _notes(results: Mapping[Check, KeptResult], counts: Counter[tuple[str, str, str]]) -> Iterator[str]:
    """The checks of which the file has other answers than the results counted."""
    for check, kept in results.items():
        comparison = kept.result.comparison
        if comparison is None or comparison.lost is None or comparison.gained is None:
            continue
        there = [counts[check.task, check.name, change] for change in (LOST, GAINED)]
        if there != [comparison.lost, comparison.gained]:
            yield (
                f"{check.label}: its changed answers are not all known any more: {there[0]} of {comparison.lost} lost and {there[1]} of "
                f"{comparison.gained} gained. The file of the run that measured it ({kept.measured}) is missing or damaged. Run the check again "
                "to have them; its answers are kept."
            )


class Changes:
    """The answers that changed.

    Args:
        gate: the run, after its last check.
        earlier: what earlier runs left that still holds.
        moved: where their files are now, of those that were moved.
        file: the name of the file that has all of them.
    """

    def __init__(self, gate: Gate, earlier: Earlier, moved: Path | None, *, file: str = CHANGED_FILE) -> None:
        self._file = file
        scores: dict[Place, list[ChangedScore]] = {}
        texts: dict[Place, Callable[[], Texts]] = {}
        kept = kept_changes(earlier, moved)
        self.notes: tuple[str, ...] = kept.notes
        """Which of the earlier runs' changes are not known any more."""
        for task in gate.tasks:
            measured = gate.measurements.get(task.name, ())
            compared = {
                check: result.comparison
                for check in task.checks if (result := gate.results.get(check)) is not None and result.comparison is not None
            }  # fmt: skip
            for place, read, found in _changed(task, measured, compared):
                scores[place], texts[place] = found, read
        for place, found in kept.scores.items():
            scores[place] = [*scores.get(place, []), *found]
            texts.setdefault(place, kept.texts[place])
        checks = {(check.task, check.name): (number, check) for number, check in enumerate(gate.checks)}
        order = {task.name: (number, _members(task)) for number, task in enumerate(gate.tasks)}
        self._changes = sorted(
            (_change(place, scores[place], texts[place], checks) for place in scores),
            key=lambda one: (one.change != LOST, one.is_output, -one.size, order[one.task][0],
                             order[one.task][1].get(one.member, 0), one.doc_id),
        )  # fmt: skip

    def answers(self) -> ChangedAnswers:
        """What the reports say of them."""
        shown, blocks = embedded(chosen(self._changes), self._file)
        lost = sum(change.change == LOST for change in self._changes)
        return ChangedAnswers(
            total=len(self._changes), lost=lost, gained=len(self._changes) - lost, shown=shown, blocks=blocks,
            file=self._file if self._changes else None,
        )  # fmt: skip

    def write(self, folder: Path) -> None:
        """Write all of them, one at a time; where nothing changed there is no file, nor that of an earlier run.

        Raises:
            OSError: the file cannot be written.
        """
        remove_left_behind(folder / self._file)
        if not self._changes:
            (folder / self._file).unlink(missing_ok=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / self._file) as file:
            for change in self._changes:
                file.write(change.line())


def _changed(
    task: GateTask, measured: Iterable[Measurement], compared: dict[Check, Comparison]
) -> Iterable[tuple[Place, Callable[[], Texts], list[ChangedScore]]]:
    """The documents that changed by a check of a task, each with its scores on all of them."""
    read = texts_of(task, tuple(measured))
    keys: dict[DocumentKey, None] = {}
    for comparison in compared.values():
        keys |= dict.fromkeys(key for key, (before, after) in comparison.scores.items() if before != after)
    for key in keys:
        found = [
            changed_score(check, comparison, key) for check, comparison in compared.items() if key in comparison.scores
        ]
        yield (task.name, member_of(key), doc_id_of(key)), partial(read, key), found


def changed_score(check: Check, comparison: Comparison, key: DocumentKey) -> ChangedScore:
    """Both models' scores of a document on a check, and which way they differ."""
    original, pruned = comparison.scores[key]
    loss = comparison.loss(key)
    change: Moved = LOST if loss > 0 else GAINED if loss < 0 else SAME
    return ChangedScore(check=check.name, original=float(original), pruned=float(pruned), change=change)


def _members(task: GateTask) -> dict[str | None, int]:
    return {member.name: number for number, member in enumerate(task.members)}


def _change(
    place: Place,
    scores: list[ChangedScore],
    texts: Callable[[], Texts],
    checks: dict[tuple[str, str], tuple[int, Check]],
) -> Change:
    """A document's change by all of its scores. One that says less and is right by every metric has not got worse."""
    task, member, doc_id = place
    of_metrics = [score for score in scores if not checks[task, score.check][1].is_share]
    telling = [score for score in of_metrics if score.change != SAME] or scores
    change: Direction = LOST if any(score.change == LOST for score in telling) else GAINED
    return Change(
        task=task, member=member, doc_id=doc_id, change=change,
        scores=tuple(sorted(scores, key=lambda score: checks[task, score.check][0])),
        size=max(abs(score.pruned - score.original) for score in telling if score.change == change),
        is_output=telling is scores, texts=texts,
    )  # fmt: skip
