"""The answers that changed in earlier runs whose figures still hold, from the files that those runs left."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.summary.changed_records import ChangedScore
from pytest_prunegate.verdict.answers import GAINED, LOST, SAME, Answer, Texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.report.summary.earlier import Earlier, KeptResult
    from pytest_prunegate.tasks.checks import Check

Place = tuple[str, str | None, int]
"""A document: its task, its group's task, its id."""
_WRONG = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_TEXTS = ("prompt", "gold", "original", "pruned", "original_note", "pruned_note")


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
            values = _parsed(line)
            place = (values["task"], values["member"], values["doc_id"])
            scores = [_score(score) for score in values["scores"] if (values["task"], score["check"]) in wanted]
        except _WRONG:
            continue
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


def _parsed(line: bytes) -> dict[str, Any]:
    """A line's values.

    Raises:
        ValueError: it is no line of such a file.
    """
    values: dict[str, Any] = json.loads(line)
    is_whole = (
        isinstance(values["task"], str)
        and isinstance(values["member"], str | None)
        and type(values["doc_id"]) is int
        and all(isinstance(values[name], str) for name in _TEXTS)
    )
    if not is_whole:
        raise ValueError("not a line of answers that changed")
    return values


def _score(values: dict[str, Any]) -> ChangedScore:
    original, pruned = float(values["original"]), float(values["pruned"])
    if values["change"] not in {LOST, GAINED, SAME} or not (math.isfinite(original) and math.isfinite(pruned)):
        raise ValueError("not the scores of a document")
    return ChangedScore(check=values["check"], original=original, pruned=pruned, change=values["change"])


def _texts_at(path: Path, offset: int) -> Texts:
    """The texts of a line that was read before."""
    with path.open("rb") as file:
        file.seek(offset)
        values = _parsed(file.readline())
    return Texts(
        prompt=values["prompt"], gold=values["gold"], original=Answer(text=values["original"], note=values["original_note"]),
        pruned=Answer(text=values["pruned"], note=values["pruned_note"]),
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
