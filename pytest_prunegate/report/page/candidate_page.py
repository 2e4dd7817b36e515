"""What the HTML overview of candidates carries beside the summary: its style, and a plot of quality against sparsity for each check."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.page.inline_svg import FAIL, INK, MARKS, inline_svg, new_axes, quiet_matplotlib
from pytest_prunegate.report.summary.wording import percent_text
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

    from pytest_prunegate.report.summary.candidate_records import CandidatesSummary, PlotPanel, PlotPoint


MOST_PANELS = 24  # the tables have the rest
_WIDTH, _HEIGHT = 300, 190  # units
_FAINT = 0.16
_REACH = 3.0  # an interval goes on beyond the plot where it is so much wider than what the marks and the threshold span
_NEAR = 0.05  # of the axis: marks that are nearer stand side by side
_LEAST_SPAN = 0.02  # of sparsity


@dataclass(frozen=True, kw_only=True)
class CandidatePage:
    """Texts that the template writes as they are. `plots` go with their checks; `problem` is why there are none."""

    style: Markup
    plots: Sequence[tuple[PlotPanel, Markup]]
    problem: str | None


def candidate_page(summary: CandidatesSummary) -> CandidatePage:
    """What `candidates.html.j2` needs beside the summary."""
    from markupsafe import Markup

    style = "".join((resource_path("templates") / name).read_text(encoding="utf-8") for name in ("report.css", "candidates.css"))  # fmt: skip
    problem = None
    try:
        plots = candidate_plots(summary)
    except Exception as error:  # noqa: BLE001 - a broken matplotlib, a full disk: whatever it is, the report is worth more
        plots, problem = [], f"{type(error).__name__}: {error}"
    return CandidatePage(
        style=Markup(style),  # noqa: S704 - our own files
        plots=[(panel, Markup(svg)) for panel, svg in zip(summary.plot, plots, strict=False)],  # noqa: S704 - ours, and escaped
        problem=problem,
    )


def candidate_plots(summary: CandidatesSummary) -> list[str]:
    """An inline SVG for each check, in the order of `summary.plot`, of the first that there is room for.

    Raises:
        Exception: of many kinds, where matplotlib is broken or cannot write what it has to.
    """
    places = {point.number: point.sparsity for panel in summary.plot for point in panel.points}
    if not places:
        return []
    span, moved = _side_by_side(places)
    with quiet_matplotlib():
        return [_panel(panel, number, span, moved) for number, panel in enumerate(summary.plot[:MOST_PANELS])]


def _side_by_side(places: Mapping[int, float]) -> tuple[tuple[float, float], dict[int, float]]:
    """Both ends of the axis of sparsity, and where each candidate stands on it: those at nearly the same place beside each other."""
    least, most = min(places.values()), max(places.values())
    width = max(most - least, _LEAST_SPAN)
    order = sorted(places, key=lambda number: (places[number], number))
    groups = [[order[0]]]
    for before, after in itertools.pairwise(order):
        if places[after] - places[before] < _NEAR * width:
            groups[-1].append(after)
        else:
            groups.append([after])
    moved = {}
    for group in groups:
        middle = sum(places[number] for number in group) / len(group)
        for place, number in enumerate(group):
            apart = places[number] if len(group) == 1 else middle + (place - (len(group) - 1) / 2) * _NEAR * width
            moved[number] = apart
    low, high = min(*moved.values(), least), max(*moved.values(), most)
    room = 0.09 * max(high - low, width)
    return (low - room, high + room), moved


def _panel(panel: PlotPanel, number: int, span: tuple[float, float], moved: Mapping[int, float]) -> str:
    axes = new_axes(_WIDTH, _HEIGHT, left=46, right=8, top=8, bottom=36)
    axes.set_xlim(*span)
    axes.set_ylim(*_height(panel))
    axes.axhline(0, color=INK, linewidth=1, alpha=0.6)
    if panel.limit is not None:
        axes.axhline(panel.limit, color=FAIL, linewidth=1.3, linestyle="--")
    for point in panel.points:
        _mark(axes, point, moved[point.number])
    _label(axes)
    told = "; ".join(
        f"{point.name}: sparsity {percent_text(point.sparsity)}, {percent_text(point.relative, signed=True)}, {point.outcome}"
        for point in panel.points
    )
    title = f"{panel.task} {panel.name}: change relative to the original, by sparsity"
    return inline_svg(axes.figure, name=f"candidates-{number}", title=title, description=told)


def _height(panel: PlotPanel) -> tuple[float, float]:
    """Both ends of the axis: all marks, nothing lost and the threshold, and what there is room for of the intervals."""
    told = [0.0, *(point.relative for point in panel.points), *([] if panel.limit is None else [panel.limit])]
    low, high = min(told), max(told)
    reach = _REACH * max(high - low, 0.01)
    ends = [end for point in panel.points for end in (point.low, point.high) if end is not None]
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    span = max(high - low, 0.01)
    return low - 0.06 * span, high + 0.15 * span  # a number has room above each mark


def _mark(axes: Any, point: PlotPoint, x: float) -> None:
    shape, colour, is_filled = MARKS.get(point.outcome, MARKS["recorded"])
    least, most = axes.get_ylim()
    ends = [point.relative]
    if point.low is not None or point.high is not None:
        ends = [least if point.low is None else point.low, most if point.high is None else point.high]
        axes.plot([x, x], ends, color=colour, linewidth=1.5)
    axes.plot(
        [x], [point.relative], marker=shape, color=colour, markersize=6, markerfacecolor=colour if is_filled else "none"
    )
    top = min(max(*ends, point.relative), most - 0.12 * (most - least))
    axes.annotate(str(point.number), (x, top), (0, 5), textcoords="offset points", ha="center", fontsize=10)


def _label(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for axis, most in ((axes.xaxis, 6), (axes.yaxis, 5)):
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(
            PercentFormatter(1, decimals=_decimals(axis.get_major_locator().tick_values(*axis.get_view_interval())))
        )
    axes.grid(axis="y", color=INK, alpha=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.annotate(
        "sparsity", (0.5, 0), (0, -27), xycoords="axes fraction", textcoords="offset points", ha="center", fontsize=10
    )


def _decimals(ticks: Sequence[float]) -> int:
    """Decimals of a percentage that tell neighbouring ticks apart."""
    step = min((after - before for before, after in itertools.pairwise(ticks)), default=1.0)
    return 0 if step > 0.0099 else 1 if step > 0.00099 else 2  # noqa: PLR2004 - one per cent, a tenth of it
