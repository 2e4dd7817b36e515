"""One run of the gate: what is opened before its first item, what it says, and the reports at its end."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError, InputError, StoreError
from pytest_prunegate.evaluation.guarded import quiet
from pytest_prunegate.plain import plain
from pytest_prunegate.report.log import EvaluationLog, warnings_logged

if TYPE_CHECKING:
    import pytest

    from pytest_prunegate.baseline.keeping import Baselines
    from pytest_prunegate.gate import Gate
    from pytest_prunegate.gates import Gates, Needed
    from pytest_prunegate.plan import RunPlan
    from pytest_prunegate.preflight import Findings
    from pytest_prunegate.report.candidate_records import CandidatesSummary
    from pytest_prunegate.report.records import Summary
    from pytest_prunegate.thresholds import ThresholdsFile


@dataclass(kw_only=True)
class Ended:
    """How one candidate ended: its gate, its summary, and the files that were written."""

    gate: Gate
    summary: Summary
    written: list[Path] = field(default_factory=list)


class GateSession:
    """A run between its first and its last item.

    Args:
        config: pytest's.
        gates: of the run.
        file: the thresholds file.
    """

    def __init__(self, config: pytest.Config, gates: Gates, file: ThresholdsFile) -> None:
        self._config = config
        self._gates = gates
        self._file = file
        self._started = datetime.now(UTC)
        self._log: EvaluationLog | None = None
        self.is_open = False
        """Whether items may be measured."""
        self.ended: list[Ended] = []
        """What was summarised of each candidate, and written."""
        self.overview: CandidatesSummary | None = None
        self.overview_page: Path | None = None
        self.said: list[str] = []
        self.problem: str | None = None
        """Why the reports could not be written."""
        self.told: list[str] = []
        """What there is to say of the baseline that was written."""

    def open(self, needed: Needed) -> None:
        """Find the models, open the store, build the needed tasks, and say what will be done.

        Raises:
            PrunegateError: all that keeps the run from starting.
        """
        from pytest_prunegate.report.terminal import plan_lines, probed_line

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
            *(f"problem:  {line}" for line in plan.problems),
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
        from pytest_prunegate.report.terminal import plan_lines

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
        if problems := (*findings.problems, *plan.problems):
            raise InputError("\n".join(problems))
        self._tell("preflight: no problem was found")

    def _look(self, needed: Needed, *, instead: Path | None = None) -> tuple[RunPlan, Findings]:
        """Open the gates, and find everything that is wrong with the run. `instead` takes the place of the store's folder."""
        from pytest_prunegate.preflight import look_at_plan, look_before_opening, unreachable

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
        from pytest_prunegate.report.files import alone_in

        if self.is_open:
            try:
                with self._gates.stop.closing(), alone_in(self._gates.options.output):
                    self._report_all(interrupted=interrupted)
            except (OSError, EvaluationError) as error:
                self.problem = f"the reports could not be written to {self._gates.options.output}: {error}"
        self._gates.close()
        if self._log:
            self._log.close()
            if self._log.problem:
                self._tell(f"{self._gates.options.output / 'evaluation.log'} is not whole: {self._log.problem}")

    def _tell(self, line: str) -> None:
        self.said += [line] if line else []
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(plain(line))
        if self._log and line:
            self._log.write(line)

    def _report_all(self, *, interrupted: bool) -> None:
        """Write what was measured of each candidate, and then what all of them have in common."""
        from pytest_prunegate.report import files
        from pytest_prunegate.report.history import append_run

        for gate in self._gates.opened:
            self._report(gate, interrupted=interrupted)
        if self._gates.are_several:
            files.write_original([ended.summary for ended in self.ended], self._gates.options.output)
        if self._gates.are_several and len(self.ended) == len(self._gates.candidates):
            self._report_overview()
        for ended in () if interrupted else self.ended:
            if not ended.gate.baseline_only:
                append_run(ended.summary, self._gates.options.output)

    def _report_overview(self) -> None:
        """Write what there is to say across the candidates; a run of some of them would hide the others."""
        from pytest_prunegate.report.candidates import CandidateEntry, build_candidates, write_candidates

        entries = [
            CandidateEntry(name=ended.gate.candidate, gate=ended.gate, summary=ended.summary)
            for ended in self.ended if ended.gate.candidate is not None
        ]  # fmt: skip
        self.overview = build_candidates(entries, require=self._gates.options.require)
        self.overview_page = write_candidates(self.overview, self._gates.options.output)[-1]

    def _report(self, gate: Gate, *, interrupted: bool) -> None:
        """Write what was measured, with what earlier runs into the same folder measured of the same things."""
        from pytest_prunegate.identity import Identities
        from pytest_prunegate.report import files
        from pytest_prunegate.report.archiving import archive
        from pytest_prunegate.report.earlier import Earlier, read_earlier
        from pytest_prunegate.report.file_names import FileNames
        from pytest_prunegate.report.records import SUMMARY_VERSION
        from pytest_prunegate.report.summary import build_summary

        folder, alone = gate.options.output, gate.baseline_only
        names, identities = FileNames(gate.candidate), Identities(gate)
        earlier = Earlier() if alone else read_earlier(gate, identities, folder, names, version=SUMMARY_VERSION)
        moved = None if alone else archive(earlier, folder, names, models=gate.facts)
        arguments = tuple(str(argument) for argument in self._config.invocation_params.args)
        summary = build_summary(
            gate, self._file, arguments=arguments, started=self._started, finished=datetime.now(UTC), identities=identities,
            earlier=earlier, archive=moved, interrupted=interrupted,
        )  # fmt: skip
        ended = Ended(gate=gate, summary=summary)
        self.ended.append(ended)
        if alone:
            ended.written = files.write_baseline(summary, folder)
        else:
            ended.written = files.write_reports(summary, folder, names)
        if alone and gate.baselines is not None:
            self._write_baseline(gate, gate.baselines, folder)

    def _write_baseline(self, gate: Gate, baselines: Baselines, folder: Path) -> None:
        """Write the answers themselves, so that the file can take the model's place."""
        asked = [name for name, measured in gate.measurements.items() if measured]
        if not asked:
            self.told = ["No task was measured, and no baseline was written."]
            return
        try:
            _, self.told = baselines.write(folder, asked)
        except EvaluationError as error:
            self.problem = f"{folder}: the baseline could not be written: {error}"
            return
        lacking = [task.name for task in gate.tasks if task.name not in gate.measurements]
        self.told += [f"Not measured in this run: {', '.join(lacking)}."] if lacking else []
        logging.getLogger("pytest_prunegate").info("%s", " ".join(self.told))
