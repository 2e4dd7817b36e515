"""The candidates in the terminal: one table in 80 columns. Yields text; the plugin prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.plain import one_line
from pytest_prunegate.report.summary.wording import percent_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_prunegate.report.summary.candidate_records import CandidateRow, CandidatesSummary

_WIDTH = 80


def candidate_lines(summary: CandidatesSummary) -> Iterator[tuple[str, str]]:
    """The table of all candidates, each line with its outcome, which tells its colour.

    What comes nearest to its threshold, or lies farthest beyond it, stands in a line of its own where it does not fit.
    """
    rows = [_cells(row) for row in summary.candidates]
    heads = ("candidate", "sparsity", "pass", "fail", "err", "inc", "n/r", "verdict")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(widths[1:]))
    yield _line(heads, widths), ""
    for row, cells in zip(summary.candidates, rows, strict=True):
        yield _line(cells, widths), row.verdict
        if row.worst is not None:
            yield _short(f"  worst: {_worst_text(row)}", _WIDTH), ""


def _cells(row: CandidateRow) -> tuple[str, ...]:
    counts = (row.passed, row.failed, row.errored, row.inconclusive, row.not_run)
    return (row.name, percent_text(row.sparsity), *map(str, counts), row.verdict.upper())


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    last = len(cells) - 1
    return "  ".join(
        _short(cell, width).ljust(width) if place in {0, last} else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def _worst_text(row: CandidateRow) -> str:
    worst = row.worst
    assert worst is not None
    figures = f"{percent_text(worst.relative, signed=True)}, {percent_text(worst.limit, signed=True)} allowed"
    return f"{_short(f'{worst.task} {worst.name}', _WIDTH - len(figures) - 12)}: {figures}"


def _short(text: str, width: int) -> str:
    """Foreign text made inert, and cut where it is too long."""
    found = one_line(text)
    return found if len(found) <= width else f"{found[: width - 3]}..."
