"""Ways in which pytest alone would be green, or lose a project's settings, without a model being compared."""

from __future__ import annotations

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
