"""The plots of a report, each an inline SVG: the forest plot first. They compute nothing: what they show are fields of the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median, median_low
from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.page.inline_svg import (
    ACCENT,
    FAIL,
    FAINT,
    INK,
    MARGIN,
    MARK_AT,
    MARKS,
    WIDTH,
    below_axis,
    check_name,
    check_rows,
    inline_svg,
    key,
    legend,
    new_axes,
    notes,
    quiet_matplotlib,
)
from pytest_prunegate.report.summary.wording import blocks_text, percent_text, score_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.report.summary.check_records import CheckSummary, LossOnScale
    from pytest_prunegate.report.summary.records import Summary


_HEIGHT = 210  # units, of the plot of layers
_NAMED = 3  # checks without a place on the axis that are named

_REACH = 4  # the axis ends at so many times the usual threshold; what lies farther is an arrow and a number
_LEAST, _ROOM, _PAD = (
    0.01,
    0.12,
    0.035,
)  # of the axis: its least half, the part that the better side has, room for arrows
_BEYOND = 1.4  # times the largest threshold: room for what breaks it, even where nothing does
_HUGE = 100  # a drop of 10,000%
_COLUMNS = 3  # of the legend


def plots_of(summary: Summary) -> dict[str, str]:
    """Draw what there is to draw: "forest", "scores", "layers", "blocks", "regrown", "agreement". One is missing where there is nothing.

    Raises:
        Exception: of many kinds, where matplotlib is broken or cannot write what it has to.
    """
    drawings: dict[str, Callable[[Summary], str | None]] = {
        "forest": forest, "scores": _scores, "layers": _layers, "blocks": _blocks, "regrown": _regrown, "agreement": _agreement,
    }  # fmt: skip
    with quiet_matplotlib():
        drawn = {name: draw(summary) for name, draw in drawings.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _scores(summary: Summary) -> str | None:
    """Scores of both models, of the checks whose scores lie between 0 and 1."""
    found = [
        (check, check.original, check.pruned) for check in summary.checks
        if check.original is not None and check.pruned is not None and not check.is_counted
    ]  # fmt: skip
    rows = [(check, before, after) for check, before, after in found if 0 <= before <= 1 and 0 <= after <= 1]
    if not rows:
        return None
    drawn = [check for check, _, _ in rows]
    said = _left_out([check for check, _, _ in found if check not in drawn])
    figures = [f"{score_text(before)} → {score_text(after)}" for _, before, after in rows]
    axes = check_rows(drawn, figures, (-0.02, 1.02), lines=1 + len(said))
    for row, (_, before, after) in enumerate(rows):
        y = row + MARK_AT
        axes.plot([before, after], [y, y], color=INK, linewidth=1.5, alpha=0.6)
        axes.plot([after], [y], marker="o", color=ACCENT, markersize=6)
        axes.plot([before], [y], marker="o", color=INK, markerfacecolor="none", markersize=9)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    below_axis(axes, 0.5, "score", "center")
    keys = [
        key("original", marker="o", color=INK, markerfacecolor="none", markersize=9),
        key("pruned", marker="o", color=ACCENT),
    ]
    legend(axes, keys, columns=2, notes_below=len(said))
    notes(axes, said)
    return inline_svg(
        axes.figure, name="scores", title="Scores of both models", description=f"{len(drawn)} checks between 0 and 1."
    )


def _left_out(checks: list[CheckSummary]) -> list[str]:
    if not checks:
        return []
    named = ", ".join(check_name(check)[:100] for check in checks[:_NAMED])
    more = f" and {len(checks) - _NAMED} more" if len(checks) > _NAMED else ""
    return [f"Not between 0 and 1, so not drawn: {named}{more}."]


def _layers(summary: Summary) -> str | None:
    """Zeros of each decoder layer of the pruned model, and the original's where it has any; None where neither has."""
    layers = {
        side: model.layers for side, model in summary.models.items() if any(layer.zeros for layer in model.layers)
    }
    if not layers:
        return None
    lines = 1 if len(layers) == 1 else 2
    axes = new_axes(WIDTH, _HEIGHT, left=40, right=MARGIN, top=20, bottom=38 + lines * 15)
    keys: list[Any] = []
    if pruned := layers.get("pruned"):
        bars = axes.bar([layer.layer for layer in pruned], [layer.share for layer in pruned], width=0.75, color=ACCENT)
        keys.append(_labelled(bars, "pruned"))
    if original := layers.get("original"):
        numbers, shares = [layer.layer for layer in original], [layer.share for layer in original]
        keys += axes.plot(
            numbers,
            shares,
            color=INK,
            marker="o",
            markersize=4,
            markerfacecolor="none",
            linestyle="none",
            label="original",
        )
    for side in layers:
        if (share := summary.models[side].sparsity) is not None:
            style = "--" if side == "pruned" else ":"
            axes.axhline(share, color=INK, linewidth=1.4, linestyle=style)
            keys.append(key(f"{side}, all layers: {percent_text(share)}", color=INK, linestyle=style, linewidth=1.4))
    _label_layers(axes)
    legend(axes, keys, columns=2)
    least, most = (end(layer.share for layer in next(iter(reversed(layers.values())))) for end in (min, max))
    return inline_svg(
        axes.figure, name="layers", title="Sparsity of each decoder layer",
        description=f"{', '.join(layers)}: from {percent_text(least)} to {percent_text(most)}.",
    )  # fmt: skip


