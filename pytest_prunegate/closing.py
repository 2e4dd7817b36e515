"""What a run says and returns at its end, in whichever process its checks ran."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_prunegate.compare import Outcome
from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.failing import FailedCheck
from pytest_prunegate.report.junit import mark_inconclusive
from pytest_prunegate.report.marked_lines import MARKUP, WIDTH, kind_of, wrapped, write_line
from pytest_prunegate.report.table import TableRow, table_lines, table_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from pytest_prunegate.gate import Gate
    from pytest_prunegate.session import GateSession

ERROR_EXIT, INCONCLUSIVE_EXIT = 10, 11
_CODES = ((Outcome.FAIL, 1), (Outcome.ERROR, ERROR_EXIT), (Outcome.INCONCLUSIVE, INCONCLUSIVE_EXIT))
_BAD = {outcome for outcome, _ in _CODES}
_INCONCLUSIVE = "inconclusive"
_OWN_STATUS = {_INCONCLUSIVE: (_INCONCLUSIVE, "?", "INCONCLUSIVE"), "baseline": ("baseline", "b", "BASELINE"),
               "recorded": ("recorded", "r", "RECORDED")}  # fmt: skip
_FAILED = "prunegate_failed"
_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What is shown after the last item. Plain values: a worker of pytest-xdist sends it to the process that shows it.

    `settings` were said before the first item, `passing` says of each check that passed why (for -v), `problem` is why there is
    no `report`, `stopped` why the run was asked to stop, and `command` what goes on from there.
    """

    title: str
    settings: tuple[str, ...]
    table: tuple[TableRow, ...]
    passing: tuple[str, ...]
    lines: tuple[str, ...]
    problem: str | None
    report: str | None
    verdict: str
    headline: str
    stopped: str | None
    command: str

    def as_json(self) -> str:
        """As text, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Closing:
        """What `as_json` made."""
        values = json.loads(text)
        return cls(**values | {"table": tuple(TableRow(**row) for row in values["table"])})


def closing_of(session: GateSession, gate: Gate) -> Closing | None:
    """What to show of a session that has finished; None where nothing was measured."""
    if session.summary is None:
        return None
    from pytest_prunegate.report.terminal import closing_lines, passing_lines

    summary = session.summary
    return Closing(
        title="original alone" if gate.baseline_only else "original against pruned", settings=tuple(session.said),
        table=tuple(table_rows(summary)), passing=tuple(passing_lines(summary)),
        lines=(*closing_lines(summary, said=gate.plan.notes if gate.plan else ()), *session.told), problem=session.problem,
        report=str(session.written[-1]) if session.written else None, verdict=summary.verdict, headline=summary.headline,
        stopped=gate.stop.reason, command=summary.command,
    )  # fmt: skip


def show_settings(closing: Closing, terminal: pytest.TerminalReporter) -> None:
    """What a worker said before its first item, and had no screen to say it on."""
    from pytest_prunegate.report.terminal import said_lines

    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    if verbosity >= 0:
        terminal.section("settings", sep="-")
    for line in closing.settings:
        for shown in said_lines(line, width=width, verbosity=verbosity):
            terminal.write_line(shown)


def show_closing(closing: Closing, terminal: pytest.TerminalReporter, *, interrupted: bool) -> None:
    """The table of all checks, and where the reports are. At -q only what is bad of it, at -qq the headline alone."""
    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    rows = [row for row in closing.table if verbosity >= 0 or row.outcome in _BAD]
    terminal.ensure_newline()
    if verbosity >= 0:
        terminal.section(closing.title, sep="=", bold=True)
    if rows and verbosity >= -1:
        for line in table_lines(rows, width):
            write_line(terminal, line)
    lines = [*(closing.passing if verbosity > 0 else ()), *(closing.lines if verbosity >= 0 else ())]
    for sentence in lines:
        _write(terminal, sentence, width)
    if closing.problem:
        _write(terminal, closing.problem, width, "bad")
    if interrupted:
        reason = closing.stopped or "by Ctrl-C or another plugin"
        said = f"Interrupted ({reason}). Every answer so far is kept. To go on from there: {closing.command}"
        _write(terminal, said, width)
    if closing.report and verbosity >= -1:
        terminal.write_line(one_line(f"Report: {closing.report}"))
    terminal.write_line(one_line(closing.headline), bold=True, **MARKUP[kind_of(closing.verdict)])


def _width(terminal: pytest.TerminalReporter) -> int:
    return max(terminal._tw.fullwidth, WIDTH)  # noqa: SLF001 - it is known nowhere else


def _write(terminal: pytest.TerminalReporter, text: str, width: int, kind: str = "") -> None:
    for line in wrapped(plain(text), width):
        write_line(terminal, ((line, kind),))


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Exit code of a run of checks alone: 0 all passed, 1 one failed, 10 one errored, 11 one is inconclusive."""
    return next((code for outcome, code in _CODES if outcome in outcomes), 0)


