"""Under pytest-xdist: one worker measures, one report, the exit codes of one process."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.scripted import CONFTEST, THREE_TASKS

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def project(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--prunegate-device=cpu")  # torch is not imported to look
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(THREE_TASKS)
    (bench.path / "conftest.py").write_text(CONFTEST)
    return bench


def lines(project: Bench, name: str) -> list[str]:
    return (project.path / name).read_text().splitlines()


def cases(project: Bench) -> list[tuple[str | None, list[str]]]:
    """The test cases of the JUnit file, each with what is wrong with it."""
    root = ET.parse(project.path / "junit.xml").getroot()  # noqa: S314 - our own file
    return [
        (case.get("name"), [wrong.get("type") or wrong.tag for wrong in case if wrong.tag in {"failure", "error"}])
        for case in root.iter("testcase")
    ]


def test_one_worker_measures_for_checks_and_fixtures(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        import os
        from fractions import Fraction
        import pytest
        @pytest.mark.parametrize("number", range(4))
        def test_other(number):
            open(f"other{number}", "w").write(str(os.getpid()))
        @pytest.mark.prunegate(tasks=["gsm8k"])
        def test_mine(prunegate):
            assert prunegate.compare("gsm8k", "accuracy,flexible-extract").relative_drop == Fraction(1, 10)
        def test_each(prunegate_check):
            assert prunegate_check.documents == 20
        """
    )
    result = project.run("-n2", "thresholds.yaml", "test_own.py", "--strict-markers", "--junitxml=junit.xml")
    result.assert_outcomes(passed=10, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([
        "prunegate: one worker measures*tail -F *evaluation.log",
        "thresholds.yaml:9: gsm8k exact_match,strict-match: relative drop 10.00%,*",
        "original: original (*",
        "task:     boolq: all 20 documents*none in the store",
        "=* original against pruned =*",
        "gsm8k * FAIL",
        "FAIL: 3 of 3 checks measured: 1 failed, 2 passed",
    ])  # fmt: skip
    assert result.stdout.str().count("Report: ") == 1
    assert len({line.split()[0] for line in lines(project, "loads")}) == 1, "one process held the models"
    assert len(lines(project, "asked")) == 160, "nothing was asked twice"
    measuring = lines(project, "loads")[0].split()[0]
    others = Counter((project.path / f"other{number}").read_text() == measuring for number in range(4))
    assert others[False] >= 2, "another worker has the other tests"
    assert ("gsm8k exact_match,strict-match", ["failure"]) in cases(project)
    assert 'name="prunegate_relative" value="-0.1"' in (project.path / "junit.xml").read_text()
    summary = json.loads((project.results / "comparison_results.json").read_text())
    assert [check["outcome"] for check in summary["checks"]] == ["pass", "fail", "pass"]
    assert "boolq, pruned: 20 of 20 documents" in (project.results / "evaluation.log").read_text()


@pytest.mark.slow
def test_inconclusive_stops_at_x_and_is_repeated(project: Bench) -> None:
    arguments = ("--prunegate-limit=10", "--prunegate-decide=confident", "-n2", "-v", "--dist=worksteal")
    result = project.run(*arguments, "-x", "--junitxml=junit.xml", "-k", "not gsm8k")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*INCONCLUSIVE thresholds.yaml::squadv2::f1*", "INCOMPLETE, *1 inconclusive*"])
    assert cases(project) == [("boolq acc", []), ("squadv2 f1", ["inconclusive"])]
    again = project.run(*arguments, "--lf")
    assert again.ret == 11
    assert again.parseoutcomes() == {"inconclusive": 1}


@pytest.mark.slow
def test_a_worker_that_crashes_is_never_green(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KILL_AFTER", "100")  # in gsm8k
    result = project.run("-n2", "--junitxml=junit.xml", "-m", "not gsm8k")
    result.assert_outcomes(passed=3, errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines([
        "worker 'gw?' crashed while running 'thresholds.yaml::squadv2::f1'. Every answer so far is kept*",
        "boolq * PASS", "squadv2 * PASS", "INCOMPLETE: 2 of 3 checks measured: 2 passed",
    ])  # fmt: skip
    assert ("f1", ["error"]) in cases(project)
    assert len(lines(project, "asked")) == 120, "nothing was asked twice"


@pytest.mark.slow
def test_what_crashes_again_is_given_up(project: Bench) -> None:
    (project.path / "conftest.py").write_text(CONFTEST.replace('os.environ.get("KILL_AFTER") == str', "0 < "))
    result = project.run("-n2", "-m", "boolq or gsm8k")
    result.assert_outcomes(errors=2)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["The worker that measured crashed, and wrote no report. Every answer so far is kept*"])
    assert len(lines(project, "asked")) == 2


@pytest.mark.slow
def test_a_mistake_that_a_worker_meets_is_told_once(project: Bench) -> None:
    result = project.run("-n2", models=("--original=original", "--pruned=nowhere/at-all"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count("--pruned=nowhere/at-all: there is no such directory") == 1
    assert "node down" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dist=each", "--tx=2*popen"), "*--dist=each would measure on every worker.*-n0*"),
        (("-d", "--tx=ssh=elsewhere"), "*--tx=ssh=elsewhere: the gate measures*on this machine.*"),
        (("-n2", "--prunegate-limit=none"), "*--prunegate-limit=none: expected*"),
    ],
)
def test_mistakes_are_told_before_a_worker_starts(project: Bench, arguments: tuple[str, ...], message: str) -> None:
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "workers" not in result.stdout.str()


def test_collecting_starts_no_worker(project: Bench) -> None:
    result = project.run("-n2", "--collect-only", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc", "3 tests collected*"])
    assert not (project.path / ".prunegate").exists()


@pytest.mark.slow
def test_a_baseline_without_a_terminal(project: Bench) -> None:
    result = project.run("-n2", "--prunegate-baseline-only", "-p", "no:terminal", models=("--original=original",))
    assert result.ret == 0
    figures = json.loads((project.results / "baseline_results.json").read_text())
    assert figures["tasks"]["gsm8k"] == {"exact_match,strict-match": 1.0}


def test_no_worker_is_one_process(project: Bench) -> None:
    result = project.run("-n0", "-m", "boolq")
    assert result.ret == 0
    assert set(project.executor.loads) == {"original", "pruned"}


def failing(result: pytest.RunResult) -> list[str]:
    """The lines about the failing check: its own, and that of the short summary."""
    start = next(number for number, line in enumerate(result.outlines) if "FAILURES" in line)
    end = next(number for number, line in enumerate(result.outlines) if "Run it alone" in line)
    summary = [line for line in result.outlines if "FAILED" in line and "relative drop" in line]
    return [line for line in result.outlines[start:end] if "[gw0]" not in line] + summary


@pytest.mark.slow
def test_a_failing_check_reads_as_in_one_process(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lines, their colours, and the short summary. JUnit has no colours, even where every process is to have them."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = ("--junitxml=junit.xml", "--color=yes", "-k", "gsm8k")
    distributed = failing(project.run("-n1", *arguments))
    junit = (project.path / "junit.xml").read_text()
    assert distributed == failing(project.run("-n0", *arguments))
    assert distributed[2].startswith("\x1b[31mthresholds.yaml:9: gsm8k")
    assert distributed[-1].endswith(" - relative drop 10.00%, threshold 1%")
    assert "document 3" in junit
    assert "\x1b" not in junit
    assert "#x1B" not in junit
