"""What pytest shows of a check that failed, or that nobody can decide: short lines, the same in every process and in JUnit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.screen.marked_lines import (
    WIDTH,
    Line,
    folded,
    kind_of,
    last_words,
    text_of,
    wrapped,
    write_line,
)
from pytest_prunegate.report.summary.wording import (
    certainty_texts,
    changed_text,
    conclusion_texts,
    counted_text,
    figures_text,
    loss_text,
    note_texts,
)
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.report.screen.marked_lines import Writer
    from pytest_prunegate.verdict.verdicts import CheckResult


FEW, MANY = 3, 20
"""Lost answers of a failing check; the second at -vv, which shows them whole."""
EMPTY = "(empty)"
_LABEL = 11
_ROWS = 2  # of each text of an answer
_ENOUGH = 1000  # characters for them
_DOTS = "... "


@dataclass(frozen=True, kw_only=True)
class LostAnswer:
    """A document that a check lost, and what was said of it: texts of others, as they are."""

    document: str
    question: str
    gold: str
    original: str
    pruned: str


@dataclass(frozen=True, kw_only=True)
class CrashLine:
    """Where a check stands and what it lost, in one line: what pytest's short summary and ``--tb=line`` show."""

    path: str
    lineno: int
    message: str
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class FailedCheck:
    """What pytest shows of a check that did not pass: it knows this shape by `toterminal` and `reprcrash`."""

    reprcrash: CrashLine
    lines: tuple[Line, ...]
    is_one_line: bool
    """Whether ``--tb=line`` is asked for: pytest then writes the crash line itself."""

    def toterminal(self, writer: Writer) -> None:
        """Write the lines, in colours where pytest has them."""
        if not self.is_one_line:
            for line in self.lines:
                write_line(writer, line)

    def __str__(self) -> str:
        return "\n".join(map(text_of, self.lines))

    def as_json(self) -> dict[str, Any]:
        """As plain values, for another process."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FailedCheck:
        """What `as_json` made."""
        return msgspec.convert(values, cls)


def failed_check(
    result: CheckResult, answers: Sequence[LostAnswer], *, name: str, path: str, rest: str, command: str, in_full: bool, is_one_line: bool
) -> FailedCheck:  # fmt: skip
    """Say of a check with a comparison what fell, by how much, how sure that is, and what to do next.

    Args:
        result: of the check.
        answers: those of its losses that are shown.
        name: of the check's item.
        path: of the file that holds the check.
        rest: where all changed answers are.
        command: runs the item alone.
        in_full: whether answers are shown whole.
        is_one_line: whether pytest shows the crash line alone.
    """
    check = result.check
    message = one_line(loss_text(result))
    place = one_line(f"{check.location}: {check.task} {name}")
    lines: list[Line] = [((line, kind_of(result.outcome)),) for line in wrapped(f"{place}: {message}", WIDTH)]
    for label, text in _labelled(result, len(answers)):
        lines += _lines_of(label, text)
    for answer in answers:
        lines += _answer_lines(answer, in_full=in_full)
    if answers:
        lines += _lines_of("the rest", rest)
    return FailedCheck(
        reprcrash=CrashLine(path=path, lineno=check.line, message=message, place=place),
        lines=(*lines, ((plain(f"Run it alone: {command}"), ""),)), is_one_line=is_one_line,
    )  # fmt: skip


def _labelled(result: CheckResult, shown: int) -> Iterator[tuple[str, str]]:
    """Labels and sentences; a label stands before the first of its own."""
    check, comparison = result.check, result.comparison
    assert comparison is not None
    yield "scores", figures_text(comparison)
    counted = counted_text(result)
    if counted:
        yield counted
    yield "threshold", "; ".join(threshold.describe() for threshold in check.thresholds)
    verdict, *further = conclusion_texts(result)
    yield "verdict", verdict
    label = "to decide" if result.outcome is Outcome.INCONCLUSIVE else ""
    for text in further:
        yield label, text
        label = ""
    label = "where" if counted else "how sure"
    for text in (*certainty_texts(result), *note_texts(result)):
        yield label, text
        label = ""
    if comparison.lost is not None:
        largest = f"; the largest {'loss' if shown == 1 else f'{shown} losses'}:" if shown else ""
        yield "answers", changed_text(comparison) + largest


def _lines_of(label: str, text: str) -> Iterator[Line]:
    start = f"{label}:" if label else ""
    for line in wrapped(one_line(text), WIDTH - _LABEL):
        yield ((start.ljust(_LABEL), "dim"), (line, ""))
        start = ""


def _answer_lines(answer: LostAnswer, *, in_full: bool) -> Iterator[Line]:
    """The end of the question, what is right, and what each model said."""
    yield ((f"  {one_line(answer.document)}", "strong"),)
    for label, text, kind in (
        ("question", answer.question, "dim"), ("gold", answer.gold, "dim"), ("original", answer.original, "good"), ("pruned", answer.pruned, "bad"),
    ):  # fmt: skip
        if label == "gold" and not text:
            continue
        start = f"    {label}"
        for line in _shown(text, is_question=label == "question", in_full=in_full):
            yield ((start.ljust(_LABEL + 3), kind), (line, ""))
            start = ""


def _shown(text: str, *, is_question: bool, in_full: bool) -> list[str]:
    """A text of others whole, or in two lines: the end of a question, beginning and end of an answer."""
    room = WIDTH - _LABEL - 3
    if in_full and not is_question:
        return _rows(plain(text).expandtabs(4), room)
    if is_question or len(text) > 2 * _ENOUGH:
        text = text[-_ENOUGH:] if is_question else text[:_ENOUGH] + text[-_ENOUGH:]
    words = " ".join(one_line(text).split())
    rows = _rows(words, room)
    if len(rows) <= _ROWS:
        return rows
    if not is_question:
        return [rows[0], _DOTS + last_words(words, room - len(_DOTS))]
    last = last_words(words, room)
    before = words[: len(words) - len(last)].rstrip()
    return [_DOTS + last_words(before, room - len(_DOTS)), last]


def _rows(text: str, width: int) -> list[str]:
    return [row for line in wrapped(text, width) for row in folded(line, width)]
