"""The fixtures in a user's own tests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.scripted import THREE_TASKS

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(THREE_TASKS)
    return bench


def test_a_declared_task_is_measured(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        from fractions import Fraction
        import pytest
        @pytest.mark.prunegate(tasks=["gsm8k"])
        def test_mine(prunegate):
            assert prunegate.compare("gsm8k", "accuracy,flexible-extract").relative_drop == Fraction(1, 10)
            assert prunegate.compare("gsm8k", "exact_match,strict-match").outcome == "fail"
        """
    )
    project.run("test_own.py", "--strict-markers").assert_outcomes(passed=1)
    assert len(project.executor.requests) == 40, "gsm8k alone was measured"


def test_fixtures_of_a_wider_scope_compare_what_their_tests_declare(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest

        @pytest.fixture(scope="module")
        def lost(prunegate_session):
            return {task: prunegate_session.compare(task, "acc" if task == "boolq" else "exact_match,strict-match").lost for task in prunegate_session.tasks}

        @pytest.mark.prunegate(tasks=["gsm8k"])
        def test_one(lost): assert lost["gsm8k"] == 2

        @pytest.mark.prunegate(tasks=["boolq"])
        class TestOther:
            def test_two(self, lost): assert set(lost) == {"gsm8k", "boolq"}

        def test_undeclared(prunegate_session): prunegate_session.compare("squadv2", "f1")
        """
    )
    result = project.run("test_own.py", "--strict-markers")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the task squadv2 is not declared by this test*"])
    assert len(project.executor.requests) == 40 + 80, "squadv2 was not measured"
    result = project.run("test_own.py", "-k", "undeclared")
    result.stdout.fnmatch_lines(["*no test that uses the fixture prunegate_session declares tasks. *"])
    project.run("test_own.py", models=()).assert_outcomes(skipped=3)


def test_a_users_own_rule_fails_as_a_failure(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate):
            assert prunegate.compare("boolq", "acc").relative_drop < 0.05
        """
    )
    result = project.run("test_own.py")
    result.assert_outcomes(failed=1)
    assert result.ret == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('prunegate.compare("gsm8k", "exact_match")', "the task gsm8k is not declared by this test"),
        ('prunegate.compare("boolq", "f1")', "boolq has no metric of this name. It has: acc."),
    ],
)
def test_a_wrong_use_is_an_error_and_no_failure(project: Bench, call: str, message: str) -> None:
    project.pytester.makepyfile(
        test_own=f"""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate):
            {call}
        """
    )
    result = project.run("test_own.py", "--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{message}*"])
    suite = next(ET.parse(project.path / "junit.xml").getroot().iter("testsuite"))  # noqa: S314 - our own file
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "0")


def test_without_a_mark_it_is_an_error(project: Bench) -> None:
    project.pytester.makepyfile(test_own="def test_mine(prunegate): pass\n")
    result = project.run("test_own.py", "thresholds.yaml::boolq")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*declares no tasks. Declare them: @pytest.mark.prunegate*"])


def test_an_unknown_declared_task_stops_before_any_model(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["hellaswag"])
        def test_mine(prunegate): pass
        """
    )
    result = project.run("test_own.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*tests declare tasks that this run does not have: hellaswag. Add them to thresholds.yaml*"]
    )
    assert project.executor.loads == []


def test_each_check_parametrizes(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        def test_each(prunegate_check):
            assert prunegate_check.documents > 0
            assert prunegate_check.outcome == "pass"
        """
    )
    result = project.run("test_own.py", "-v")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*test_each?boolq-acc? PASSED*", "*test_each?gsm8k-exact_match,strict-match? FAILED*"])
    assert project.run("test_own.py", "-m", "gsm8k").ret == 1, "the task's mark selects its parameters"
