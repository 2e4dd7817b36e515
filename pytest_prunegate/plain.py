"""Text of others (outputs, data, file names, messages of libraries) made inert and bounded, for terminal, log and reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINE = 10_000  # characters of one line: more than any of our own, and no harm to a terminal
_ALL = 200_000  # characters altogether
# Control characters but tab and newline, line separators, what changes the direction of writing or hides, halves of characters.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_ACTIVE_IN_MARKDOWN = re.compile(
    r"[\\`*\[|]|&(?=[#\w])|<|(?<![^\W_])_|_(?![^\W_])|~(?!/)"
)  # an underscore within a word is none
_BEGINS_A_COMMAND = re.compile(r"(?<!\S)::")
_HOLDS_A_COMMAND = re.compile(r"##(?=\w*\[)")
_BEGINS_A_BLOCK = re.compile(r"[#>+=~-]|\d+(?=[.)])")


def plain(text: str) -> str:
    """The text with everything that a terminal, a browser or a CI job's runner would act on written out, and very long lines cut.

    GitHub's runner takes ``::name::`` at the beginning of a line and ``##[name]`` anywhere in one as commands
    (https://github.com/actions/runner, ActionCommand.cs), Azure's ``##vso[``, TeamCity's ``##teamcity[``: a backslash parts their marks,
    wherever a line may come to begin when it is wrapped.

    Newlines and tabs stay. Markup of HTML and Markdown is another matter: it depends on where the text goes.
    """
    kept, cut = _without_commands(_ACTIVE.sub(_written_out, text[:_ALL])), len(text) - _ALL
    if len(kept) > _LINE:
        kept = "\n".join(line if len(line) <= _LINE else _short(line) for line in kept.split("\n"))
    return kept + (f" ... and {cut:,} characters more" if cut > 0 else "")


def one_line(text: str) -> str:
    """The same, newlines and tabs turned into spaces."""
    return plain(text.replace("\n", " ").replace("\t", " "))


def markdown(text: str) -> str:
    """Plain text for the middle of a line of Markdown, or a cell of a table: no link, tag, code or emphasis comes of it."""
    return _ACTIVE_IN_MARKDOWN.sub(_escaped, one_line(text))


def markdown_item(text: str) -> str:
    """Plain text that begins a line or a list's item: no heading, list, quote or fence comes of it either."""
    found = markdown(text.strip())
    start = _BEGINS_A_BLOCK.match(found)
    if start is None:
        return found
    return f"\\{found}" if start.end() == 1 and not found[0].isdecimal() else f"{start[0]}\\{found[start.end() :]}"


def markdown_code(text: str) -> str:
    """Plain text between two backticks; it cannot end the code, nor a cell of a table."""
    return one_line(text).replace("`", "'").replace("|", r"\|")


def _without_commands(text: str) -> str:
    if "##" in text:  # a page has thousands of texts, and hardly one with either
        text = _HOLDS_A_COMMAND.sub(r"#\\#", text)
    return _BEGINS_A_COMMAND.sub(r"\\::", text) if "::" in text else text


def _short(line: str) -> str:
    return f"{line[:_LINE]} ... and {len(line) - _LINE:,} characters more in this line"


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"  # noqa: PLR2004 - a byte


def _escaped(found: re.Match[str]) -> str:
    return {"&": "&amp;", "<": "&lt;"}.get(found[0], f"\\{found[0]}")


def size_text(size: int | None) -> str:
    """A number of bytes in the largest unit that keeps it above one."""
    if size is None:
        return "not known"
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:  # noqa: PLR2004 - the unit's own factor
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"


def seen_from(folder: Path, path: Path) -> Path:
    """A path as it is written in a folder: relative where it lies below it."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path