def _labelled(bars: Any, label: str) -> Any:
    bars.set_label(label)
    return bars


def _blocks(summary: Summary) -> str | None:
    """Blocks of 16x16 numbers by their share of zeros, of the pruned model; None where its matrices are dense."""
    model = summary.models.get("pruned")
    if model is None or not model.blocks:
        return None
    shares = [count / sum(model.blocks) for count in model.blocks]
    axes = new_axes(WIDTH, _HEIGHT, left=40, right=MARGIN, top=20, bottom=38)
    axes.bar(range(len(shares)), shares, width=0.75, color=ACCENT)
    _label_shares(axes, "share of blocks")
    axes.set_xticks(range(len(shares)), labels=["none", "<10%", *(f"{tenth}0%+" for tenth in range(1, 10)), "all"])
    below_axis(axes, 0.5, "zeros in a block of 16x16", "center")
    return inline_svg(
        axes.figure, name="blocks", title="Blocks of 16x16 numbers by their share of zeros", description=f"{blocks_text(model.blocks)}."
    )  # fmt: skip


def _regrown(summary: Summary) -> str | None:
    """The share of each layer's zeros that are numbers again; None where none is, or nobody asked."""
    layers = summary.mask.layers if summary.mask else ()
    if not any(layer.regrown for layer in layers):
        return None
    axes = new_axes(WIDTH, _HEIGHT, left=40, right=MARGIN, top=20, bottom=38)
    axes.bar([layer.layer for layer in layers], [layer.share for layer in layers], width=0.75, color=ACCENT)
    _label_layers(axes)
    most = max(layers, key=lambda layer: layer.share)
    return inline_svg(
        axes.figure, name="regrown", title="Zeros of each decoder layer that are numbers again",
        description=f"At most {percent_text(most.share)}, in layer {most.layer}.",
    )  # fmt: skip


def _agreement(summary: Summary) -> str | None:
    """The share of positions at which both models find the same token the likeliest, along the window; None where nobody asked."""
    if summary.agreement is None:
        return None
    along = summary.agreement.along
    axes = new_axes(WIDTH, _HEIGHT, left=40, right=MARGIN, top=20, bottom=38)
    widths = [stretch.last - stretch.first + 1 for stretch in along]
    axes.bar(
        [stretch.first - 0.5 for stretch in along], [stretch.top1 for stretch in along], width=[0.85 * width for width in widths],
        align="edge", color=ACCENT,
    )  # fmt: skip
    _label_shares(axes, "share of positions")
    below_axis(axes, 0.5, "position in the window", "center")
    return inline_svg(
        axes.figure, name="agreement", title="Equal likeliest tokens along the window", description=f"{summary.agreement.text}."
    )  # fmt: skip


def _label_layers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    _label_shares(axes, "share of zeros")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    below_axis(axes, 0.5, "decoder layer", "center")


