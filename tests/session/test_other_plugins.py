"""Beside plugins that repeat, end and shuffle tests, and without those of pytest's own that can be left out."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from support.scripted import CONFTEST, THREE_TASKS

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from conftest import Bench

CHECKS = ["boolq::acc", "gsm8k::exact_match,strict-match", "squadv2::f1"]


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(THREE_TASKS)
    return bench


KNOWS_MODES = version("pytest-rerunfailures") >= "16.2"


@pytest.mark.parametrize(
    "how",
    [
        ("--reruns=2",),
        ("--force-reruns=1",),
        pytest.param(
            ("--reruns=1", "--reruns-mode=append"),
            marks=pytest.mark.skipif(not KNOWS_MODES, reason="this version repeats in one way"),
        ),
    ],
)
def test_a_check_is_not_repeated(project: Bench, how: tuple[str, ...]) -> None:
    result = project.run(*how, "--junitxml=junit.xml", "-k", "boolq or gsm8k")
    assert result.parseoutcomes() == {"passed": 1, "failed": 1, "deselected": 1}
    assert result.ret == 1
    assert len(project.executor.requests) == 120
    suite = next(ET.parse(project.path / "junit.xml").getroot().iter("testsuite"))  # noqa: S314 - our own file
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("2", "1", "0")
    for case in suite.iter("testcase"):
        names = Counter(item.get("name") for item in case.iter("property"))
        assert names["prunegate_verdict"] == 1
        assert set(names.values()) == {1}


@pytest.mark.skipif(not importlib.util.find_spec("pytest_retry"), reason="pytest-retry is not installed")
def test_pytest_retry_finds_what_it_looks_for(project: Bench) -> None:
    """It reads what test functions have, and repeats what failed: a check has the one, and is measured once."""
    (project.path / "conftest.py").write_text(CONFTEST.replace('"PYTEST_XDIST_WORKER" in os.environ', "True"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--original=original",
        "--pruned=pruned",
        "--retries=2",
        "-p",
        "no:randomly",
    ]
    result = subprocess.run(
        [*command, "-k", "boolq or gsm8k"], cwd=project.path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "INTERNALERROR" not in result.stdout
    assert "1 failed, 1 passed" in result.stdout
    assert len((project.path / "asked").read_text().splitlines()) == 120, "measured once"


def test_an_inconclusive_check_stays_inconclusive(project: Bench) -> None:
    result = project.run("--reruns=2", "--prunegate-limit=10", "--prunegate-decide=confident", "-k", "squadv2")
    assert result.parseoutcomes() == {"inconclusive": 1, "deselected": 2}
    assert result.ret == 11


def test_what_broke_is_not_measured_again(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def fails(*arguments: Any) -> None:
        tries.append(arguments)
        raise ModelError("the device is gone")

    monkeypatch.setattr(project.executor, "load", fails)
    project.pytester.makepyfile(
        test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate): pass
        """
    )
    result = project.run("--reruns=2", "test_own.py", "thresholds.yaml::boolq")
    assert result.parseoutcomes() == {"errors": 2, "rerun": 2}, "a test of the user's own is repeated, as asked"
    assert result.ret == 1
    assert len(tries) <= 2, "by the probe of the time, and by the measurement"
    assert project.run("--reruns=2", "thresholds.yaml::boolq").ret == 10


def test_a_test_that_is_repeated_measures_once(project: Bench) -> None:
    project.pytester.makepyfile(
        test_own="""
        import pytest
        tries = []
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate):
            tries.append(prunegate.compare("boolq", "acc").relative_drop)
            assert len(tries) == 2
        """
    )
    result = project.run("--reruns=2", "test_own.py")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert len(project.executor.requests) == 80


@pytest.mark.slow
def test_a_measurement_is_not_timed_out(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    load = project.executor.load

    def slowly(*arguments: Any) -> None:
        load(*arguments)
        time.sleep(0.3)

    monkeypatch.setattr(project.executor, "load", slowly)
    project.pytester.makepyfile(
        test_own="""
        import time
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate): pass
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_slow(prunegate): time.sleep(5)
        """
    )
    began = time.monotonic()
    options = ("--timeout=0.2", "--strict-markers", "-m", "not timeout and not flaky")
    result = project.run("test_own.py::test_mine", "thresholds.yaml", "test_own.py::test_slow", *options)
    assert result.parseoutcomes() == {"passed": 3, "failed": 2}
    result.stdout.fnmatch_lines(["*Failed: Timeout*0.2*", "FAILED test_own.py::test_slow*"])
    assert time.monotonic() - began < 15, "the user's own limit holds for what is not the gate's"


def test_shuffled_tests_ask_the_same(project: Bench) -> None:
    project.pytester.makepyfile(
        **{
            f"test_{name}": """
        import random
        import pytest
        @pytest.mark.prunegate(tasks=["gsm8k"])
        def test_mine(prunegate): random.random()
        def test_other(): random.random()
        """
            for name in "abc"
        }
    )
    where = ("thresholds.yaml", "test_a.py", "test_b.py", "test_c.py", "-v")
    assert project.run(*where).parseoutcomes() == {"passed": 8, "failed": 1}
    expected = set(project.executor.requests)
    orders = set()
    for seed in (1, 2, 3):
        project.executor.requests.clear()
        project.executor.loads.clear()
        result = project.run(*where, "-p", "randomly", f"--randomly-seed={seed}", f"--prunegate-store=store{seed}")
        assert result.parseoutcomes() == {"passed": 8, "failed": 1}
        assert set(project.executor.requests) == expected
        assert len(project.executor.requests) == len(expected)
        assert len(project.executor.loads) <= 2 * len(CHECKS) + 2, "no swap but those of the tasks, and of the probe"
        run = re.findall(r"^(\S+::.+?) (?:PASSED|FAILED) ", result.stdout.str(), flags=re.MULTILINE)
        assert [name.removeprefix("thresholds.yaml::") for name in run if name.startswith("thresholds")] == CHECKS
        orders.add(tuple(run))
    assert len(orders) > 1, "the user's tests were shuffled"


def test_the_order_that_was_asked_for_is_kept(project: Bench) -> None:
    result = project.run("thresholds.yaml::squadv2", "thresholds.yaml::boolq", "-v")
    result.stdout.fnmatch_lines(["*squadv2::f1 PASSED*", "*boolq::acc PASSED*"])


@pytest.mark.parametrize(
    "without",
    [("cacheprovider",), ("terminal",), ("capture",), ("logging", "junitxml"),
     ("cacheprovider", "terminal", "capture", "logging", "junitxml", "warnings", "faulthandler")],
    ids="+".join,
)  # fmt: skip
def test_without_a_part_of_pytest(project: Bench, without: tuple[str, ...]) -> None:
    result = project.run(*(argument for name in without for argument in ("-p", f"no:{name}")), "-m", "not squadv2")
    assert result.ret == 1
    summary = json.loads((project.results / "comparison_results.json").read_text())
    assert [check["outcome"] for check in summary["checks"]] == ["pass", "fail", "not run"]
    assert len(list(project.results.iterdir())) == 8
