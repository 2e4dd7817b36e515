"""One run of the gate: what is opened before its first item, what it says, and the reports at its end."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError, InputError, StoreError
from pytest_prunegate.report.screen.log import EvaluationLog
from pytest_prunegate.tasks.guarded import quiet, warnings_logged

if TYPE_CHECKING:
    import pytest

    from pytest_prunegate.gate.candidate_gates import CandidateGates, Needed
    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.gate.plan import RunPlan
    from pytest_prunegate.gate.preflight import Findings
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

    def __init__(self, config: pytest.Config, gates: CandidateGates, file: ThresholdsFile, started: datetime) -> None:
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
        from pytest_prunegate.report.files import report_files as files
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
        from pytest_prunegate.report.files import report_files as files
        from pytest_prunegate.report.page.own_templates import write_own
        from pytest_prunegate.report.summary.all_answers import write_answers
        from pytest_prunegate.report.summary.file_names import FileNames

        folder, names = gate.options.output, FileNames(gate.candidate)
        ended = Ended(gate=gate, summary=self._summary(gate, names, interrupted=interrupted))
        self.ended.append(ended)
        if gate.baseline_only:
            ended.written = files.write_baseline(ended.summary, folder)
            self._write_baseline(gate, folder)
            return
        ended.written = files.write_reports(ended.summary, folder, names)
        if gate.options.answers:
            write_answers(gate, folder / names.answers)
        own, problems = write_own(ended.summary, gate.options.templates, folder, names)
        self.told += [f"Own report: {path}" for path in own]
        self.problems += problems

    def _summary(self, gate: Gate, names: FileNames, *, interrupted: bool) -> Summary:
        """Sum up a candidate; what is stale of earlier runs is moved away, and the answers that changed are written."""
        from pytest_prunegate.gate.identity import Identities
        from pytest_prunegate.report.files.report_files import archive
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
        from pytest_prunegate.report.files.report_files import write_candidates
        from pytest_prunegate.report.summary.candidates import CandidateEntry, build_candidates

        entries = [
            CandidateEntry(name=ended.gate.candidate, gate=ended.gate, summary=ended.summary)
            for ended in self.ended if ended.gate.candidate is not None
        ]  # fmt: skip
        self.overview = build_candidates(entries, require=self._gates.options.require)
        self.overview_page = write_candidates(self.overview, self._gates.options.output)[-1]

    def _tell_ci(self) -> None:
        """Show a CI job the reports where its users look, and the checks beside the thresholds."""
        from pytest_prunegate.report.ci.github import append_step_summary, check_annotations
        from pytest_prunegate.report.files.report_files import markdown_of

        thresholds = None if self._file.built_in else self._file.path
        summaries = [ended.summary for ended in self.ended]
        self.annotations = check_annotations(summaries, thresholds=thresholds, rootdir=self._config.rootpath)
        lead = markdown_of(self.overview, linked=False) if self.overview else ""
        problem = append_step_summary(summaries, lead=lead)
        self.told += [problem] if problem else []

    def _write_baseline(self, gate: Gate, folder: Path) -> None:
        """Write the answers themselves, so that the file can take the model's place."""
        asked = [name for name, measured in gate.measurements.items() if measured or name in gate.runs.results]
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


class GateSession:
    """A run between its first and its last item.

    Args:
        config: pytest's.
        gates: of the run.
        file: the thresholds file.
    """

    def __init__(self, config: pytest.Config, gates: CandidateGates, file: ThresholdsFile) -> None:
        self._config = config
        self._gates = gates
        self._file = file
        self._started = datetime.now(UTC)
        self._log: EvaluationLog | None = None
        self.is_open = False
        """Whether items may be measured."""
        self.reports = Reporting(config, gates, file, self._started)
        self.said: list[str] = []
        self.problems: list[str] = []
        """What could not be written, and why."""

    def open(self, needed: Needed) -> None:
        """Find the models, open the store, build the needed tasks, and say what will be done.

        Raises:
            PrunegateError: all that keeps the run from starting.
        """
        from pytest_prunegate.report.screen.terminal import plan_lines, probed_line

        plan, findings = self._look(needed)
        if findings.problems:
            raise InputError("\n".join((*findings.problems, *plan.problems)))
        assert self._log is not None
        self._log.write_to(self._gates.options.output)
        self.is_open = True
        self._tell("")
        for line in plan_lines(plan, self._file, self._gates.options):
            self._tell(line)
        for line in (
            *(f"problem:  {line}" for line in (*findings.unloadable, *plan.problems)),
            *(f"note:     {line}" for line in findings.notes),
        ):
            self._tell(line)
        if plan.pending and plan.seconds is None:
            with warnings_logged(), quiet():
                plan = self._gates.probe()
            self._tell(probed_line(plan))

    def preflight(self, needed: Needed) -> None:
        """Say what a run would do and take, and whether it could go through. Loads no model, and leaves nothing behind.

        Raises:
            PrunegateError: all that would keep the run from starting, or a check from being judged.
        """
        from pytest_prunegate.report.screen.terminal import plan_lines

        options = self._gates.options
        with tempfile.TemporaryDirectory() as folder:
            try:
                plan, findings = self._look(needed, instead=None if options.store.exists() else Path(folder))
            finally:
                self._gates.close()
        self._tell("")
        for line in plan_lines(plan, self._file, options):
            self._tell(line)
        for line in (
            *(f"note:     {line}" for line in findings.notes),
            *(f"estimate: {line}" for line in findings.estimates),
        ):
            self._tell(line)
        if problems := (*findings.problems, *findings.unloadable, *plan.problems):
            raise InputError("\n".join(problems))
        self._tell("preflight: no problem was found")

    def _look(self, needed: Needed, *, instead: Path | None = None) -> tuple[RunPlan, Findings]:
        """Open the gates, and find everything that is wrong with the run. `instead` takes the place of the store's folder."""
        from pytest_prunegate.gate.preflight import look_at_plan, look_before_opening, unreachable

        self._log = EvaluationLog()
        with warnings_logged():
            look_before_opening(self._gates, needed)
            try:
                plan = self._gates.open(needed, instead or self._gates.options.store)
            except StoreError as error:
                raise InputError("\n".join([str(error), *unreachable(self._gates, needed)])) from error
            return plan, look_at_plan(self._gates, plan)

    def finish(self, *, interrupted: bool) -> None:
        """Write the reports of whatever was measured, and free what the run holds."""
        from pytest_prunegate.report.files.report_files import alone_in

        self._gates.stop.end()
        if self.is_open:
            try:
                with alone_in(self._gates.options.output):
                    self.reports.write(interrupted=interrupted)
            except (OSError, EvaluationError) as error:
                self.problems.append(f"the reports could not be written to {self._gates.options.output}: {error}")
            self.problems += self.reports.problems
        self._gates.close()
        if self._log:
            self._log.close()
            if self._log.problem:
                self._tell(f"{self._gates.options.output / 'evaluation.log'} is not whole: {self._log.problem}")

    def _tell(self, line: str) -> None:
        from pytest_prunegate.report.screen.terminal import said_lines

        self.said += [line] if line else []
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            for shown in said_lines(line, width=reporter._tw.fullwidth, verbosity=self._config.get_verbosity()):  # noqa: SLF001 - it has no other name
                reporter.write_line(shown)
        if self._log and line:
            self._log.write(line)
