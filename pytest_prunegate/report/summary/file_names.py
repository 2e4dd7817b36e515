"""What the files of a comparison are called: those of one of several candidates carry its name, and each set is about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.changed_records import ANSWERS_FILE, CHANGED_FILE
from pytest_prunegate.report.summary.records import RESULTS_FILE

if TYPE_CHECKING:
    from pytest_prunegate.input.model_argument import Side

_MODEL_FILES: dict[Side, str] = {"original": "original_model_results.json", "pruned": "pruned_model_results.json"}
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
    def answers(self) -> str:
        """All answers, where they were asked for."""
        return self.named(ANSWERS_FILE)

    @property
    def results(self) -> str:
        """The results, which later runs read."""
        return self.comparisons[0]

    def model(self, side: Side) -> str:
        """One model's scores; several candidates have one original."""
        return self.named(_MODEL_FILES[side]) if side == "pruned" else _MODEL_FILES[side]

    @property
    def all(self) -> tuple[str, ...]:
        """Every file of the set."""
        return (*map(self.model, _MODEL_FILES), *self.comparisons, self.changed, self.answers)

    @classmethod
    def of_results(cls, name: str) -> FileNames:
        """The set that a file of results is of, by its name."""
        stem, _, _ = RESULTS_FILE.partition(".")
        return cls(PurePath(name).stem.removeprefix(stem).removeprefix("_") or None)
