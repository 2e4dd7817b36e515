"""Writes the overview of several candidates: JSON, Markdown and HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.report.files.writing import as_text, write_texts
from pytest_prunegate.report.page.candidate_page import candidate_page
from pytest_prunegate.report.page.rendering import render_shipped
from pytest_prunegate.report.summary.candidate_records import (
    CANDIDATES_MARKDOWN,
    CANDIDATES_PAGE,
    CANDIDATES_RESULTS,
    CandidatesSummary,
)

if TYPE_CHECKING:
    from pathlib import Path


def write_candidates(summary: CandidatesSummary, folder: Path) -> list[Path]:
    """Write the overview of all candidates: JSON, Markdown and HTML.

    Args:
        summary: of the candidates.
        folder: takes the files, beside the candidates' own reports, to which they link.

    Returns:
        The files, the HTML report last.

    Raises:
        OSError: a file cannot be written.
    """
    return write_texts(
        folder,
        {
            CANDIDATES_RESULTS: as_text(summary.as_json()),
            CANDIDATES_MARKDOWN: markdown_of(summary),
            CANDIDATES_PAGE: render_shipped("candidates.html.j2", summary=summary, page=candidate_page(summary)),
        },
    )


def markdown_of(summary: CandidatesSummary, *, linked: bool = True) -> str:
    """The overview in Markdown; without links where it is shown away from the reports that it names."""
    return render_shipped("candidates.md.j2", summary=summary, linked=linked)
