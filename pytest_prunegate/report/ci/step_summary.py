"""The Markdown report in a GitHub job's summary: appended to the file that the runner names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.report.page.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.report.summary.records import Summary

VARIABLE = "GITHUB_STEP_SUMMARY"
LIMIT = 1 << 20  # bytes a step: above it GitHub shows nothing of the step's summary
_CUT = "\n\n**The report is cut here:** GitHub shows 1 MiB of a step. All of it is in comparison_report.md.\n"
_FENCE = "```"


def append_step_summary(
    summaries: Sequence[Summary], *, lead: str = "", environ: Mapping[str, str] = os.environ
) -> str | None:
    """Append reports to the job's summary, behind what earlier runs of the step put there.

    Args:
        summaries: one for each comparison.
        lead: Markdown that stands before them.
        environ: names the file; nothing is done where it names none.

    Returns:
        What went wrong, in a sentence: never a reason to fail.
    """
    name = environ.get(VARIABLE)
    if not name:
        return None
    text = "\n".join([*([lead] if lead else []), *(render(summary, "report.md.j2") for summary in summaries)])
    try:
        return _append(Path(name), text)
    except (OSError, ValueError) as error:  # a name may hold what no path can
        return f"The job's summary was not written ({VARIABLE}={name}): {error}"


def _append(path: Path, text: str) -> str | None:
    with path.open("ab") as file:
        there = file.tell()
        shown = _within(("\n" if there else "") + text, LIMIT - there)
        file.write(shown.encode())
    return None if shown else f"The job's summary is full ({VARIABLE}={path}), and the report is not in it."


def _within(text: str, room: int) -> str:
    """As many whole lines as there is room for, with a sentence where some are left out; nothing where not one fits."""
    if len(text.encode()) <= room:
        return text
    size, kept = len(_CUT.encode()) + len(_FENCE), []
    for line in text.splitlines(keepends=True):
        size += len(line.encode())
        if size > room:
            break
        kept.append(line)
    shown = "".join(kept)
    if not shown.strip():
        return ""
    is_open = sum(line.startswith(_FENCE) for line in kept) % 2
    return shown + (_FENCE if is_open else "") + _CUT