def _label_shares(axes: Any, words: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_ylim(0, min(1.0, 1.15 * axes.get_ylim()[1]))
    axes.margins(x=0.02)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.annotate(words, (MARGIN, _HEIGHT - 11), xycoords="figure points", fontsize=10)


@dataclass(frozen=True, kw_only=True)
class _Range:
    """What an axis shows in numbers, and with the room beside it for arrows to what lies farther."""

    low: float
    high: float

    @property
    def view(self) -> tuple[float, float]:
        """Both ends of the axis."""
        pad = _PAD * (self.high - self.low)
        return self.low - pad, self.high + pad

    def holds(self, value: float | None) -> bool:
        """Whether a value has a place on it; an unbounded one has none."""
        return value is not None and self.low <= value <= self.high


def forest(summary: Summary) -> str | None:
    """All checks that have a relative drop, in the order of the file; None where none has."""
    rows = [(check, check.scale) for check in summary.checks if check.scale is not None]
    if not rows:
        return None
    checks, scales = [check for check, _ in rows], [scale for _, scale in rows]
    shown = _range(scales)
    missing = len(summary.checks) - len(rows)
    said = [f"Not drawn: {missing} of {len(summary.checks)} checks, which have no relative drop."] if missing else []
    keys = _keys(checks, is_cut=not all(shown.holds(value) for row in rows for value in _bounds(*row)))
    axes = check_rows(checks, [_figures(scale) for scale in scales], shown.view, lines=-(-len(keys) // _COLUMNS) + len(said))  # fmt: skip
    for row, (check, scale) in enumerate(rows):
        _draw(axes, row + MARK_AT, check, scale, shown)
    _label(axes, shown)
    legend(axes, keys, columns=_COLUMNS, notes_below=len(said))
    notes(axes, said)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in Counter(check.outcome for check in checks).items())
    title = "Relative drop of each check beside its threshold"
    return inline_svg(axes.figure, name="forest", title=title, description=f"{counts}.")


def _range(scales: Sequence[LossOnScale]) -> _Range:
    """One check that lost nearly everything must not squeeze the others into a line."""
    limits = [scale.limit for scale in scales if scale.limit is not None]
    found = [[value for value in (scale.drop, scale.low, scale.high) if value is not None] for scale in scales]
    farthest = [max(map(abs, values)) for values in found]
    reach = max(_REACH * median(map(abs, limits or farthest)), 1.25 * median_low(farthest), _LEAST)
    values = [0.0, *(_BEYOND * limit for limit in limits), *(value for values in found for value in values)]
    low, high = max(min(values), -reach), min(max(values), reach)
    high = max(high, -_ROOM * low, _LEAST)
    return _Range(low=min(low, -_ROOM * high), high=high)


def _bounds(check: CheckSummary, scale: LossOnScale) -> tuple[float | None, float | None]:
    """The interval's; without one, the drop itself is all there is."""
    return (scale.drop, scale.drop) if check.interval is None else (scale.low, scale.high)


def _draw(axes: Any, y: float, check: CheckSummary, scale: LossOnScale, shown: _Range) -> None:
    marker, colour, is_filled = MARKS.get(check.outcome, MARKS["recorded"])
    axes.plot([0, 0], [y - 0.17, y + 0.3], color=INK, linewidth=1, alpha=0.75)
    if scale.limit is not None:
        _draw_threshold(axes, y, scale.limit, shown.view)
    drop = min(max(scale.drop, shown.low), shown.high)
    line = [drop, drop]
    for side, (value, end, head) in enumerate(zip(_bounds(check, scale), shown.view, "<>", strict=True)):
        is_farther = value is None or (value < shown.low if side == 0 else value > shown.high)
        line[side] = end if is_farther or value is None else min(max(value, shown.low), shown.high)
        if is_farther:
            axes.plot([end], [y], marker=head, color=colour, markersize=7, clip_on=False)
    axes.plot(line, [y, y], color=colour, linewidth=2, solid_capstyle="butt")
    inside = colour if is_filled else "none"
    axes.plot([drop], [y], marker=marker, color=colour, markerfacecolor=inside, markeredgewidth=1.6, markersize=7)


def _draw_threshold(axes: Any, y: float, limit: float, view: tuple[float, float]) -> None:
    """A mark at the threshold, and a shade over all that is beyond it."""
    from matplotlib.patches import Rectangle

    if limit >= view[1]:
        return
    start = max(limit, view[0])
    axes.add_patch(Rectangle((start, y - 0.17), view[1] - start, 0.34, facecolor=FAIL, alpha=0.14, linewidth=0))
    if start == limit:
        axes.plot([limit, limit], [y - 0.2, y + 0.2], color=INK, linewidth=2, solid_capstyle="butt")


def _keys(checks: Sequence[CheckSummary], *, is_cut: bool) -> list[Any]:
    shown = {check.outcome: MARKS[check.outcome] for check in checks if check.outcome in MARKS}
    found = [
        key(outcome, marker=marker, color=colour, markerfacecolor=colour if is_filled else "none", markeredgewidth=1.6)
        for outcome, (marker, colour, is_filled) in shown.items()
    ]
    if any(check.interval is not None for check in checks):
        found.append(key("95% interval", color=INK, linestyle="-", linewidth=2))
    if any(check.scale and check.scale.limit is not None for check in checks):
        found.append(key("threshold", color=INK, marker="|", markersize=11, markeredgewidth=2))
    if is_cut:
        found.append(key("off this axis", color=INK, marker=">"))
    return found


def _label(axes: Any, shown: _Range) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    width = shown.high - shown.low
    digits = 0 if width > 0.06 else 1 if width > 0.006 else 2  # noqa: PLR2004 - steps of a per cent, of a tenth of one
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value + 0.0:,.{digits}%}"))
    below_axis(axes, 0, "← better", "left")
    below_axis(axes, 0.5, "relative drop", "center")
    below_axis(axes, 1, "worse →", "right")


def _figures(scale: LossOnScale) -> str:
    way = "worse" if scale.drop > 0 else "better"
    said = f"{way} by {_percent(abs(scale.drop))}" if scale.drop else "no change"
    return said if scale.limit is None else f"{said}, threshold {_short(scale.limit)}"


def _percent(share: float) -> str:
    if share >= _HUGE:
        return "over 10,000%"
    return f"{share:.2%}" if share < 1 else f"{share:,.0%}"


def _short(limit: float) -> str:
    return f"{100 * limit:.3g}%" if abs(limit) < 1 else f"{min(limit, _HUGE):,.0%}"
