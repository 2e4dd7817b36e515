"""The table of all checks, in the columns that a terminal has (80 at least, more where there is more room), and that of candidates.

Yields text; the plugin prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.plain import one_line
from pytest_prunegate.report.screen.marked_lines import WIDTH, folded, kind_of, padded, width_of, wrapped
from pytest_prunegate.report.summary.wording import figure_text, percent_text, signed_text
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.report.screen.marked_lines import Line
    from pytest_prunegate.report.summary.candidate_records import CandidateRow, CandidatesSummary
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.records import Summary


_SHORT_RULES = {"relative drop at most": "drop", "relative increase at most": "rise", "absolute drop at most": "abs",
                "recovery at least": "recovery", "score at least": "score", "share at most": "share", "sparsity at least": "min",
                "sparsity at most": "max", "sparsity of each matrix at least": "min", "pattern ": "", "parameter reduction at least": "min",
                "size on disk at most": "max", "regrown zeros at most": "max",
                "answers lost at most": "max", "answers changed at most": "max"}  # fmt: skip
_GAP = "  "
_LONGEST_THRESHOLD = 14
_LONGEST_NAMES = (40, 24)  # of a task and a metric; a longer one takes a line of its own, and no column from the others
_LEFT = {"threshold"}
_ALWAYS = ("original", "pruned", "relative", "threshold")
# From the widest to the narrowest: columns of figures, and whether documents and dates are said in full.
_FORMS = (
    (("original", "pruned", "difference", "relative", "interval", "threshold", "lost/gained"), True),
    (("original", "pruned", "difference", "relative", "interval", "threshold", "lost/gained"), False),
    (("original", "pruned", "difference", "relative", "interval", "threshold"), False),
    (("original", "pruned", "difference", "relative", "threshold"), False),
    (_ALWAYS, False),
)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A check as the table shows it, in inert words.

    `figures` has the cells of its columns by their heads, each in one or more lines. `counted` says in full on how many
    documents, `n` in short; `verdict` is the word, `since` the day of the earlier run that measured it.
    """

    task: str
    metric: str
    figures: dict[str, list[str]]
    n: str
    counted: str
    verdict: str
    since: str
    outcome: str

    @property
    def name(self) -> str:
        """Task and metric."""
        return f"{self.task} {self.metric}"

    def tail(self, *, in_full: bool) -> tuple[str, str]:
        """The last two cells: on what, and the verdict; an asterisk for what is said below the table."""
        if in_full:
            return self.counted, f"{self.verdict} ({self.since})" if self.since else self.verdict
        return self.n, f"{self.verdict}*" if self.since else self.verdict


def table_rows(summary: Summary) -> list[TableRow]:
    """A row for each check."""
    return [_row(check) for check in summary.checks]


def table_lines(rows: Sequence[TableRow], width: int) -> Iterator[Line]:
    """The table, and below it what its cells had no room for.

    Args:
        rows: at least one.
        width: of the terminal; 80 are used even if it has less.
    """
    width = max(width, WIDTH)
    heads, in_full = next((form for form in _FORMS if _natural_width(rows, *form) <= width), _FORMS[-1])
    table = _Table(rows, heads, width=width, in_full=in_full)
    yield from table.lines()
    if not in_full:
        yield from (((line, ""),) for note in _notes(rows) for line in wrapped(note, width))


def _natural_width(rows: Sequence[TableRow], heads: Sequence[str], in_full: bool) -> int:  # noqa: FBT001 - a form's second part
    names = max(width_of(row.task) for row in rows), max(width_of(row.metric) for row in rows)
    return sum(map(min, names, _LONGEST_NAMES)) + len(_GAP) + _figures_width(rows, heads, in_full=in_full)


def _figures_width(rows: Sequence[TableRow], heads: Sequence[str], *, in_full: bool) -> int:
    """Of all columns behind the names, each with the gap before it."""
    return sum(len(_GAP) + _column_width(rows, head) for head in heads) + len(_GAP) + _tail_width(rows, in_full=in_full)


def _column_width(rows: Sequence[TableRow], head: str) -> int:
    return max(len(head), *(width_of(line) for row in rows for line in row.figures[head]))


def _tail_width(rows: Sequence[TableRow], *, in_full: bool) -> int:
    """Documents stand at its left and the verdict at its right, so that a long word of one row takes no room in the others."""
    tails = (row.tail(in_full=in_full) for row in rows)
    return max(len("n  verdict"), *(width_of(n) + len(_GAP) + len(verdict) for n, verdict in tails))


