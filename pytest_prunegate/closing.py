"""What a run says and returns at its end, in whichever process its checks ran."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.compare import Outcome
from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.junit import tell_ending

if TYPE_CHECKING:
    from pytest_prunegate.gates import Gates
    from pytest_prunegate.session import Ended, GateSession

_COLORS: dict[str, dict[str, bool]] = {
    Outcome.PASS: {"green": True},
    Outcome.FAIL: {"red": True},
    Outcome.ERROR: {"yellow": True},
    Outcome.INCONCLUSIVE: {"yellow": True},
}
_OWN_STATUS = {"inconclusive": ("inconclusive", "?", "INCONCLUSIVE"), "baseline": ("baseline", "b", "BASELINE"),
               "recorded": ("recorded", "r", "RECORDED")}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is shown of one candidate. `table` has each line with its outcome; `report` is None where none was written."""

    title: str
    table: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]
    report: str | None
    headline: str

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Section:
        """What `asdict` made, with JSON between."""
        return cls(**values | {"table": tuple((line, outcome) for line, outcome in values["table"])})


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What is shown after the last item. Plain values: a worker of pytest-xdist sends it to the process that shows it.

    `settings` were said before the first item, `overview` compares several candidates, `problem` is why there is no report,
    `stopped` why the run was asked to stop, and `command` what goes on from there.
    """

    settings: tuple[str, ...]
    sections: tuple[Section, ...]
    overview: Section | None
    problem: str | None
    stopped: str | None
    command: str

    def as_json(self) -> str:
        """As text, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Closing:
        """What `as_json` made."""
        values = json.loads(text)
        sections = tuple(map(Section.from_values, values["sections"]))
        overview = Section.from_values(values["overview"]) if values["overview"] else None
        return cls(**values | {"sections": sections, "overview": overview})


def closing_of(session: GateSession, gates: Gates) -> Closing | None:
    """What to show of a session that has finished; None where nothing was summarised."""
    if not session.ended:
        return None
    return Closing(
        settings=tuple(session.said), sections=tuple(_section(session, ended) for ended in session.ended),
        overview=_overview(session, gates) if gates.are_several else None, problem=session.problem, stopped=gates.stop.reason,
        command=session.ended[0].summary.command,
    )  # fmt: skip


def _section(session: GateSession, ended: Ended) -> Section:
    from pytest_prunegate.report.terminal import closing_lines, table_lines

    gate, summary = ended.gate, ended.summary
    return Section(
        title="original alone" if gate.baseline_only else f"original against {gate.candidate or 'pruned'}",
        table=tuple((line, str(outcome)) for line, outcome in table_lines(summary)),
        lines=(*closing_lines(summary, said=gate.plan.notes if gate.plan else ()), *session.told),
        report=str(ended.written[-1]) if ended.written else None, headline=summary.headline,
    )  # fmt: skip


def _overview(session: GateSession, gates: Gates) -> Section:
    """What is said of all candidates; the last line says in words what the exit code says."""
    from pytest_prunegate.report.candidate_lines import candidate_lines

    overview = session.overview
    if overview is None:
        names = ", ".join(str(ended.gate.candidate) for ended in session.ended)
        headline = f"INCOMPLETE: {len(session.ended)} of {len(gates.candidates)} candidates selected ({names})"
        return Section(title="candidates", table=(), lines=(), report=None, headline=headline)
    return Section(
        title="candidates", table=tuple(candidate_lines(overview)), lines=overview.notes,
        report=str(session.overview_page) if session.overview_page else None, headline=overview.headline,
    )  # fmt: skip


def show_closing(closing: Closing, terminal: pytest.TerminalReporter, *, interrupted: bool) -> None:
    """The table of each candidate, where the reports are, and the verdict over all."""
    sections = [*closing.sections, *([closing.overview] if closing.overview else [])]
    for section in sections:
        _show_section(section, terminal)
        if section is not sections[-1]:
            _show_end(section, terminal)
    if closing.problem:
        terminal.write_line(plain(closing.problem), red=True)
    if interrupted:
        reason = closing.stopped or "by Ctrl-C or another plugin"
        terminal.write_line(
            f"Interrupted ({reason}). Every answer so far is kept. To go on from there: {closing.command}"
        )
    _show_end(sections[-1], terminal)


def _show_section(section: Section, terminal: pytest.TerminalReporter) -> None:
    terminal.section(section.title, sep="=", bold=True)
    for line, outcome in section.table:
        terminal.write_line(one_line(line), **_COLORS.get(outcome, {}))
    for line in section.lines:
        terminal.write_line(plain(line))


def _show_end(section: Section, terminal: pytest.TerminalReporter) -> None:
    if section.report:
        terminal.write_line(one_line(f"Report: {section.report}"))
    terminal.write_line(section.headline, bold=True)


class ShownVerdicts:
    """Shows a check's own ways to end, on the screen and in JUnit; by its report, which may come from another process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A check that is inconclusive, or was not judged at all, neither passed nor failed."""
        return _OWN_STATUS.get(_verdict(report))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In JUnit, how a check ended and why."""
        tell_ending(self._config, report)


def _verdict(report: pytest.TestReport) -> str:
    """How a check ended; nothing where the report is of something else, or pytest-rerunfailures repeats the check."""
    if getattr(report, "when", None) != "call" or report.outcome not in {"passed", "failed"}:
        return ""
    return str(dict(report.user_properties).get("prunegate_verdict", ""))
