"""One run of the gate: what is opened before its first item, what it says, and the reports at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_prunegate.evaluation.guarded import quiet
from pytest_prunegate.plain import plain
from pytest_prunegate.report.log import EvaluationLog, warnings_logged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from pytest_prunegate.gate import Gate
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
        self.summary: Summary | None = None
        self.written: list[Path] = []
        self.said: list[str] = []
        self.problem: str | None = None
        """Why the reports could not be written."""

    def open(self, names: Sequence[str]) -> None:
        """Find the models, open the store, build the named tasks, and say what will be done.

        Raises:
            PrunegateError: what keeps the run from starting.
        """
        from pytest_prunegate.report.terminal import plan_lines, probed_line

        with warnings_logged():
            self._gate.find_models()
            self._log = EvaluationLog(self._gate.options.output)
            plan = self._gate.open(names)
        self._tell("")
        for line in plan_lines(plan, self._file, self._gate.options):
            self._tell(line)
        if plan.pending and plan.seconds is None:
            with warnings_logged(), quiet():
                plan = self._gate.probe()
            self._tell(probed_line(plan))

    def finish(self, *, interrupted: bool) -> None:
        """Write the reports of whatever was measured, and free what the run holds."""
        if self._gate.plan is not None:
            try:
                with self._gate.stop.closing():
                    self._report(interrupted=interrupted)
            except OSError as error:
                self.problem = f"the reports could not be written to {self._gate.options.output}: {error}"
        self._gate.close()
        if self._log:
            self._log.close()
            if self._log.problem:
                self._tell(f"{self._gate.options.output / 'evaluation.log'} is not whole: {self._log.problem}")

    def _tell(self, line: str) -> None:
        self.said += [line] if line else []
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(plain(line))
        if self._log and line:
            self._log.write(line)

    def _report(self, *, interrupted: bool) -> None:
        """Write what was measured, with what earlier runs into the same folder measured of the same things."""
        from pytest_prunegate.identity import Identities
        from pytest_prunegate.report import files
        from pytest_prunegate.report.earlier import Earlier, read_earlier
        from pytest_prunegate.report.records import SUMMARY_VERSION
        from pytest_prunegate.report.summary import build_summary

        folder, alone = self._gate.options.output, self._gate.baseline_only
        identities = Identities(self._gate)
        earlier = Earlier() if alone else read_earlier(self._gate, identities, folder, version=SUMMARY_VERSION)
        names = {side: facts.name for side, facts in self._gate.facts.items()}
        moved = files.archive(earlier, folder, names=names)
        arguments = tuple(str(argument) for argument in self._config.invocation_params.args)
        self.summary = build_summary(
            self._gate, self._file, arguments=arguments, started=self._started, finished=datetime.now(UTC), identities=identities,
            earlier=earlier, archive=moved, interrupted=interrupted,
        )  # fmt: skip
        write = files.write_baseline if alone else files.write_reports
        self.written = write(self.summary, folder)
