"""One pytest run with the gate switched on: reads the input, then plugs the gate into pytest's phases."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.collection import CheckItem, ThresholdsFile, mark_names
from pytest_prunegate.compare import Outcome
from pytest_prunegate.errors import FixtureError, InputError, PrunegateError
from pytest_prunegate.gate import Gate
from pytest_prunegate.interruption import StopRequest
from pytest_prunegate.report.progress import ProgressLine
from pytest_prunegate.rootdir import refuse_moved_rootdir
from pytest_prunegate.run_input import read_input
from pytest_prunegate.session import GateSession

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_prunegate import thresholds

GATE = pytest.StashKey[Gate]()
_ERROR_EXIT, _INCONCLUSIVE_EXIT = 10, 11
_COLORS: dict[str, dict[str, bool]] = {
    Outcome.PASS: {"green": True},
    Outcome.FAIL: {"red": True},
    Outcome.ERROR: {"yellow": True},
    Outcome.INCONCLUSIVE: {"yellow": True},
}
_BAD = {Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE}
_OWN_STATUS = {"inconclusive": ("inconclusive", "?", "INCONCLUSIVE"), "baseline": ("baseline", "b", "BASELINE"),
               "recorded": ("recorded", "r", "RECORDED")}  # fmt: skip


def start_run(config: pytest.Config) -> None:
    """Read options and thresholds, and register the gate's hooks.

    Raises:
        pytest.UsageError: with every mistake of the first input that has any.
    """
    try:
        refuse_moved_rootdir(config)
        _refuse_xdist(config)
        options, file, tasks = read_input(config)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    gate = Gate(options=options, tasks=tasks, progress=ProgressLine(config), stop=StopRequest(options.time_budget))
    config.stash[GATE] = gate
    for name in sorted({name for task in tasks for name in mark_names(task)}):
        config.addinivalue_line("markers", f"{name}: of the checks in {file.display}, by pytest-prunegate")
    if config.args_source is not config.ArgsSource.ARGS:
        config.args = [str(file.path)]
    config.pluginmanager.register(GateRun(config, gate, file), "prunegate-run")


def exit_code(outcomes: list[Outcome]) -> int:
    """Exit code of a run of checks alone: 0 all passed, 1 one failed, 10 one errored, 11 one is inconclusive."""
    for outcome, code in (
        (Outcome.FAIL, 1),
        (Outcome.ERROR, _ERROR_EXIT),
        (Outcome.INCONCLUSIVE, _INCONCLUSIVE_EXIT),
    ):
        if outcome in outcomes:
            return code
    return 0


def _refuse_xdist(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.getoption("numprocesses", None):
        raise InputError(
            "the gate measures in one process, and pytest-xdist would load the models once for each worker. Run it with -n0."
        )


def _asks_the_gate(item: pytest.Item) -> bool:
    uses_fixture = {"prunegate", "prunegate_check"} & set(getattr(item, "fixturenames", ()))
    return isinstance(item, CheckItem) or bool(uses_fixture)


class GateRun:
    """The gate's hooks while it is switched on."""

    def __init__(self, config: pytest.Config, gate: Gate, file: thresholds.ThresholdsFile) -> None:
        self._config = config
        self._gate = gate
        self._file = file
        self._saw_work = False
        self._session = GateSession(config, gate, file)
        self._interrupted = False
        self._signals = contextlib.ExitStack()

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ThresholdsFile | None:
        """Collect the thresholds file, and no other YAML."""
        if file_path.name != self._file.path.name or not file_path.samefile(self._file.path):
            return None
        inside = file_path.is_relative_to(self._config.rootpath)
        return ThresholdsFile.from_gate(
            parent, gate=self._gate, path=file_path, **({} if inside else {"nodeid": file_path.name})
        )

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Notice whether anything here asks the gate."""
        self._saw_work = self._saw_work or _asks_the_gate(item)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """A run that was to gate a model and would gate nothing is a mistake, not a green run."""
        asked = any(map(_asks_the_gate, session.items))
        if not session.testsfailed and (not self._saw_work or (session.items and not asked)):
            raise pytest.UsageError(
                "neither a check nor a test that uses the fixture prunegate was collected and selected, so the models would not be "
                f"compared. Add {self._file.display} to the paths, or leave the paths out; and look at -k, -m and --deselect."
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Before the first item: find the models, open the store, say what will be done."""
        names = self._needed_tasks(session)
        stopped = session.testsfailed and not session.config.option.continue_on_collection_errors
        if session.config.option.collectonly or stopped or not names:
            return
        self._signals.enter_context(self._gate.stop.listening())
        try:
            self._session.open(names)
        except PrunegateError as error:
            raise pytest.UsageError(str(error)) from None

    def _needed_tasks(self, session: pytest.Session) -> list[str]:
        from pytest_prunegate.fixtures import declared_tasks

        names = [item.check.task for item in session.items if isinstance(item, CheckItem)]
        for item in session.items:
            names += declared_tasks(item)
        unknown = set(names) - {task.name for task in self._gate.tasks}
        if unknown:
            raise pytest.UsageError(
                f"tests declare tasks that this run does not have: {', '.join(sorted(unknown))}. "
                f"Add them to {self._file.display}, or with --prunegate-tasks."
            )
        return list(dict.fromkeys(names))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A test that asks the fixture for what is not there is an error, although pytest sees it fail."""
        report = yield
        if isinstance(item, CheckItem):  # these records are in evaluation.log, and say nothing about the verdict
            report.sections = [section for section in report.sections if not section[0].startswith("Captured log")]
        if call.when == "call" and call.excinfo is not None and isinstance(call.excinfo.value, PrunegateError):
            report.when = "setup"  # pytest tells errors from failures by the phase
            if isinstance(call.excinfo.value, FixtureError):
                report.longrepr = str(call.excinfo.value)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports of whatever was measured, and set the exit code."""
        self._interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        self._session.finish(interrupted=self._interrupted)
        self._signals.close()
        if self._gate.plan is not None and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            session.exitstatus = self._exit_status(session, exitstatus)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A check that is inconclusive, or was not judged at all, neither passed nor failed."""
        if getattr(report, "when", None) != "call":
            return None
        said = dict(report.user_properties).get("prunegate_verdict")
        return _OWN_STATUS.get(str(said))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """JUnit knows no third way between a failure and an error: the type of the failure tells it."""
        from pytest_prunegate.report.junit import mark_inconclusive

        if report.when == "call" and dict(report.user_properties).get("prunegate_verdict") == Outcome.INCONCLUSIVE:
            mark_inconclusive(self._config, report)

    def _exit_status(self, session: pytest.Session, exitstatus: int) -> int:
        """Exit code of the run. A check that was to run and has no result (skipped, ended by another plugin) is an error."""
        results = self._gate.results
        checks = [item.check for item in session.items if isinstance(item, CheckItem)]
        outcomes = [results[check].outcome if check in results else Outcome.ERROR for check in checks]
        if session.shouldfail and any(results[check].outcome in _BAD for check in results):
            outcomes = [
                results[check].outcome for check in checks if check in results
            ]  # -x: those behind it never started
        broke = (
            self._session.problem is not None or exitstatus == pytest.ExitCode.TESTS_FAILED or Outcome.ERROR in outcomes
        )
        if checks and len(checks) == len(session.items):
            return exit_code(outcomes) or (_ERROR_EXIT if broke else 0)
        return exitstatus or (_ERROR_EXIT if broke else 0)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of all checks, and where the reports are."""
        session, summary = self._session, self._session.summary
        if summary is None:
            return
        from pytest_prunegate.report.terminal import closing_lines, table_lines

        title = "original alone" if self._gate.baseline_only else "original against pruned"
        terminalreporter.section(title, sep="=", bold=True)
        for line, outcome in table_lines(summary):
            terminalreporter.write_line(line, **_COLORS.get(outcome, {}))
        for line in closing_lines(summary, said=self._gate.plan.notes if self._gate.plan else ()):
            terminalreporter.write_line(line)
        if session.problem:
            terminalreporter.write_line(session.problem, red=True)
        if self._interrupted:
            terminalreporter.write_line(
                f"Interrupted ({self._gate.stop.reason or 'by another plugin'}). Every answer so far is kept. To go on from there: {summary.command}"
            )
        if session.written:
            terminalreporter.write_line(f"Report: {session.written[-1]}")
        terminalreporter.write_line(summary.headline, bold=True)
