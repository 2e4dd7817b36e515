"""``python -m pytest_prunegate history``: a metric over runs, printed, and drawn into one HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.atomic_file import replacing
from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.history.records import HISTORY_FILE, read_history
from pytest_prunegate.report.history.view import view_of
from pytest_prunegate.report.screen.marked_lines import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.report.history.view import HistoryView, MetricHistory, MetricRow

_FOLDER = Path("prunegate-results")  # where a run writes that is told nothing else
_PRINTED = 20  # runs, where the user names no number
_WIDTH = 80
_HEADS = ("run (UTC)", "candidate", "score", "drop", "95% interval", "limit", "verdict")
_LEFT = {0, 1, 6}
_CANDIDATE = 1
_LEAST = 8  # characters of a candidate's name


def add_history(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "history", help="a metric over runs: score, drop, interval and threshold",
        description="Print the runs that the history of an output folder has, metric by metric; with --html draw them, too.",
    )  # fmt: skip
    parser.add_argument(
        "paths", metavar="FOLDER", type=Path, nargs="*", default=[_FOLDER],
        help=f"output folders, or {HISTORY_FILE} files; several are shown as one (default: {_FOLDER})",
    )  # fmt: skip
    parser.add_argument("--task", metavar="NAME", help="this task alone")
    parser.add_argument("--metric", metavar="NAME", help="this metric alone, as the report names it")
    parser.add_argument("--candidate", metavar="NAME", help="this pruned model alone, by its name or path")
    parser.add_argument(
        "--last", metavar="N", type=_count, help=f"the last N runs alone (default: {_PRINTED} are printed, all are drawn)"
    )  # fmt: skip
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="write a page with a plot and a table for each metric; it replaces an earlier one"
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: a number of runs is a whole number from 1 on")
    return int(text)


def _run(given: argparse.Namespace) -> None:
    history = read_history(given.paths)
    view = view_of(history, task=given.task, metric=given.metric, candidate=given.candidate, last=given.last)
    for problem in view.problems:
        sys.stderr.write(f"{plain(problem)}\n")
    for line in _lines(view, _PRINTED if given.last is None else given.last):
        sys.stdout.write(f"{plain(line)}\n")
    if given.html:
        from pytest_prunegate.report.history.page import history_page

        _write(given.html, history_page(view))
        sys.stderr.write(f"{plain(str(given.html))}: {len(view.metrics)} metrics over {len(view.moments)} runs\n")


def _write(path: Path, text: str) -> None:
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError(f"--html={path}: {what}. Name a file in a folder that is there.")
    with replacing(path) as file:
        file.write(text.encode())


def _lines(view: HistoryView, last: int) -> Iterator[str]:
    if not view.metrics:
        yield "No finished run is in the history."
        return
    first = max(0, len(view.moments) - last)
    for metric in view.metrics:
        yield from _table(metric, [row for row in metric.rows if row.at >= first])
        yield ""
    yield "Score: the pruned model's. Drop: relative to the original's, positive is a loss."
    yield "Limit: the largest drop that all thresholds allow."
    if any(row.check.is_earlier for metric in view.metrics for row in metric.rows if row.at >= first):
        yield "=: measured by an earlier run."
    if first:
        yield f"{first} earlier runs are not printed: --last={len(view.moments)} prints all."


def _table(metric: MetricHistory, rows: Sequence[MetricRow]) -> Iterator[str]:
    """A metric's rows in 80 columns; what changed between two runs stands between them."""
    yield one_line(metric.label)
    cells = [_HEADS, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADS))]
    spare = _WIDTH - sum(widths) - len(widths) + 1
    widths[_CANDIDATE] = max(_LEAST, widths[_CANDIDATE] + min(0, spare))
    yield _line(_HEADS, widths)
    for row, texts in zip(rows, cells[1:], strict=True):
        for change in row.since:
            yield from wrapped(f"- {one_line(change)}", _WIDTH, indent="  ")
        yield _line(texts, widths)


def _cells(row: MetricRow) -> tuple[str, ...]:
    from pytest_prunegate.report.summary.wording import figure_text, interval_text

    check = row.check
    if not row.has_figures:
        figures = ("-", "-", "-", "-")
    else:
        score = figure_text(check.pruned, check.task, check.thresholds)
        drop = "-" if check.relative_drop is None else f"{check.relative_drop:+.2%}"
        limit = "-" if check.limit is None else f"{100 * check.limit:.3g}%"
        figures = (score, drop, "-" if check.interval is None else interval_text(*check.interval), limit)
    verdict = f"{check.outcome.upper()}{' =' if check.is_earlier else ''}"
    return (row.started[:16].replace("T", " "), one_line(row.candidate), *figures, verdict)


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    cells = (_cut(text, width) if column == _CANDIDATE else text for column, (text, width) in enumerate(zip(texts, widths, strict=True)))  # fmt: skip
    padded = (
        text.ljust(width) if column in _LEFT else text.rjust(width)
        for column, (text, width) in enumerate(zip(cells, widths, strict=True))
    )  # fmt: skip
    return " ".join(padded).rstrip()


def _cut(text: str, width: int) -> str:
    """A name without its middle where it is too long: names of candidates often differ at their ends."""
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[: width - 1 - half]}…{text[len(text) - half :]}"
