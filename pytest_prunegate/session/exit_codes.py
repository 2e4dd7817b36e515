"""The exit code of a run: what its checks say, of one candidate or of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

ERROR_EXIT, INCONCLUSIVE_EXIT = 10, 11
CODES = ((Outcome.FAIL, 1), (Outcome.ERROR, ERROR_EXIT), (Outcome.INCONCLUSIVE, INCONCLUSIVE_EXIT))
BAD = frozenset(outcome for outcome, _ in CODES)
_BEST_FIRST = (0, INCONCLUSIVE_EXIT, ERROR_EXIT, 1)  # of candidates, where one is enough


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What there is to know of a session that has finished.

    `status` is pytest's own: nothing or something failed. `outcomes` are those of the checks that ran, by node id. `wanted`
    are the checks that were selected, by candidate. `failed` are the reports that failed of anything, by node id (a check's
    teardown too), `stopped` whether ``-x`` or ``--maxfail`` ended the run, `broke` whether something went wrong that no check
    tells. `others` says whether anything but checks was selected, or could not be collected.
    """

    status: int
    outcomes: Mapping[str, Outcome]
    wanted: Mapping[str | None, Sequence[str]]
    failed: frozenset[str] = field(default_factory=frozenset)
    others: bool
    stopped: bool
    broke: bool


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Exit code of a run of checks alone: 0 all passed, 1 one failed, 10 one errored, 11 one is inconclusive."""
    return next((code for outcome, code in CODES if outcome in outcomes), 0)


def exit_status(ran: Ran, *, any_is_enough: bool) -> int:
    """Exit code of the run. A check that was to run and has no result (skipped, ended by another plugin) is an error.

    Args:
        ran: the session.
        any_is_enough: whether it is 0 as soon as one candidate passes all of its checks.
    """
    if any_is_enough and len(ran.wanted) > 1:
        return _of_any(ran)
    found = [outcome for checks in ran.wanted.values() for outcome in _outcomes(ran, checks)]
    if ran.broke:
        found.append(Outcome.ERROR)
    broke = ran.status == pytest.ExitCode.TESTS_FAILED or Outcome.ERROR in found
    if any(ran.wanted.values()) and not ran.others:
        return exit_code(found) or (ERROR_EXIT if broke else 0)
    return ran.status or (ERROR_EXIT if broke else 0)


def _outcomes(ran: Ran, checks: Sequence[str]) -> list[Outcome]:
    """How these checks ended; where the run was stopped at what was bad, those behind it never started."""
    if ran.stopped and any(outcome in BAD for outcome in ran.outcomes.values()):
        return [ran.outcomes[check] for check in checks if check in ran.outcomes]
    return [ran.outcomes.get(check, Outcome.ERROR) for check in checks]


def _of_any(ran: Ran) -> int:
    """The code of the best candidate; what failed and is no check of a candidate's keeps the run from being green."""
    checks = {check for own in ran.wanted.values() for check in own}
    codes = [code for own in ran.wanted.values() if (code := _of_candidate(ran, own)) is not None]
    code = min(codes, key=_BEST_FIRST.index, default=ERROR_EXIT)
    if ran.failed - checks:
        return int(pytest.ExitCode.TESTS_FAILED)
    if code and ran.others:
        return ran.status or ERROR_EXIT
    return code or (ERROR_EXIT if ran.broke else 0)


def _of_candidate(ran: Ran, checks: Sequence[str]) -> int | None:
    """The code of a run of this candidate alone; None where ``-x`` came before its end, so that nobody knows."""
    found = _outcomes(ran, checks)
    if code := exit_code(found):
        return code
    if len(found) < len(checks):
        return None
    return ERROR_EXIT if ran.failed & set(checks) else 0  # what passed, and broke behind that


class BrokenSession:
    """Sees to it that a session which breaks at its end says so, and has pytest's own code for that.

    Python would end with 1 there, which is the code of a check that failed.
    """

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Tell what no hook has caught, whichever plugin raised it."""
        try:
            yield
        except (pytest.exit.Exception, pytest.UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - nothing above would tell it
            session.config.notify_exception(pytest.ExceptionInfo.from_exception(error), session.config.option)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


class FailedReports:
    """Collects which items failed, whichever process ran them."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an item that failed in any of its phases."""
        if report.failed:
            self.found.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected."""
        if report.failed:
            self.found.add(report.nodeid)