def exit_status(
    status: int, outcomes: Mapping[_Key, Outcome], wanted: Sequence[_Key], *, alone: bool, stopped: bool, broke: bool
) -> int:
    """Exit code of the run. A check that was to run and has no result (skipped, ended by another plugin) is an error.

    Args:
        status: pytest's own: nothing or something failed.
        outcomes: of the checks that ran.
        wanted: the checks that were selected.
        alone: whether nothing else was.
        stopped: whether ``-x`` or ``--maxfail`` ended the run.
        broke: whether something went wrong that no check tells.
    """
    found = [outcomes.get(check, Outcome.ERROR) for check in wanted]
    if stopped and any(outcome in _BAD for outcome in outcomes.values()):  # those behind it never started
        found = [outcomes[check] for check in wanted if check in outcomes]
    if broke:
        found.append(Outcome.ERROR)
    broke = status == pytest.ExitCode.TESTS_FAILED or Outcome.ERROR in found
    if wanted and alone:
        return exit_code(found) or (ERROR_EXIT if broke else 0)
    return status or (ERROR_EXIT if broke else 0)


class ShownVerdicts:
    """Shows a check's own ways to end, on the screen and in JUnit; by its report, which may come from another process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A check that is inconclusive, or was not judged at all, neither passed nor failed."""
        return _OWN_STATUS.get(_verdict(report))

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self, report: object) -> Generator[None, dict[str, Any], dict[str, Any]]:
        """Send the lines of a failing check: pytest sends no more than its text to another process."""
        data = yield
        if isinstance(shown := getattr(report, "longrepr", None), FailedCheck):
            data[_FAILED] = shown.as_json()
        return data

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> Generator[None, Any, Any]:
        """Take the lines of a failing check as another process sent them."""
        shown = data.pop(_FAILED, None)
        report = yield
        if shown is not None:
            report.longrepr = FailedCheck.from_json(shown)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show inconclusive checks as pytest shows failures: it has no section for them."""
        reports, style = terminalreporter.stats.get(_INCONCLUSIVE, []), self._config.option.tbstyle
        if not reports or style == "no" or terminalreporter.no_summary:
            return
        terminalreporter.write_sep("=", "INCONCLUSIVE")
        for report in reports:
            if style == "line":
                terminalreporter.write_line(str(getattr(report.longrepr, "reprcrash", report.longrepr)))
            else:
                terminalreporter.write_sep("_", report.head_line, yellow=True, bold=True)
                report.toterminal(terminalreporter._tw)  # noqa: SLF001 - it is known nowhere else

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """JUnit knows no third way between a failure and an error: the type of the failure tells it."""
        if _verdict(report) == Outcome.INCONCLUSIVE:
            mark_inconclusive(self._config, report)


def _verdict(report: pytest.TestReport) -> str:
    """How a check ended; nothing where the report is of something else, or pytest-rerunfailures repeats the check."""
    if getattr(report, "when", None) != "call" or report.outcome not in {"passed", "failed"}:
        return ""
    return str(dict(report.user_properties).get("prunegate_verdict", ""))
