"""The exit code of several candidates."""

from __future__ import annotations

from collections import Counter

import pytest

from pytest_prunegate.session.exit_codes import Ran, exit_status
from pytest_prunegate.verdict.outcome import Outcome

PASS, FAIL, ERROR, INCONCLUSIVE = Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE


def ran(
    by_candidate: dict[str, list[Outcome | None]], *, failed: tuple[str, ...] = (), others: bool = False, stopped: bool = False,
    broke: bool = False,
) -> Ran:  # fmt: skip
    """A session of checks that ended so; None: it did not run."""
    wanted: dict[str | None, list[str]] = {
        name: [f"{name}{number}" for number, _ in enumerate(found)] for name, found in by_candidate.items()
    }
    outcomes = {
        check: outcome
        for name, found in by_candidate.items()
        for check, outcome in zip(wanted[name], found, strict=True)
        if outcome is not None
    }
    bad = {check for check, outcome in outcomes.items() if outcome is not PASS}
    return Ran(
        status=1 if bad or failed else 0, outcomes=outcomes, wanted=wanted, failed=frozenset({*bad, *failed}),
        others=others, stopped=stopped, broke=broke,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "of_all", "of_any"),
    [
        ([PASS, PASS], [PASS, PASS], 0, 0),
        ([PASS, PASS], [PASS, FAIL], 1, 0),
        ([PASS, FAIL], [FAIL, PASS], 1, 1),
        ([PASS, PASS], [ERROR, ERROR], 10, 0),
        ([FAIL, FAIL], [ERROR, PASS], 1, 10),
        ([FAIL, FAIL], [INCONCLUSIVE, PASS], 1, 11),
        ([ERROR, PASS], [INCONCLUSIVE, PASS], 10, 11),
        ([FAIL, INCONCLUSIVE], [FAIL, ERROR], 1, 1),
        ([PASS, None], [FAIL, PASS], 1, 10),
        ([PASS, None], [PASS, PASS], 10, 0),
    ],
)
def test_all_or_any(a: list[Outcome | None], b: list[Outcome | None], of_all: int, of_any: int) -> None:
    found = ran({"a": a, "b": b})
    assert exit_status(found, any_is_enough=False) == of_all
    assert exit_status(found, any_is_enough=True) == of_any


def test_a_candidate_that_never_began_has_not_passed() -> None:
    stopped = ran({"a": [FAIL], "b": [None]}, stopped=True)
    assert exit_status(stopped, any_is_enough=False) == 1
    assert exit_status(stopped, any_is_enough=True) == 1
    assert exit_status(ran({"a": [PASS], "b": [FAIL, None]}, stopped=True), any_is_enough=True) == 0


def test_what_is_no_check_of_a_candidate_keeps_a_run_from_being_green() -> None:
    one_passes: dict[str, list[Outcome | None]] = {"a": [PASS], "b": [FAIL]}
    assert exit_status(ran(one_passes, others=True), any_is_enough=True) == 0
    assert exit_status(ran(one_passes, others=True, failed=("test_mine",)), any_is_enough=True) == 1
    assert exit_status(ran(one_passes, broke=True), any_is_enough=True) == 10, "reports that could not be written"
    assert exit_status(ran(one_passes, failed=("a0",)), any_is_enough=True) == 10, "the teardown of a check that passed"


def test_one_candidate_is_as_ever() -> None:
    for any_is_enough in (True, False):
        codes = Counter(exit_status(ran({"": [outcome]}), any_is_enough=any_is_enough) for outcome in (PASS, FAIL, ERROR, INCONCLUSIVE))  # fmt: skip
        assert codes == Counter([0, 1, 10, 11])
