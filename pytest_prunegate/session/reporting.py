"""Writes the reports at a run's end: of each candidate, across several of them, and where a CI job looks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.gate.gates import Gates
    from pytest_prunegate.input.thresholds import ThresholdsFile
    from pytest_prunegate.report.summary.candidate_records import CandidatesSummary
    from pytest_prunegate.report.summary.file_names import FileNames
    from pytest_prunegate.report.summary.records import Summary


@dataclass(kw_only=True)
class Ended:
    """How one candidate ended: its gate, its summary, and the files that were written."""

    gate: Gate
    summary: Summary
    written: list[Path] = field(default_factory=list)


class Reporting:
    """The reports of a run.

    Args:
        config: pytest's.
        gates: of the run.
        file: the thresholds file.
        started: when the run began.
    """

    def __init__(self, config: pytest.Config, gates: Gates, file: ThresholdsFile, started: datetime) -> None:
        self._config = config
        self._gates = gates
        self._file = file
        self._started = started
        self.ended: list[Ended] = []
        """What was summarised of each candidate, and written."""
        self.overview: CandidatesSummary | None = None
        self.overview_page: Path | None = None
        self.problems: list[str] = []
        """What could not be written, and why."""
        self.told: list[str] = []
        """What there is to say of the baseline and other files that were written, and of what could not be shown to a CI job."""
        self.annotations: tuple[str, ...] = ()
        """Commands that show the checks in GitHub's files."""

    def write(self, *, interrupted: bool) -> None:
        """Write what was measured of each candidate, and then what all of them have in common.

        Raises:
            OSError: a file cannot be written.
        """
        from pytest_prunegate.report.files import writing as files
        from pytest_prunegate.report.history.records import append_run

        try:
            for gate in self._gates.opened:
                self._write_of(gate, interrupted=interrupted)
            if self._gates.are_several:
                files.write_original([ended.summary for ended in self.ended], self._gates.options.output)
            if self._gates.are_several and len(self.ended) == len(self._gates.candidates):
                self._write_overview()
            for ended in () if interrupted or self._gates.baseline_only else self.ended:
                append_run(ended.summary, self._gates.options.output)
        finally:  # a job sees the verdicts even where the output folder cannot take the files
            if self.ended and not self._gates.baseline_only:
                self._tell_ci()

    def _write_of(self, gate: Gate, *, interrupted: bool) -> None:
        """Write what was measured, with what earlier runs into the same folder measured of the same things."""
        from pytest_prunegate.report.files import writing as files
        from pytest_prunegate.report.page.own_templates import write_own
        from pytest_prunegate.report.summary.file_names import FileNames

        folder, names = gate.options.output, FileNames(gate.candidate)
        ended = Ended(gate=gate, summary=self._summary(gate, names, interrupted=interrupted))
        self.ended.append(ended)
        if gate.baseline_only:
            ended.written = files.write_baseline(ended.summary, folder)
            self._write_baseline(gate, folder)
            return
        ended.written = files.write_reports(ended.summary, folder, names)
        own, problems = write_own(ended.summary, gate.options.templates, folder, names)
        self.told += [f"Own report: {path}" for path in own]
        self.problems += problems

    def _summary(self, gate: Gate, names: FileNames, *, interrupted: bool) -> Summary:
        """Sum up a candidate; what is stale of earlier runs is moved away, and the answers that changed are written."""
        from pytest_prunegate.gate.identity import Identities
        from pytest_prunegate.report.files.writing import archive
        from pytest_prunegate.report.summary.changed import Changes
        from pytest_prunegate.report.summary.earlier import Earlier, read_earlier
        from pytest_prunegate.report.summary.summary import build_summary

        folder, identities, alone = gate.options.output, Identities(gate), gate.baseline_only
        earlier = Earlier() if alone else read_earlier(gate, identities, folder, names)
        moved = None if alone else archive(earlier, folder, names, models=gate.facts)
        changes = None if alone else Changes(gate, earlier, moved, file=names.changed)
        arguments = tuple(str(argument) for argument in self._config.invocation_params.args)
        summary = build_summary(
            gate, self._file, arguments=arguments, started=self._started, finished=datetime.now(UTC), identities=identities,
            earlier=earlier, archive=moved, changes=changes, interrupted=interrupted,
        )  # fmt: skip
        if changes is not None:
            changes.write(folder)
        return summary

    def _write_overview(self) -> None:
        """Write what there is to say across the candidates; a run of some of them would hide the others."""
        from pytest_prunegate.report.files.overview import write_candidates
        from pytest_prunegate.report.summary.across import CandidateEntry
        from pytest_prunegate.report.summary.candidates import build_candidates

        entries = [
            CandidateEntry(name=ended.gate.candidate, gate=ended.gate, summary=ended.summary)
            for ended in self.ended if ended.gate.candidate is not None
        ]  # fmt: skip
        self.overview = build_candidates(entries, require=self._gates.options.require)
        self.overview_page = write_candidates(self.overview, self._gates.options.output)[-1]

    def _tell_ci(self) -> None:
        """Show a CI job the reports where its users look, and the checks beside the thresholds."""
        from pytest_prunegate.report.ci.annotations import check_annotations
        from pytest_prunegate.report.ci.step_summary import append_step_summary
        from pytest_prunegate.report.files.overview import markdown_of

        thresholds = None if self._file.built_in else self._file.path
        summaries = [ended.summary for ended in self.ended]
        self.annotations = check_annotations(summaries, thresholds=thresholds, rootdir=self._config.rootpath)
        lead = markdown_of(self.overview, linked=False) if self.overview else ""
        problem = append_step_summary(summaries, lead=lead)
        self.told += [problem] if problem else []

    def _write_baseline(self, gate: Gate, folder: Path) -> None:
        """Write the answers themselves, so that the file can take the model's place."""
        asked = [name for name, measured in gate.measurements.items() if measured]
        if not asked:
            self.told += ["No task was measured, and no baseline was written."]
            return
        try:
            _, told = gate.baselines.write(folder, asked)
        except EvaluationError as error:
            self.problems.append(f"{folder}: the baseline could not be written: {error}")
            return
        lacking = [task.name for task in gate.tasks if task.name not in gate.measurements]
        self.told += [*told, *([f"Not measured in this run: {', '.join(lacking)}."] if lacking else [])]
        logging.getLogger("pytest_prunegate").info("%s", " ".join(self.told))
