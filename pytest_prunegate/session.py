"""One run of the gate: what is opened before its first item, what it says, and the reports at its end."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError, InputError, StoreError
from pytest_prunegate.evaluation.guarded import quiet
from pytest_prunegate.report.log import EvaluationLog, warnings_logged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pytest_prunegate.baseline.keeping import Baselines
    from pytest_prunegate.gate import Gate
    from pytest_prunegate.plan import Plan
    from pytest_prunegate.preflight import Findings
    from pytest_prunegate.report.records import Summary
    from pytest_prunegate.thresholds import ThresholdsFile


class GateSession:
    """A run between its first and its last item.

    Args:
        config: pytest's.
        gate: of the run.
        file: the thresholds file.
    """

    def __init__(self, config: pytest.Config, gate: Gate, file: ThresholdsFile) -> None:
        self._config = config
        self._gate = gate
        self._file = file
        self._started = datetime.now(UTC)
        self._log: EvaluationLog | None = None
        self.is_open = False
        """Whether items may be measured."""
        self.summary: Summary | None = None
        self.written: list[Path] = []
        self.said: list[str] = []
        self.problem: str | None = None
        """Why the reports could not be written."""
        self.told: list[str] = []
        """What there is to say of the baseline that was written, and of what could not be shown to a CI job."""
        self.annotations: tuple[str, ...] = ()
        """Commands that show the checks in GitHub's files."""

    def open(self, names: Sequence[str]) -> None:
        """Find the models, open the store, build the named tasks, and say what will be done.

        Raises:
            PrunegateError: all that keeps the run from starting.
        """
        from pytest_prunegate.report.terminal import plan_lines, probed_line

        plan, findings = self._look(names)
        if findings.problems:
            raise InputError("\n".join((*findings.problems, *plan.problems)))
        assert self._log is not None
        self._log.write_to(self._gate.options.output)
        self.is_open = True
        self._tell("")
        for line in plan_lines(plan, self._file, self._gate.options):
            self._tell(line)
        for line in (
            *(f"problem:  {line}" for line in plan.problems),
            *(f"note:     {line}" for line in findings.notes),
        ):
            self._tell(line)
        if plan.pending and plan.seconds is None:
            with warnings_logged(), quiet():
                plan = self._gate.probe()
            self._tell(probed_line(plan))

    def preflight(self, names: Sequence[str]) -> None:
        """Say what a run would do and take, and whether it could go through. Loads no model, and leaves nothing behind.

        Raises:
            PrunegateError: all that would keep the run from starting, or a check from being judged.
        """
        from pytest_prunegate.report.terminal import plan_lines

        options = self._gate.options
        with tempfile.TemporaryDirectory() as folder:
            try:
                plan, findings = self._look(names, instead=None if options.store.exists() else Path(folder))
            finally:
                self._gate.close()
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

    def _look(self, names: Sequence[str], *, instead: Path | None = None) -> tuple[Plan, Findings]:
        """Open the gate, and find everything that is wrong with the run. `instead` takes the place of the store's folder."""
        from pytest_prunegate.preflight import look_at_plan, look_before_opening, unreachable

        gate, options = self._gate, self._gate.options
        self._log = EvaluationLog()
        with warnings_logged():
            look_before_opening(gate, names)
            gate.options = replace(options, store=instead or options.store)
            try:
                plan = gate.open(names)
            except StoreError as error:
                raise InputError("\n".join([str(error), *unreachable(gate, names)])) from error
            gate.options = options
            return plan, look_at_plan(gate, plan)

    def finish(self, *, interrupted: bool) -> None:
        """Write the reports of whatever was measured, and free what the run holds."""
        from pytest_prunegate.report.files import alone_in

        if self.is_open:
            try:
                with self._gate.stop.closing(), alone_in(self._gate.options.output):
                    self._report(interrupted=interrupted)
            except (OSError, EvaluationError) as error:
                self.problem = f"the reports could not be written to {self._gate.options.output}: {error}"
        self._gate.close()
        if self._log:
            self._log.close()
            if self._log.problem:
                self._tell(f"{self._gate.options.output / 'evaluation.log'} is not whole: {self._log.problem}")

    def _tell(self, line: str) -> None:
        from pytest_prunegate.report.terminal import said_lines

        self.said += [line] if line else []
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            for shown in said_lines(line, width=reporter._tw.fullwidth, verbosity=self._config.get_verbosity()):  # noqa: SLF001 - it has no other name
                reporter.write_line(shown)
        if self._log and line:
            self._log.write(line)

    def _report(self, *, interrupted: bool) -> None:
        """Write what was measured, with what earlier runs into the same folder measured of the same things."""
        from pytest_prunegate.identity import Identities
        from pytest_prunegate.report import files
        from pytest_prunegate.report.changed import Changes
        from pytest_prunegate.report.earlier import Earlier, read_earlier
        from pytest_prunegate.report.history import append_run
        from pytest_prunegate.report.own_templates import write_own
        from pytest_prunegate.report.records import SUMMARY_VERSION
        from pytest_prunegate.report.summary import build_summary

        folder, alone = self._gate.options.output, self._gate.baseline_only
        identities = Identities(self._gate)
        earlier = Earlier() if alone else read_earlier(self._gate, identities, folder, version=SUMMARY_VERSION)
        names = {side: facts.name for side, facts in self._gate.facts.items()}
        moved = files.archive(earlier, folder, names=names)
        changes = None if alone else Changes(self._gate, earlier, moved)
        arguments = tuple(str(argument) for argument in self._config.invocation_params.args)
        self.summary = build_summary(
            self._gate, self._file, arguments=arguments, started=self._started, finished=datetime.now(UTC), identities=identities,
            earlier=earlier, archive=moved, changes=changes, interrupted=interrupted,
        )  # fmt: skip
        if changes is not None:
            changes.write(folder)
        if not alone:
            self._tell_ci([self.summary])
        write = files.write_baseline if alone else files.write_reports
        self.written = write(self.summary, folder)
        if not (alone or interrupted):
            append_run(self.summary, folder)
        own, problems = write_own(self.summary, self._gate.options.templates, folder)
        self.told += [f"Own report: {path}" for path in own]
        self.problem = "\n".join(problems) or None
        if alone and self._gate.baselines is not None:
            self._write_baseline(self._gate.baselines, folder)

    def _tell_ci(self, summaries: Sequence[Summary]) -> None:
        """Show a CI job the reports where its users look, and the checks beside the thresholds."""
        from pytest_prunegate.report.annotations import check_annotations
        from pytest_prunegate.report.step_summary import append_step_summary

        thresholds = None if self._file.built_in else self._file.path
        self.annotations = check_annotations(summaries, thresholds=thresholds, rootdir=self._config.rootpath)
        problem = append_step_summary(summaries)
        self.told += [problem] if problem else []

    def _write_baseline(self, baselines: Baselines, folder: Path) -> None:
        """Write the answers themselves, so that the file can take the model's place."""
        asked = [name for name, measured in self._gate.measurements.items() if measured]
        if not asked:
            self.told = ["No task was measured, and no baseline was written."]
            return
        try:
            _, self.told = baselines.write(folder, asked)
        except EvaluationError as error:
            self.problem = f"{folder}: the baseline could not be written: {error}"
            return
        lacking = [task.name for task in self._gate.tasks if task.name not in self._gate.measurements]
        self.told += [f"Not measured in this run: {', '.join(lacking)}."] if lacking else []
        logging.getLogger("pytest_prunegate").info("%s", " ".join(self.told))
