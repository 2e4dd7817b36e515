"""One pytest run with the gate switched on: reads the input, then plugs the gate into pytest's phases."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.errors import FixtureError, InputError, PrunegateError
from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.gate.candidate_gates import CandidateGates
from pytest_prunegate.gate.run_input import read_input
from pytest_prunegate.plain import plain
from pytest_prunegate.report.page.own_templates import check_templates
from pytest_prunegate.report.screen.progress import ProgressLine
from pytest_prunegate.session.collection import (
    GATES,
    CheckItem,
    ThresholdsFile,
    asks_the_gate,
    mark_names,
    outcomes_of,
    unknown_names,
    wanted_checks,
)
from pytest_prunegate.session.distributed import Controller, Worker, is_controller, is_worker, refuse_copies
from pytest_prunegate.session.exit_codes import BrokenSession, FailedReports, Ran, exit_status
from pytest_prunegate.session.other_plugins import (
    is_shard,
    is_standing,
    refuse_moved_rootdir,
    restore_order,
    run_once,
    spare_timeouts,
)
from pytest_prunegate.session.run_end import ShownVerdicts, closing_of, show_closing, tell_junit
from pytest_prunegate.session.session import GateSession

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_prunegate.gate.candidate_gates import Needed
    from pytest_prunegate.input import thresholds
    from pytest_prunegate.session.run_end import Closing


def start_run(config: pytest.Config) -> None:
    """Read options and thresholds, and register the gate's hooks.

    Raises:
        pytest.UsageError: with every mistake of the first input that has any.
    """
    try:
        refuse_moved_rootdir(config)
        refuse_copies(config)
        options, file, tasks = read_input(config)
        check_templates(options.templates, options.output)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    for name in sorted({name for task in tasks for name in mark_names(task)}):
        config.addinivalue_line("markers", f"{name}: of the checks in {file.display}, by pytest-prunegate")
    if config.args_source is not config.ArgsSource.ARGS:
        config.args = _with_thresholds(config.args if is_standing(config) else [], file.path)
    config.pluginmanager.register(BrokenSession(), "prunegate-broken")
    config.pluginmanager.register(ShownVerdicts(config), "prunegate-verdicts")
    if is_controller(config):
        config.pluginmanager.register(Controller(config, options), "prunegate-controller")
        return
    gates = CandidateGates(
        options=options, tasks=tasks, progress=ProgressLine(config), stop=StopRequest(options.time_budget)
    )
    config.stash[GATES] = gates
    config.pluginmanager.register(GateRun(config, gates, file), "prunegate-run")


def _with_thresholds(paths: list[str], file: Path) -> list[str]:
    """Paths to collect, and the thresholds file. Older versions of pytest lose what else is in a folder where a file in it is named, too."""
    if pytest.version_tuple < (9, 0) and any(file.is_relative_to(Path(path).absolute()) for path in paths):
        return paths
    return [*paths, str(file)]


class GateRun:
    """The gate's hooks while it is switched on."""

    def __init__(self, config: pytest.Config, gates: CandidateGates, file: thresholds.ThresholdsFile) -> None:
        self._config = config
        self._gates = gates
        self._file = file
        self._session = GateSession(config, gates, file)
        self._failed = FailedReports()
        config.pluginmanager.register(self._failed, "prunegate-failed")
        self._interrupted = False
        self._closing: Closing | None = None
        self._signals = contextlib.ExitStack()
        self._collected: list[pytest.Item] = []
        self._is_idle = False
        self._told: dict[str, str] = {}
        """Messages that a failing item showed in full, by whose it was."""
        if is_worker(config):
            worker = Worker(config, gates, self._session, lambda session: self._open(self._needed(session)))
            config.pluginmanager.register(worker, "prunegate-worker")

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ThresholdsFile | None:
        """Collect the thresholds file, and no other YAML."""
        if file_path.name != self._file.path.name or not file_path.samefile(self._file.path):
            return None
        inside = file_path.is_relative_to(self._config.rootpath)
        return ThresholdsFile.from_gates(
            parent, gates=self._gates, path=file_path, **({} if inside else {"nodeid": file_path.name})
        )

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Notice whether anything here asks the gate."""
        if asks_the_gate(item):
            self._collected.append(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Say which names are near to one that pytest did not find."""
        try:
            return (yield)
        except pytest.UsageError as error:
            hints = unknown_names(self._config.args, self._file.path.name, self._gates.pairs)
            raise pytest.UsageError(*error.args, *hints) from None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the file's order among the checks, cheap ones first; by now they are selected, and their names are for readers."""
        checks = [item for item in self._collected if isinstance(item, CheckItem)]
        checks.sort(key=lambda item: self._gates.candidates.index(item.candidate))
        restore_order(items, checks)
        for item in checks:
            item.show_task()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """A run that was to gate a model and would gate nothing is a mistake, not a green run."""
        if sys.exception():  # pytest found nothing under a name, and says so; this is its clean-up
            return
        nothing_asked = not self._collected or (session.items and not any(map(asks_the_gate, session.items)))
        self._is_idle = bool(nothing_asked) and (
            is_standing(self._config) or (bool(self._collected) and is_shard(self._config))
        )
        if nothing_asked and not self._is_idle and not session.testsfailed:
            raise pytest.UsageError(
                "neither a check nor a test that uses the fixture prunegate was collected and selected, so the models would not be "
                f"compared. Add {self._file.display} to the paths, or leave the paths out; and look at -k, -m and --deselect."
            )
        spare_timeouts(self._config, session.items)

    def pytest_report_collectionfinish(self) -> str | None:
        """Where other tests run alone, say so: whoever set the models into addopts reads that they are not compared."""
        return (
            "prunegate: none of these tests asks the gate, so that the models are not compared"
            if self._is_idle
            else None
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Before the first item: find the models, open the store, say what will be done. A preflight runs no item."""
        needed = self._needed(session)
        stopped = session.testsfailed and not session.config.option.continue_on_collection_errors
        if not (session.config.option.collectonly or stopped or is_worker(self._config)):
            return self._open(needed)
        return None

    def _open(self, needed: Needed) -> bool | None:
        """Open the run; True where it was only looked at beforehand."""
        if not any(needed.values()) or self._config.option.setuponly:
            return None
        self._signals.enter_context(self._gates.stop.listening())
        try:
            if self._gates.options.preflight:
                self._session.preflight(needed)
                return True
            self._session.open(needed)
        except PrunegateError as error:
            raise pytest.UsageError(str(error)) from None
        return None

    def _needed(self, session: pytest.Session) -> Needed:
        """The tasks that the selected items need, by candidate, each once."""
        from pytest_prunegate.session.fixtures import declared_tasks

        needed: dict[str | None, dict[str, None]] = {candidate: {} for candidate in self._gates.candidates}
        for item in session.items:
            if isinstance(item, CheckItem):
                needed[item.candidate][item.check.task] = None
            for candidate, names in declared_tasks(item, self._gates):
                needed[candidate] |= dict.fromkeys(names)
        unknown = {name for names in needed.values() for name in names} - {task.name for task in self._gates.tasks}
        if unknown:
            raise pytest.UsageError(
                f"tests declare tasks that this run does not have: {', '.join(sorted(unknown))}. "
                f"Add them to {self._file.display}, or with --prunegate-tasks."
            )
        return {candidate: list(names) for candidate, names in needed.items()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """A check runs once."""
        return run_once(item, nextitem)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A test that asks the fixture for what is not there is an error, although pytest sees it fail."""
        report = yield
        if isinstance(item, CheckItem):  # these records are in evaluation.log, and say nothing about the verdict
            report.sections = [section for section in report.sections if not section[0].startswith("Captured log")]
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, PrunegateError):
            if call.when == "setup" or isinstance(error, FixtureError):  # a user's own test shows which line asked
                first = self._told.setdefault(str(error), item.nodeid)
                report.longrepr = (
                    str(error) if first == item.nodeid else f"{str(error).partition(': ')[0]}: as at {first}, above"
                )
            if call.when == "call":
                report.when = "setup"  # pytest tells errors from failures by the phase
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the reports of whatever was measured, and set the exit code."""
        self._interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        self._session.finish(interrupted=self._interrupted)
        self._closing = closing_of(self._session, self._gates)
        tell_junit(self._config, self._closing)
        if self._session.is_open and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            ran = Ran(
                status=exitstatus, outcomes=outcomes_of(session.items), wanted=wanted_checks(session.items),
                failed=frozenset(self._failed.found), others=not all(isinstance(item, CheckItem) for item in session.items),
                stopped=bool(session.shouldfail), broke=bool(self._session.problems),
            )  # fmt: skip
            session.exitstatus = exit_status(ran, any_is_enough=self._gates.any_is_enough)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of all checks, and where the reports are."""
        if self._closing is not None:
            show_closing(self._closing, terminalreporter, interrupted=self._interrupted)
        elif self._interrupted and self._gates.stop.reason:
            command = shlex.join(["pytest", *map(str, self._config.invocation_params.args)])
            terminalreporter.write_line(
                plain(f"Interrupted ({self._gates.stop.reason}) before the first answer. To start again: {command}")
            )
        else:
            for problem in self._session.problems:
                terminalreporter.write_line(plain(problem), red=True)

    def pytest_unconfigure(self) -> None:
        """Give the signals back; until here they would cut short what the run says."""
        self._signals.close()
