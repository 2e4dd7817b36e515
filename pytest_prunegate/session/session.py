"""One run of the gate: what is opened before its first item, what it says, and the reports at its end."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError, InputError, StoreError
from pytest_prunegate.report.screen.log import EvaluationLog
from pytest_prunegate.session.reporting import Reporting
from pytest_prunegate.tasks.guarded import quiet, warnings_logged

if TYPE_CHECKING:
    import pytest

    from pytest_prunegate.gate.gates import Gates, Needed
    from pytest_prunegate.gate.plan import RunPlan
    from pytest_prunegate.gate.preflight import Findings
    from pytest_prunegate.input.thresholds import ThresholdsFile


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
        if problems := (*findings.problems, *plan.problems):
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
        from pytest_prunegate.report.files.writing import alone_in

        if self.is_open:
            try:
                with self._gates.stop.closing(), alone_in(self._gates.options.output):
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
