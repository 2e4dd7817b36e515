"""A check beside other people's tests, hooks and readers: an item like others."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support.scripted import THREE_TASKS, write_checkpoint

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(THREE_TASKS)
    return bench


@pytest.mark.parametrize(
    ("asked", "found", "hint"),
    [
        ("thresholds.yaml::gsm8kk", "*thresholds.yaml::gsm8kk", "thresholds.yaml has no task gsm8kk. Did you mean gsm8k?"),
        ("thresholds.yaml::boolq::accuracy", "*thresholds.yaml::boolq::accuracy", "thresholds.yaml: boolq has no check accuracy. *acc*"),
        ("thresholds.yaml::zzz", "*thresholds.yaml::zzz", "thresholds.yaml has no task zzz. It has: boolq, gsm8k, squadv2."),
        ("no_such_test.py", "file or directory not found: no_such_test.py", None),
    ],
)  # fmt: skip
def test_a_wrong_name_is_pytests_own_error_with_the_nearest_names(
    project: Bench, asked: str, found: str, hint: str | None
) -> None:
    result = project.run(asked, "thresholds.yaml::boolq::acc")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: {'not found: ' if hint else ''}{found}", *([f"ERROR: {hint}"] if hint else [])]
    )
    result.stderr.no_fnmatch_line("*neither a check nor a test*")
    assert not project.executor.requests


SCREENSHOT_HOOK = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        if report.failed:
            assert "page" not in item.funcargs and "page" not in item.fixturenames
            assert item.obj is None and callable(item.function)
            item._initrequest()
            kind = type(call.excinfo.value)
            is_failure, is_fail = (issubclass(kind, one) for one in (AssertionError, pytest.fail.Exception))
            print(f"\\nSEEN {item.name} {is_failure} {is_fail} {call.excinfo.value}")
        return report
"""


def test_hooks_find_what_test_functions_have_and_tell_failures_from_errors(project: Bench) -> None:
    """As Allure does, a hook tells by the exception what failed: an AssertionError with its figures; anything else broke."""
    project.pytester.makeconftest(SCREENSHOT_HOOK)
    result = project.run("-s")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["SEEN exact_match,strict-match True False gsm8k exact_match,strict-match *drop at most 1%*"]
    )
    shutil.rmtree(project.path / "original")
    write_checkpoint(project.path / "original", wrong=list(range(20)))
    result = project.run("-s", "-k", "gsm8k")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["SEEN exact_match,strict-match False False *scores 0 on 20 documents*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("option", ["--setup-plan", "--setup-only", "--collect-only"])
def test_options_that_promise_not_to_run_do_not(project: Bench, option: str) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate): raise RuntimeError
        """
    )
    result = project.run(option, "thresholds.yaml", "test_own.py")
    assert result.ret == 0
    assert not project.executor.requests
    assert not (project.path / ".prunegate").exists()
    assert not project.results.exists()
    result.stdout.fnmatch_lines(["*gsm8k*"])


def test_what_is_inconclusive_stands_in_the_short_summary(project: Bench) -> None:
    result = project.run("--prunegate-limit=10", "--prunegate-decide=confident", "-k", "squadv2")
    assert result.ret == 11
    result.stdout.fnmatch_lines([
        "*short test summary info*", "INCONCLUSIVE thresholds.yaml::squadv2::f1 - *", "*= 2 deselected, 1 inconclusive *",
    ])  # fmt: skip
    assert result.parseoutcomes() == {"inconclusive": 1, "deselected": 2}


@pytest.mark.parametrize("named", ["thresholds.yaml", "./thresholds.yaml::gsm8k"])
def test_the_thresholds_without_models_say_what_is_missing(project: Bench, named: str) -> None:
    result = project.run(named, models=())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {named} was named, and no models to compare on it: add --original=MODEL *"])
