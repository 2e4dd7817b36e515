"""What a run says at its end, in whichever process its checks ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pytest_prunegate.flags import JUNIT_PROPERTIES
from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.ci.junit import tell_case, tell_run
from pytest_prunegate.report.screen.failed_check import FailedCheck
from pytest_prunegate.report.screen.marked_lines import MARKUP, WIDTH, kind_of, wrapped, write_line
from pytest_prunegate.report.screen.table import TableRow, table_lines, table_rows
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_prunegate.gate.candidate_gates import CandidateGates
    from pytest_prunegate.session.session import Ended, GateSession, Reporting


_BAD = {Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE}
_INCONCLUSIVE = "inconclusive"
_OWN_STATUS = {_INCONCLUSIVE: (_INCONCLUSIVE, "?", "INCONCLUSIVE"), "baseline": ("baseline", "b", "BASELINE"),
               "recorded": ("recorded", "r", "RECORDED")}  # fmt: skip
_FAILED = "prunegate_failed"


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is shown of one candidate: a `table` of checks, why each passed (`passing`, for -v), and other `lines`."""

    title: str
    table: tuple[TableRow, ...]
    passing: tuple[str, ...]
    lines: tuple[str, ...]
    report: str | None
    verdict: str
    headline: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What is shown of several candidates together; each line of `table` has the outcome that tells its colour."""

    table: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    report: str | None
    verdict: str
    headline: str


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What is shown after the last item. Plain values: a worker of pytest-xdist sends it to the process that shows it.

    `settings` were said before the first item, `told` is of files that were written, `problems` say what could not be,
    `stopped` why the run was asked to stop, `command` what goes on from there, and `annotations` are for GitHub's runner.
    """

    settings: tuple[str, ...]
    sections: tuple[Section, ...]
    overview: Overview | None
    told: tuple[str, ...]
    problems: tuple[str, ...]
    stopped: str | None
    command: str
    annotations: tuple[str, ...]

    @property
    def end(self) -> Section | Overview:
        """What has the last word: of all candidates, or of the only comparison."""
        return self.overview or self.sections[-1]

    def as_json(self) -> str:
        """As text, for another process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Closing:
        """What `as_json` made."""
        return msgspec.json.decode(text, type=cls)


def closing_of(session: GateSession, gates: CandidateGates) -> Closing | None:
    """What to show of a session that has finished; None where nothing was summarised."""
    reports = session.reports
    if not reports.ended:
        return None
    overview = _overview(reports, gates) if gates.are_several else None
    return Closing(
        settings=tuple(session.said), sections=tuple(_section(ended) for ended in reports.ended), overview=overview,
        told=tuple(reports.told), problems=tuple(session.problems), stopped=gates.stop.reason,
        command=reports.ended[0].summary.command, annotations=reports.annotations,
    )  # fmt: skip


def _section(ended: Ended) -> Section:
    from pytest_prunegate.report.screen.terminal import closing_lines, passing_lines

    gate, summary = ended.gate, ended.summary
    return Section(
        title="original alone" if gate.baseline_only else f"original against {gate.candidate or 'pruned'}",
        table=tuple(table_rows(summary)), passing=tuple(passing_lines(summary)),
        lines=tuple(closing_lines(summary, said=gate.plan.notes)),
        report=str(ended.written[-1]) if ended.written else None, verdict=summary.verdict, headline=summary.headline,
    )  # fmt: skip


def _overview(reports: Reporting, gates: CandidateGates) -> Overview:
    """What is said of all candidates; a run of some of them says of which."""
    from pytest_prunegate.report.screen.table import candidate_lines

    summary = reports.overview
    if summary is None:
        names = ", ".join(str(ended.gate.candidate) for ended in reports.ended)
        headline = f"INCOMPLETE: {len(reports.ended)} of {len(gates.candidates)} candidates selected ({names})"
        return Overview(table=(), lines=(), report=None, verdict="incomplete", headline=headline)
    return Overview(
        table=tuple(candidate_lines(summary)), lines=summary.notes,
        report=str(reports.overview_page) if reports.overview_page else None, verdict=summary.verdict, headline=summary.headline,
    )  # fmt: skip


def show_settings(closing: Closing, terminal: pytest.TerminalReporter) -> None:
    """What a worker said before its first item, and had no screen to say it on."""
    from pytest_prunegate.report.screen.terminal import said_lines

    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    if verbosity >= 0:
        terminal.section("settings", sep="-")
    for line in closing.settings:
        for shown in said_lines(line, width=width, verbosity=verbosity):
            terminal.write_line(shown)


def show_closing(closing: Closing, terminal: pytest.TerminalReporter, *, interrupted: bool) -> None:
    """Each candidate's table, where the reports are, and the verdict. At -q only what is bad of it, at -qq the headlines alone."""
    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    terminal.ensure_newline()
    for section in closing.sections:
        _show_section(section, terminal)
        if section is not closing.sections[-1] or closing.overview:
            _show_end(section, terminal)
    if closing.overview:
        _show_overview(closing.overview, terminal)
    for line in closing.told if verbosity >= 0 else ():
        _write(terminal, line, width)
    for line in closing.problems:
        _write(terminal, line, width, "bad")
    if interrupted:
        reason = closing.stopped or "by Ctrl-C or another plugin"
        said = f"Interrupted ({reason}). Every answer so far is kept. To go on from there: {closing.command}"
        _write(terminal, said, width)
    _show_end(closing.end, terminal)
    for command in closing.annotations:
        terminal.write_line(command)


