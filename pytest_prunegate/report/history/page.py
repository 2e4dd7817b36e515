"""The history in one HTML page: a plot and a table for each metric. No script, and nothing from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import one_line
from pytest_prunegate.report.page.inline_svg import (
    ACCENT,
    DOUBT,
    FAIL,
    FAINT,
    INK,
    MARGIN,
    WIDTH,
    inline_svg,
    key,
    legend,
    new_axes,
    shortened,
)
from pytest_prunegate.report.page.renderer import render_shipped
from pytest_prunegate.tasks.kinds import figure_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from pytest_prunegate.report.history.view import HistoryView, MetricHistory, MetricRow


_TEMPLATE = "history.html.j2"

# Shades that can be told from white and from black alike; together with the markers thirty candidates differ.
_COLOURS = (ACCENT, "#b7791f", "#0f9b8e", "#c2549d", "#8b6cf0", "#6f8a1f")
_MARKERS = ("o", "s", "D", "^", "v")
_LEFT, _SCORES, _DROPS, _GAP, _FOOT = 52, 110, 130, 30, 26  # units
_LINE, _COLUMNS, _NAMED = 15, 2, 24  # of the legend; a name's width
_TICKS = 4
_MANY = 60  # runs; more of them get smaller marks
_GAP_IN_LINE = float("nan")
_REACH = 3  # an interval is drawn to so many times the largest drop or threshold


def history_page(view: HistoryView) -> str:
    """Render the page. Where a plot cannot be drawn, the page says why and has the tables."""
    plots, problem = _plots(view)
    return render_shipped(_TEMPLATE, view=view, plots=plots, plots_problem=problem)


def _plots(view: HistoryView) -> tuple[dict[str, Markup], str | None]:
    from markupsafe import Markup

    from pytest_prunegate.report.page.inline_svg import quiet_matplotlib

    drawn: dict[str, Markup] = {}
    try:
        with quiet_matplotlib():
            for number, metric in enumerate(view.metrics):
                drawn[metric.label] = Markup(history_plot(metric, view, number))  # noqa: S704 - ours, and escaped
    except Exception as error:  # noqa: BLE001 - a broken matplotlib, whatever it is: the tables are worth more
        return drawn, f"{type(error).__name__}: {error}"
    return drawn, None


@dataclass(frozen=True, kw_only=True)
class _Series:
    """A candidate's measurements, and how they are drawn; `shift` is how far beside the run's place."""

    name: str
    rows: tuple[MetricRow, ...]
    colour: str
    marker: str
    size: float
    shift: float

    def draw(self, panel: Any, points: Sequence[tuple[MetricRow, float | None]]) -> None:
        """A line with marks, broken where a run has no figure, and rings around other models of the same name."""
        panel.plot(
            [row.at + self.shift for row, _ in points], [_GAP_IN_LINE if value is None else value for _, value in points],
            color=self.colour, linewidth=1.4, marker=self.marker, markersize=self.size,
        )  # fmt: skip
        new = [(row.at + self.shift, value) for row, value in points if row.is_new_model and value is not None]
        panel.plot([at for at, _ in new], [value for _, value in new], **_ring(self.size))


def history_plot(metric: MetricHistory, view: HistoryView, number: int) -> str:
    """Draw a metric; runs stand beside each other in their order, whatever time lies between them.

    Args:
        metric: with its rows.
        view: that it is a part of.
        number: of the plot on its page.
    """
    has_drops = any(row.check.relative_drop is not None for row in metric.drawn)
    found = _series(metric, 6 if len(view.moments) <= _MANY else 3)
    keys = _keys(metric, found, has_drops=has_drops)
    lower = _DROPS + _GAP if has_drops else 0
    bottom = _FOOT + -(-len(keys) // _COLUMNS) * _LINE
    height = 22 + _SCORES + lower + bottom
    axes = new_axes(WIDTH, height, left=_LEFT, right=MARGIN, top=22, bottom=bottom + lower)
    # Of what is counted in files, the check is named after its rule.
    panels = [(axes, metric.task if figure_metric(metric.task) else metric.name, _scores)]
    if has_drops:
        place = (_LEFT / WIDTH, bottom / height, (WIDTH - _LEFT - MARGIN) / WIDTH, _DROPS / height)
        panels.append((axes.figure.add_axes(place), "relative drop (positive is a loss)", _drops))
    for panel, title, draw in panels:
        _prepare(panel, title, len(view.moments))
        for series in found:
            draw(panel, series)
        _mark_errors(panel, metric.errors)
    _originals(axes, metric, found[0].size)
    if has_drops:
        _limits(panels[1][0], metric, len(view.moments))
    for panel, _, _ in panels[:-1]:
        panel.tick_params(labelbottom=False)
    _label_runs(panels[-1][0], view.moments)
    legend(axes, keys, columns=_COLUMNS)
    return inline_svg(
        axes.figure, name=f"history-{number}", title=f"{one_line(metric.label)} over {len(view.moments)} runs",
        description=f"{len(metric.drawn)} measurements of {one_line(', '.join(metric.candidates))[:200]}.",
    )  # fmt: skip


def _prepare(panel: Any, title: str, runs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_xlim(-0.5 - 0.02 * runs, runs - 0.5 + 0.02 * runs)
    panel.margins(y=0.14)
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.annotate(
        shortened(title, (WIDTH - 2 * MARGIN) / 10),
        (0, 1),
        (-_LEFT + MARGIN, 10),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=10,
    )


def _series(metric: MetricHistory, size: float) -> list[_Series]:
    """The candidates, a little beside each other so that their intervals can be told apart."""
    names = metric.candidates
    step = min(0.1, 0.6 / len(names))
    return [
        _Series(
            name=name, rows=tuple(row for row in metric.rows if row.candidate == name and not row.is_again),
            colour=_COLOURS[number % len(_COLOURS)], marker=_MARKERS[number % len(_MARKERS)], size=size,
            shift=step * (number - (len(names) - 1) / 2),
        ) for number, name in enumerate(names)
    ]  # fmt: skip


def _originals(panel: Any, metric: MetricHistory, size: float) -> None:
    """The original's scores, once for all candidates."""
    of = {row.at: row.check.original for row in metric.drawn if row.check.original is not None}
    panel.plot(
        list(of), list(of.values()), color=INK, linewidth=1, alpha=0.55, marker="o", markersize=size - 2, markerfacecolor="none", zorder=1
    )  # fmt: skip