class _Table:
    """Rows under heads; names that do not fit before their figures stand on a line of their own."""

    def __init__(self, rows: Sequence[TableRow], heads: Sequence[str], *, width: int, in_full: bool) -> None:
        self._rows = rows
        self._width = width
        self._in_full = in_full
        self._columns = {head: _column_width(rows, head) for head in heads}
        self._tail = _tail_width(rows, in_full=in_full)
        room = width - _figures_width(rows, heads, in_full=in_full) - len(_GAP)
        self._task, self._metric = _name_widths(rows, room)

    def lines(self) -> Iterator[Line]:
        head_of = {head: [head] for head in self._columns}
        yield from self._row("task", "metric", head_of, ("n", "verdict"), "strong")
        for row in self._rows:
            kind = kind_of(row.outcome)
            yield from self._row(row.task, row.metric, row.figures, row.tail(in_full=self._in_full), kind)

    def _row(self, task: str, metric: str, figures: dict[str, list[str]], tail: tuple[str, str], kind: str) -> Iterator[Line]:  # fmt: skip
        everywhere = kind if kind == "strong" else ""
        if width_of(task) > self._task or width_of(metric) > self._metric:
            yield from (((line, everywhere),) for line in folded(f"{task}{_GAP}{metric}", self._width))
            task = metric = ""
        start = [padded(task, self._task), padded(metric, self._metric)] if self._task else []
        n, verdict = tail
        for number in range(max(len(figures[head]) for head in self._columns)):
            cells = [
                padded(figures[head][number] if number < len(figures[head]) else "", width, right=head not in _LEFT)
                for head, width in self._columns.items()
            ]
            text = _GAP.join([*start, *cells])
            start = [" " * width_of(name) for name in start]
            if number:
                yield ((text.rstrip(), everywhere),)
            else:
                space = self._tail - width_of(n) - len(verdict)
                yield (f"{text}{_GAP}{n}{' ' * space}", everywhere), (verdict, kind)


def _name_widths(rows: Sequence[TableRow], room: int) -> tuple[int, int]:
    """Widths of task and metric with which most rows take one line; zeros where none does."""
    names = [(width_of(row.task), width_of(row.metric)) for row in rows] + [(len("task"), len("metric"))]
    best: list[tuple[int, int]] = []
    for task in {task for task, _ in names}:
        fitting = [name for name in names if name[0] <= task and name[1] <= room - task]
        best = max(best, fitting, key=len)
    return max((task for task, _ in best), default=0), max((metric for _, metric in best), default=0)


def _notes(rows: Sequence[TableRow]) -> Iterator[str]:
    """What short cells leave out: the days of earlier runs, and of what length windows are."""
    days: dict[str, list[str]] = {}
    for row in rows:
        if row.since:
            days.setdefault(row.since, []).append(row.name)
    if days:
        said = "; ".join(f"{', '.join(names)} on {day}" for day, names in days.items())
        yield f"* Measured by an earlier run: {said}."
    for row in rows:
        if " windows " in row.counted:
            yield f"{row.name}: on {row.counted}."


def _row(check: CheckSummary) -> TableRow:
    counted, n = _counted(check)
    thresholds = [
        line for text in check.thresholds for line in folded(_short_rules(one_line(text)), _LONGEST_THRESHOLD)
    ]
    changed = "-" if check.lost is None else f"{check.lost}/{check.gained}"
    before, after = (figure_text(score, check.metric, check.thresholds) for score in (check.original, check.pruned))
    figures = {
        "original": before, "pruned": after, "difference": signed_text(check.difference),
        "relative": check.change.partition(" ")[0], "interval": one_line(check.interval.text) if check.interval else "-",
        "lost/gained": changed,
    }  # fmt: skip
    return TableRow(
        task=one_line(check.task), metric=one_line(check.name),
        figures={head: [cell] for head, cell in figures.items()} | {"threshold": thresholds or ["-"]}, n=n, counted=counted,
        verdict="-" if check.outcome == Outcome.NOT_RUN else one_line(check.outcome).upper(),
        since=one_line(check.measured or "")[:10] if check.is_earlier else "", outcome=check.outcome,
    )  # fmt: skip


def _counted(check: CheckSummary) -> tuple[str, str]:
    """On how many documents or windows, in full and in short."""
    if check.documents is None or check.is_counted:
        return "-", "-"
    is_all = check.documents == check.total_documents
    n = str(check.documents) if is_all else f"{check.documents}/{check.total_documents}"
    if check.unit != "documents":
        return f"{check.documents} of {check.total_documents} {one_line(check.unit)}", n
    return (n if is_all else f"{check.documents} of {check.total_documents}"), n


def _short_rules(threshold: str) -> str:
    for long, short in _SHORT_RULES.items():
        threshold = threshold.replace(long, short)
    return threshold


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
