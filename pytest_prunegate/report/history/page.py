"""The history in one HTML page: a plot and a table for each metric. No script, and nothing from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.report.page.rendering import render_shipped

if TYPE_CHECKING:
    from markupsafe import Markup

    from pytest_prunegate.report.history.view import HistoryView

_TEMPLATE = "history.html.j2"


def history_page(view: HistoryView) -> str:
    """Render the page. Where a plot cannot be drawn, the page says why and has the tables."""
    plots, problem = _plots(view)
    return render_shipped(_TEMPLATE, view=view, plots=plots, plots_problem=problem)


def _plots(view: HistoryView) -> tuple[dict[str, Markup], str | None]:
    from markupsafe import Markup

    from pytest_prunegate.report.history.plot import history_plot
    from pytest_prunegate.report.page.inline_svg import quiet_matplotlib

    drawn: dict[str, Markup] = {}
    try:
        with quiet_matplotlib():
            for number, metric in enumerate(view.metrics):
                drawn[metric.label] = Markup(history_plot(metric, view, number))  # noqa: S704 - ours, and escaped
    except Exception as error:  # noqa: BLE001 - a broken matplotlib, whatever it is: the tables are worth more
        return drawn, f"{type(error).__name__}: {error}"
    return drawn, None