def _scores(panel: Any, series: _Series) -> None:
    series.draw(panel, [(row, row.check.pruned if row.has_figures else None) for row in series.rows])


def _drops(panel: Any, series: _Series) -> None:
    points = [(row, row.check.relative_drop if row.has_figures else None) for row in series.rows]
    found = [(row, drop) for row, drop in points if drop is not None]
    reach = _REACH * max([0.01, *(abs(drop) for _, drop in found), *(abs(row.check.limit or 0) for row, _ in found)])
    places: list[float] = []
    ends: list[float] = []
    for row, drop in found:
        low, high = row.check.interval or (drop, drop)
        at = row.at + series.shift
        places += [at, at, _GAP_IN_LINE]  # one path for all of them: five hundred would make a large page
        ends += [max(-reach, -reach if low is None else low), min(reach, reach if high is None else high), _GAP_IN_LINE]
    size = series.size
    panel.plot(places, ends, color=series.colour, linewidth=size / 4, alpha=size / 10, solid_capstyle="butt")
    series.draw(panel, points)


def _ring(size: float) -> dict[str, Any]:
    return dict(linestyle="none", marker="o", markersize=size + 6, markerfacecolor="none", markeredgecolor=INK)  # noqa: C408 - of keywords


def _mark_errors(panel: Any, rows: Sequence[MetricRow]) -> None:
    panel.plot(
        [row.at for row in rows], [0.05] * len(rows), color=DOUBT, linestyle="none", marker="x", markersize=7, markeredgewidth=2,
        transform=panel.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip


def _limits(panel: Any, metric: MetricHistory, runs: int) -> None:
    """Thresholds over time, a step where they changed; candidates of one run share them."""
    from matplotlib.ticker import PercentFormatter

    of = {row.at: row.check.limit for row in metric.rows if row.has_figures}
    places = sorted(of)
    edges = [*(at - 0.5 for at in places), runs - 0.5]
    values = [float("nan") if of[at] is None else of[at] for at in places]
    if places:
        panel.step(edges, [*values, values[-1]], where="post", color=FAIL, linewidth=1.4, linestyle=(0, (4, 2)))
    panel.axhline(0, color=INK, linewidth=1, alpha=0.6)
    panel.yaxis.set_major_formatter(PercentFormatter(1))


def _label_runs(panel: Any, moments: Sequence[str]) -> None:
    """A few runs by their dates, or by their times where all are of a few days."""
    count = len(moments)
    places = sorted({round(step * (count - 1) / (_TICKS - 1)) for step in range(_TICKS)}) if count else []
    times = [datetime.fromisoformat(moment) for moment in moments]
    is_short = count > 1 and (times[-1] - times[0]).days < _TICKS
    panel.set_xticks(places, [times[at].strftime("%m-%d %H:%M" if is_short else "%Y-%m-%d") for at in places])
    if count > 1:
        panel.get_xticklabels()[-1].set_ha("right")  # it would end beyond the picture


def _keys(metric: MetricHistory, series: Sequence[_Series], *, has_drops: bool) -> list[Any]:
    found = [
        key(shortened(one.name, _NAMED), color=one.colour, marker=one.marker, markersize=6, linestyle="-", linewidth=1.4) for one in series
    ]  # fmt: skip
    if any(row.check.original is not None for row in metric.drawn):
        found.append(
            key("original", color=INK, alpha=0.55, marker="o", markersize=4, markerfacecolor="none", linestyle="-", linewidth=1)
        )  # fmt: skip
    if has_drops and any(row.check.limit is not None for row in metric.rows):
        found.append(key("threshold", color=FAIL, linestyle=(0, (4, 2)), linewidth=1.4))
    if metric.errors:
        found.append(key("no figure: an error", color=DOUBT, marker="x", markeredgewidth=2))
    if any(row.is_new_model for row in metric.drawn):
        found.append(key("another model of that name", **(_ring(4))))
    return found
