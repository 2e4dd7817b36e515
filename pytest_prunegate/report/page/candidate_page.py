"""What the HTML overview of candidates carries beside the summary: its style, and a plot for each check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.report.page.candidate_plot import candidate_plots
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from pytest_prunegate.report.summary.candidate_records import CandidatesSummary, PlotPanel


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