def tell_junit(config: pytest.Config, closing: Closing | None) -> None:
    """Give pytest's own JUnit file, which is written after this, the headline of the reports."""
    if closing is not None:
        tell_run(config, closing.end.headline, place=config.getini(JUNIT_PROPERTIES))


def _show_section(section: Section, terminal: pytest.TerminalReporter) -> None:
    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    rows = [row for row in section.table if verbosity >= 0 or row.outcome in _BAD]
    if verbosity >= 0:
        terminal.section(section.title, sep="=", bold=True)
    if rows and verbosity >= -1:
        for line in table_lines(rows, width):
            write_line(terminal, line)
    for sentence in (*(section.passing if verbosity > 0 else ()), *(section.lines if verbosity >= 0 else ())):
        _write(terminal, sentence, width)


def _show_overview(overview: Overview, terminal: pytest.TerminalReporter) -> None:
    verbosity, width = terminal.config.get_verbosity(), _width(terminal)
    if verbosity >= 0:
        terminal.section("candidates", sep="=", bold=True)
    for line, outcome in overview.table if verbosity >= -1 else ():
        write_line(terminal, ((one_line(line), kind_of(outcome)),))
    for sentence in overview.lines if verbosity >= 0 else ():
        _write(terminal, sentence, width)


def _show_end(shown: Section | Overview, terminal: pytest.TerminalReporter) -> None:
    if shown.report and terminal.config.get_verbosity() >= -1:
        terminal.write_line(one_line(f"Report: {shown.report}"))
    terminal.write_line(one_line(shown.headline), bold=True, **MARKUP[kind_of(shown.verdict)])


def _width(terminal: pytest.TerminalReporter) -> int:
    return max(terminal._tw.fullwidth, WIDTH)  # noqa: SLF001 - it is known nowhere else


def _write(terminal: pytest.TerminalReporter, text: str, width: int, kind: str = "") -> None:
    for line in wrapped(plain(text), width):
        write_line(terminal, ((line, kind),))


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
        """Show inconclusive checks as pytest shows failures: it has no section for them. Its short summary, which follows, names them too."""
        reports, style = terminalreporter.stats.get(_INCONCLUSIVE, []), self._config.getoption("tbstyle", "auto")
        terminalreporter.stats["failed"] = [*terminalreporter.stats.get("failed", []), *reports]
        if not reports or style == "no" or terminalreporter.no_summary:
            return
        terminalreporter.write_sep("=", "INCONCLUSIVE")
        for report in reports:
            if style == "line":
                terminalreporter.write_line(str(getattr(report.longrepr, "reprcrash", report.longrepr)))
            else:
                terminalreporter.write_sep("_", report.head_line, yellow=True, bold=True)
                report.toterminal(terminalreporter._tw)  # noqa: SLF001 - it is known nowhere else

    @pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_terminal_summary")
    def pytest_prunegate_keep_counts(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        """Count what failed without them, in pytest's last line and for whoever reads its counts."""
        counted = dict(terminalreporter.stats)
        yield
        terminalreporter.stats.clear()
        terminalreporter.stats.update(counted)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In JUnit, which check it is, how it ended and why."""
        tell_case(self._config, report)


def _verdict(report: pytest.TestReport) -> str:
    """How a check ended; nothing where the report is of something else, or pytest-rerunfailures repeats the check."""
    if getattr(report, "when", None) != "call" or report.outcome not in {"passed", "failed"}:
        return ""
    return str(dict(report.user_properties).get("prunegate_verdict", ""))
