"""Lines for a terminal: pieces of inert text with how each is shown, counted in the columns that a terminal gives them."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Protocol

from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Line = tuple[tuple[str, str], ...]
"""Texts, each with a key of MARKUP."""
WIDTH = 80
"""Columns that every terminal is taken to have."""
MARKUP: dict[str, dict[str, bool]] = {
    "": {},
    "good": {"green": True},
    "bad": {"red": True},
    "doubt": {"yellow": True},
    "strong": {"bold": True},
    "dim": {"light": True},
}
_KINDS: dict[str, str] = {
    Outcome.PASS: "good",
    Outcome.FAIL: "bad",
    Outcome.ERROR: "doubt",
    Outcome.INCONCLUSIVE: "doubt",
    Outcome.NOT_RUN: "dim",
}
_COMMAND = r"(?:python -m pytest_prunegate|pytest -).*"
_WORD = re.compile(rf"{_COMMAND}|`[^`]*`\S*|\S+")
_JOINER = "\u200d"


class Writer(Protocol):
    """pytest's TerminalReporter or TerminalWriter: they know whether colours are wanted."""

    @property
    def write(self) -> Callable[..., None]:
        """Writes a text with this markup."""


def kind_of(outcome: str) -> str:
    """How the word of an outcome, or of a run's verdict, is shown."""
    return _KINDS.get(outcome, "")


def write_line(writer: Writer, line: Line) -> None:
    """Write a line, each piece with its markup."""
    for text, kind in line:
        writer.write(text, **(MARKUP[kind] if text.strip() else {}))
    writer.write("\n")


def text_of(line: Line) -> str:
    """The line without its markup."""
    return "".join(text for text, _ in line)


def width_of(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for one that joins another."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def _width(character: str) -> int:
    if character == _JOINER or unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text and spaces up to a width, in front of it where it stands at the right."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def wrapped(text: str, width: int, *, indent: str = "") -> Iterator[str]:
    """The text in lines that end between words; a command, a path, or code between backticks is one word, however long."""
    for given in text.split("\n"):
        line, end = "", 0
        for word in _WORD.finditer(given):
            gap = given[end : word.start()]
            if end and width_of(line) + len(gap) + width_of(word[0]) > width:
                yield line
                line, gap = indent, ""
            line, end = f"{line}{gap}{word[0]}", word.end()
        yield line


def folded(text: str, width: int) -> Iterator[str]:
    """The text in lines of at most this width, wherever they end: nothing is lost, and nothing added."""
    line, used = "", 0
    for place, character in enumerate(text):
        columns = _width(character)
        if used + columns > width:
            kept = (
                line[-1:] if len(line) > 1 and text.startswith("::", place) else ""
            )  # a line that begins so may be a command
            yield line[: len(line) - len(kept)]
            line, used = kept, width_of(kept)
        line += character
        used += columns
    yield line


def last_words(text: str, width: int) -> str:
    """As many of the last words as this width has room for; the end of a word that is longer."""
    end = next(folded(text[::-1], width))[::-1]
    before = text[: len(text) - len(end)]
    if before and not before.endswith(" ") and " " in end.strip():
        end = end.partition(" ")[2]
    return end.strip().lstrip(":")  # a line that begins with two may be a command
