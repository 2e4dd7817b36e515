"""The plots of a report, each an inline SVG. They compute nothing: what they show are fields of the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.page.forest_plot import forest
from pytest_prunegate.report.page.inline_svg import ACCENT, INK, inline_svg, new_axes, quiet_matplotlib
from pytest_prunegate.report.page.plot_rows import (
    FAINT,
    MARGIN,
    MARK_AT,
    WIDTH,
    below_axis,
    check_name,
    check_rows,
    key,
    legend,
    notes,
)
from pytest_prunegate.report.summary.wording import percent_text, score_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.report.summary.records import CheckSummary, Summary

_HEIGHT = 210  # units, of the plot of layers
_NAMED = 3  # checks without a place on the axis that are named


def plots_of(summary: Summary) -> dict[str, str]:
    """Draw what there is to draw: "forest", "scores", "layers". One is missing where there is nothing.

    Raises:
        Exception: of many kinds, where matplotlib is broken or cannot write what it has to.
    """
    drawings: dict[str, Callable[[Summary], str | None]] = {"forest": forest, "scores": _scores, "layers": _layers}
    with quiet_matplotlib():
        drawn = {name: draw(summary) for name, draw in drawings.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _scores(summary: Summary) -> str | None:
    """Scores of both models, of the checks whose scores lie between 0 and 1."""
    found = [
        (check, check.original, check.pruned) for check in summary.checks
        if check.original is not None and check.pruned is not None and check.metric != "sparsity"
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


def _label_layers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_ylim(0, min(1.0, 1.15 * axes.get_ylim()[1]))
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", color=INK, alpha=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    below_axis(axes, 0.5, "decoder layer", "center")
    axes.annotate("share of zeros", (MARGIN, _HEIGHT - 11), xycoords="figure points", fontsize=10)
