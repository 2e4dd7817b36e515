"""One pytest run with the gate switched on: reads the input, then plugs the gate into pytest's phases."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.checks import resolve_tasks
from pytest_prunegate.collection import CheckItem, ThresholdsFile, mark_names
from pytest_prunegate.compare import Outcome
from pytest_prunegate.errors import FixtureError, InputError, PrunegateError
from pytest_prunegate.evaluation import index as task_index
from pytest_prunegate.gate import Gate
from pytest_prunegate.options import read_options
from pytest_prunegate.report.log import EvaluationLog, warnings_logged
from pytest_prunegate.report.progress import ProgressLine
from pytest_prunegate.resources import resource_path
from pytest_prunegate.rootdir import refuse_moved_rootdir
from pytest_prunegate.thresholds_reader import load_thresholds

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_prunegate import thresholds
    from pytest_prunegate.checks import GateTask
    from pytest_prunegate.options import Options
    from pytest_prunegate.report.summary import Summary

GATE = pytest.StashKey[Gate]()
_ERROR_EXIT, _INCONCLUSIVE_EXIT = 10, 11
_BUILT_IN_DISPLAY = "built-in thresholds.yaml"
_COLORS: dict[str, dict[str, bool]] = {
    Outcome.PASS: {"green": True},
    Outcome.FAIL: {"red": True},
    Outcome.ERROR: {"yellow": True},
}


def start_run(config: pytest.Config) -> None:
    """Read options and thresholds, and register the gate's hooks.

    Raises:
        pytest.UsageError: with every mistake of the first input that has any.
    """
    try:
        refuse_moved_rootdir(config)
        _refuse_xdist(config)
        options = read_options(config)
        file, tasks = _read_tasks(options, config)
    except InputError as error:
        raise pytest.UsageError(str(error)) from None
    gate = Gate(options=options, tasks=tasks, progress=ProgressLine(config))
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


def _read_tasks(options: Options, config: pytest.Config) -> tuple[thresholds.ThresholdsFile, tuple[GateTask, ...]]:
    built_in_path = resource_path("thresholds.yaml")
    built_in, _ = load_thresholds(built_in_path, display="thresholds.yaml", built_in=True)
    if options.thresholds is None and not options.tasks:
        raise InputError(
            f"there is no thresholds.yaml in {config.invocation_params.dir}. Write one, or run with --thresholds=default (squadv2 and gsm8k, 5%), "
            "or name tasks with --prunegate-tasks=hellaswag,boolq."
        )
    if options.thresholds is None:
        file, mistakes = load_thresholds(built_in_path, display=_BUILT_IN_DISPLAY, built_in=True)
        file = replace(file, tasks=())
    else:
        is_built_in = options.thresholds == built_in_path
        display = _BUILT_IN_DISPLAY if is_built_in else _display(options.thresholds, config)
        file, mistakes = load_thresholds(options.thresholds, display=display, built_in=is_built_in)
    cache_dir = options.cache_dir or task_index.default_cache_dir()
    index = task_index.load_index(cache_dir)
    if index is None and not mistakes.found:  # a mistake of the file itself is not worth half a minute
        # The terminal reporter does not exist yet, and half a minute of silence looks like a hang.
        sys.stderr.write(
            f"prunegate: indexing the tasks of lm-eval {task_index.lm_eval_version()}: half a minute, once\n"
        )
        with warnings_logged():
            index = task_index.build_index(cache_dir)
    tasks = (
        resolve_tasks(file, index, mistakes, only=options.tasks, limit=options.limit, built_in=built_in)
        if index
        else ()
    )
    if mistakes.found:
        raise InputError(mistakes.render())
    return file, tasks


def _display(path: Path, config: pytest.Config) -> str:
    folder = config.invocation_params.dir
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _say(config: pytest.Config, text: str) -> None:
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(text)


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
        self._started = datetime.now(UTC)
        self._log: EvaluationLog | None = None
        self._summary: Summary | None = None
        self._written: list[Path] = []
        self._problem: str | None = None

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
        try:
            with warnings_logged():
                self._gate.find_models()
                self._log = EvaluationLog(self._gate.options.output)
                plan = self._gate.open(names)
        except PrunegateError as error:
            raise pytest.UsageError(str(error)) from None
        from pytest_prunegate.report.terminal import plan_lines

        _say(session.config, "")
        for line in plan_lines(plan, self._file, self._gate.options):
            _say(session.config, line)
            self._log.write(line)

    def _needed_tasks(self, session: pytest.Session) -> list[str]:
        from pytest_prunegate.fixtures import declared_tasks

        names = [item.check.task for item in session.items if isinstance(item, CheckItem)]
        for item in session.items:
            names += declared_tasks(item)
        unknown = set(names) - {task.spec.name for task in self._gate.tasks}
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
        if self._gate.plan is None:
            self._close()
            return
        from pytest_prunegate.report.files import write_reports
        from pytest_prunegate.report.summary import build_summary

        arguments = tuple(str(argument) for argument in self._config.invocation_params.args)
        self._summary = build_summary(
            self._gate, self._file, arguments=arguments, started=self._started, finished=datetime.now(UTC)
        )
        try:
            self._written = write_reports(self._summary, self._gate.options.output)
        except OSError as error:
            self._problem = f"the reports could not be written to {self._gate.options.output}: {error}"
        self._close()
        if exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            session.exitstatus = self._exit_status(session, exitstatus)

    def _exit_status(self, session: pytest.Session, exitstatus: int) -> int:
        """Exit code of the run. A check that was to run and has no result (skipped, ended by another plugin) is an error."""
        results = self._gate.results
        checks = [item.check for item in session.items if isinstance(item, CheckItem)]
        outcomes = [results[check].outcome if check in results else Outcome.ERROR for check in checks]
        broke = self._problem is not None or exitstatus == pytest.ExitCode.TESTS_FAILED or Outcome.ERROR in outcomes
        if checks and len(checks) == len(session.items):
            return exit_code(outcomes) or (_ERROR_EXIT if broke else 0)
        return exitstatus or (_ERROR_EXIT if broke else 0)

    def _close(self) -> None:
        self._gate.close()
        if self._log:
            self._log.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of all checks, and where the reports are."""
        if self._summary is None:
            return
        from pytest_prunegate.report.terminal import closing_lines, table_lines

        terminalreporter.section("original against pruned", sep="=", bold=True)
        for line, outcome in table_lines(self._summary):
            terminalreporter.write_line(line, **_COLORS.get(outcome, {}))
        for line in closing_lines(self._summary):
            terminalreporter.write_line(line)
        if self._problem:
            terminalreporter.write_line(self._problem, red=True)
        if self._written:
            terminalreporter.write_line(f"Report: {self._written[-1]}")
        terminalreporter.write_line(self._summary.headline, bold=True)
