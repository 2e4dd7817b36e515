"""What the files of a comparison are called: those of one of several candidates carry its name, and each set is about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.changed_records import CHANGED_FILE
from pytest_prunegate.report.summary.records import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_prunegate.input.model_argument import Side

COMPARISONS = (RESULTS_FILE, "comparison_report.md", "comparison_report.html")
ANY_RESULTS = "comparison_results*.json"


@dataclass(frozen=True)
class FileNames:
    """The files of a run's only candidate, or those of one of several by its name."""

    candidate: str | None = None

    def named(self, file: str) -> str:
        """A file of this set, by what it is called beside a single candidate."""
        path = PurePath(file)
        return file if self.candidate is None else f"{path.stem}_{self.candidate}{path.suffix}"

    @property
    def comparisons(self) -> tuple[str, ...]:
        """The results and the reports: JSON, Markdown, HTML."""
        return tuple(map(self.named, COMPARISONS))

    @property
    def changed(self) -> str:
        """All answers that changed."""
        return self.named(CHANGED_FILE)

    @property
    def results(self) -> str:
        """The results, which later runs read."""
        return self.comparisons[0]

    @property
    def model_files(self) -> str:
        """A pattern for the files of models that belong to this set, whatever the original is called."""
        return "*_model_results*.json" if self.candidate is None else model_file("pruned", self.candidate)

    def of(self, models: Iterable[tuple[Side, str | None]]) -> tuple[str, ...]:
        """All files of a comparison of these models, each a side and a name."""
        return (*(model_file(side, name) for side, name in models), *self.comparisons, self.changed)


def model_file(side: Side, name: str | None) -> str:
    """File of one model's scores; a named model's carries its name."""
    suffix = f"_{name}" if name else ""
    return f"{side}_model_results{suffix}.json"
