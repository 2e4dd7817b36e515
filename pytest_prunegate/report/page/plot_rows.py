"""What the plots with a row for each check share: a line of text above each row's marks, an axis below, a legend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.page.inline_svg import DOUBT, FAIL, INK, PASS, new_axes, shortened, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.report.summary.check_records import CheckSummary

WIDTH, MARGIN = 380, 10  # units; a phone shows them at about their size, a wide page a third larger
MARK_AT = 0.62  # where a row's marks are, from its top: nearer to its own text than to the next
FAINT = 0.16
MARKS = {
    "pass": ("o", PASS, True), "fail": ("s", FAIL, True), "inconclusive": ("D", DOUBT, True), "recorded": ("o", INK, False),
}  # fmt: skip
"""By outcome, told by shape as well as by colour: marker, colour, whether it is filled."""
NOTE = 9  # size of the smallest font
_TEXT_AT = 0.34
_ROW = 37  # units of height
_LONG, _TOP = 15, 18  # so many rows have the axis at their top too, which takes that much
_FOOT, _LINE = 36, 15  # below the rows: the axis; each line of legend and notes
_NAME, _FIGURES = 11, 10  # sizes of fonts


def check_rows(checks: Sequence[CheckSummary], figures: Sequence[str], view: tuple[float, float], *, lines: int) -> Any:
    """Axes with a named row for each check; the first is at the top, and each is one unit high.

    Args:
        checks: one a row.
        figures: what each row says beside its name.
        view: both ends of the axis.
        lines: of text below it.
    """
    bottom, top = _FOOT + lines * _LINE, _TOP if len(checks) > _LONG else 0
    height = top + len(checks) * _ROW + bottom
    axes = new_axes(WIDTH, height, left=MARGIN, right=MARGIN, top=top, bottom=bottom)
    axes.tick_params(labeltop=bool(top))
    axes.set_xlim(*view)
    axes.set_ylim(len(checks), 0)
    axes.yaxis.set_visible(False)
    axes.grid(axis="x", color=INK, alpha=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.hlines(range(1, len(checks)), *view, color=INK, alpha=FAINT, linewidth=0.8)
    across = axes.get_yaxis_transform()
    for row, (check, said) in enumerate(zip(checks, figures, strict=True)):
        room = (WIDTH - 2 * MARGIN - text_width(said) * _FIGURES) / _NAME - 1
        axes.text(0, row + _TEXT_AT, shortened(check_name(check), room), fontsize=_NAME, transform=across)
        axes.text(1, row + _TEXT_AT, said, fontsize=_FIGURES, ha="right", transform=across)
    return axes


def check_name(check: CheckSummary) -> str:
    """A check as node ids name it."""
    return f"{check.task}::{check.name}"


def below_axis(axes: Any, at: float, text: str, align: str) -> None:
    """Say what an end of the axis means. `at` is 0 at its left and 1 at its right."""
    axes.annotate(text, (at, 0), (0, -27), xycoords="axes fraction", textcoords="offset points", ha=align, fontsize=10)


def notes(axes: Any, texts: Sequence[str]) -> None:
    """Lines at the foot of the plot, each cut where it is too long."""
    for line, text in enumerate(reversed(texts)):
        cut = shortened(text, (WIDTH - 2 * MARGIN) / NOTE)
        axes.annotate(cut, (MARGIN, 4 + line * _LINE), xycoords="figure points", fontsize=NOTE, alpha=0.85)


def legend(axes: Any, handles: Sequence[Any], *, columns: int, notes_below: int = 0) -> None:
    """Keys of the marks, above the notes."""
    height = axes.figure.get_figheight() * 72
    axes.figure.legend(
        handles=handles, loc="lower center", ncols=columns, borderpad=0, handletextpad=0.3, columnspacing=1.2, borderaxespad=0,
        labelspacing=0.35, bbox_to_anchor=(0.5, (2 + notes_below * _LINE) / height),
    )  # fmt: skip


def key(label: str, **drawn: Any) -> Any:
    """A legend's key of a mark, or of a line."""
    from matplotlib.lines import Line2D

    usual: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    return Line2D([], [], label=label, **(usual | drawn))
