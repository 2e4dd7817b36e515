"""Ways in which pytest alone would be green, or lose a project's settings, without a model being compared."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from support.scripted import BOOLQ, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

THRESHOLDS = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(THRESHOLDS)
    bench.pytester.makepyfile(**{"tests/test_own": "def test_own(): pass"})
    return bench


def test_testpaths_do_not_hide_the_thresholds(project: Bench) -> None:
    project.pytester.makeini("[pytest]\ntestpaths = tests\n")
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc*PASSED*"])


def test_explicit_paths_without_a_check_are_a_usage_error(project: Bench) -> None:
    result = project.run("tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*neither a check nor a test that uses the fixture prunegate was collected*"])


def test_explicit_paths_with_the_thresholds(project: Bench) -> None:
    project.run("tests", "thresholds.yaml").assert_outcomes(passed=2)


def test_another_yaml_is_not_ours(project: Bench) -> None:
    project.thresholds(THRESHOLDS, name="other/thresholds.yaml")
    project.run("other", "thresholds.yaml").assert_outcomes(passed=1)


def test_rootdir_moved_by_a_model_path_is_noticed(project: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    project.pytester.makeini("[pytest]\nprunegate_seed = 7\n")
    models = _models_elsewhere(tmp_path_factory)
    result = project.run(models=("--original", f"{models}/a", "--pruned", f"{models}/b"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Write the options with an equals sign: --original=... --pruned=....*"])
    assert project.run(models=(f"--original={models}/a", f"--pruned={models}/b")).ret == 0


def test_rootdir_moved_without_any_configuration_is_harmless(
    project: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = _models_elsewhere(tmp_path_factory)
    result = project.run("-v", models=("--original", f"{models}/a", "--pruned", f"{models}/b"))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*thresholds.yaml::boolq::acc*PASSED*"])
    assert (project.path / "prunegate-results" / "comparison_report.md").is_file()


STANDING = "[pytest]\naddopts = --original=original --pruned=pruned\n"


@pytest.mark.parametrize("testpaths", ["", "testpaths = tests\n"])
def test_models_in_addopts_run_checks_and_tests_together(project: Bench, testpaths: str) -> None:
    project.pytester.makeini(STANDING + testpaths)
    result = project.run("-v", models=())
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["thresholds.yaml::boolq::acc*PASSED*", "tests/test_own.py::test_own PASSED*"])


@pytest.mark.parametrize(
    "arguments", [("tests",), ("-k", "own"), pytest.param(("tests", "-n1"), marks=pytest.mark.slow)]
)
def test_models_in_addopts_leave_a_run_of_other_tests_alone(project: Bench, arguments: tuple[str, ...]) -> None:
    project.pytester.makeini(STANDING)
    result = project.run(*arguments, models=())
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 1
    if "-n1" not in arguments:
        result.stdout.fnmatch_lines(
            ["prunegate: none of these tests asks the gate, so that the models are not compared"]
        )
    assert not project.executor.requests


SPLIT = """
def pytest_addoption(parser):
    parser.addoption("--splits", type=int)
    parser.addoption("--group", type=int)

def pytest_collection_modifyitems(config, items):  # as pytest-split does
    if config.getoption("splits"):
        mine = items[config.getoption("group") - 1 :: config.getoption("splits")]
        config.hook.pytest_deselected(items=[item for item in items if item not in mine])
        items[:] = mine
"""


def test_a_part_of_the_tests_without_a_check_is_no_mistake(project: Bench) -> None:
    if not importlib.util.find_spec("pytest_split"):
        project.pytester.makeconftest(SPLIT)
    results = [project.run("tests", "thresholds.yaml", "--splits=3", f"--group={group}") for group in (1, 2, 3)]
    assert [(result.ret, result.parseoutcomes().get("passed", 0)) for result in results] == [(0, 1), (0, 1), (5, 0)]
    assert "models are not compared" in results[0].stdout.str()
    assert "models are not compared" not in results[1].stdout.str()


def test_a_thresholds_file_among_the_paths_is_taken(project: Bench) -> None:
    for folder, metric in (("a", "acc: 50%"), ("b", "acc: 1%")):
        project.thresholds(
            THRESHOLDS.replace("data/", "../data/").replace("acc: 50%", metric), name=f"{folder}/thresholds.yaml"
        )
    assert project.run("a/thresholds.yaml").ret == 0
    result = project.run("b/thresholds.yaml::boolq")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["b/thresholds.yaml:4: boolq acc: *"])
    result = project.run("a/thresholds.yaml", "b/thresholds.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*a run has one thresholds file, and 2 are named: */a/thresholds.yaml, */b/thresholds.yaml. *"]
    )


def test_without_models_the_plugin_does_nothing(project: Bench) -> None:
    result = project.run(models=())
    result.assert_outcomes(passed=1)
    assert not (project.path / ".prunegate").exists()


def test_inactive_fixtures_skip_and_say_why(project: Bench) -> None:
    project.pytester.makepyfile(**{"tests/test_own": """
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_one(prunegate): raise AssertionError
        def test_each(prunegate_check): raise AssertionError
        """})  # fmt: skip
    result = project.run("-rs", models=())
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*needs --original and --pruned*"])


def _models_elsewhere(factory: pytest.TempPathFactory) -> Path:
    folder = factory.mktemp("models")
    write_checkpoint(folder / "a")
    write_checkpoint(folder / "b", wrong=[1])
    return folder
