"""The names of several candidates: they tell the candidates apart in node ids, files and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.input.model_argument import split_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_LONGEST = 100  # letters: a name is a part of file names


def name_problems(written: Sequence[str], cwd: Path) -> Iterator[str]:
    """What is wrong with the names of several candidates, all of it.

    Args:
        written: the candidates as the user wrote them.
        cwd: the directory that relative paths are taken from.
    """
    names = []
    for one in written:
        name, _ = split_name(one, cwd)
        if name is None:
            yield _nameless(one)
        elif len(name) > _LONGEST:
            yield f"--pruned={name[:_LONGEST]}...: a name has at most {_LONGEST} letters, because files are called by it."
        else:
            names.append(name)
    yield from _repeated(names)


def _nameless(written: str) -> str:
    before, equals, path = written.rpartition("=")
    allowed = "; it has letters, digits and . _ + - and begins with a letter or a digit" if before else ""
    return (
        f"--pruned={written}: of several candidates each needs a name of its own, for node ids, files and reports: "
        f"--pruned=NAME={path if equals else written}{allowed}."
    )


def _repeated(names: Iterable[str]) -> Iterator[str]:
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(name.casefold(), []).append(name)
    for found in spelt.values():
        if len(found) > 1:
            shown = " and ".join(dict.fromkeys(found))
            yield f"--pruned: {len(found)} candidates are named {shown}. Files are called by their names, so that capitals do not tell them apart."
