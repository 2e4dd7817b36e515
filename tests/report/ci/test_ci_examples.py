"""The example workflows, as far as they can be tried without the servers: their schemas, and their steps in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from junitparser import JUnitXml
from support.scripted import CONFTEST, TWO_TASKS

if TYPE_CHECKING:
    from conftest import Bench

FOLDER = Path(__file__).parents[3] / "docs" / "ci"
GITHUB: dict[str, Any] = yaml.safe_load((FOLDER / "github.yml").read_text())
GITLAB: dict[str, Any] = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
STEPS = {step["name"]: step["run"] for job in GITHUB["jobs"].values() for step in job["steps"] if "run" in step}
SCRIPT: list[str] = GITLAB["prunegate"]["script"]
VERDICT = STEPS["One of them judged everything"]


@pytest.mark.parametrize(
    ("file", "schema"), [("github.yml", "vendor.github-workflows"), ("gitlab-ci.yml", "vendor.gitlab-ci")]
)
def test_the_platforms_schemas(file: str, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(FOLDER / file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("script", [*STEPS.values(), *GITLAB["prunegate"]["before_script"], *SCRIPT])
def test_every_step_is_shell(script: str) -> None:
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "${{" not in script, "a value of others goes through the environment, not into the script"


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the runners do: bash, ended by the first command that fails."""
    (folder / "step.sh").write_text(script)
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
    return subprocess.run(command, cwd=folder, env=os.environ | environ, capture_output=True, text=True, check=False)


def stub(folder: Path, code: int) -> str:
    """A PATH on which pytest does nothing but end so."""
    (folder / "bin").mkdir()
    (folder / "bin" / "pytest").write_text(f"#!/bin/sh\nexit {code}\n")
    (folder / "bin" / "pytest").chmod(0o755)
    return f"{folder / 'bin'}:{os.environ['PATH']}"


@pytest.mark.parametrize("name", ["Measure the baseline", "Gate"])
@pytest.mark.parametrize("attempt", ["first", "again"])
@pytest.mark.parametrize("code", [0, 1, 2, 4, 10, 11])
def test_only_a_first_attempt_that_was_stopped_is_not_red(tmp_path: Path, name: str, attempt: str, code: int) -> None:
    output = tmp_path / "output"
    output.touch()
    ended = shell(
        STEPS[name],
        tmp_path,
        PATH=stub(tmp_path, code),
        ATTEMPT=attempt,
        GITHUB_OUTPUT=str(output),
        ORIGINAL="a",
        PRUNED="b",
    )
    stopped = code == 2 and attempt == "first"
    assert ended.returncode == (0 if stopped else code)
    assert output.read_text() == ("stopped=true\n" if stopped else "")


@pytest.mark.parametrize(
    ("first", "stopped", "again", "is_green"),
    [
        ("success", "", "skipped", True), ("failure", "", "skipped", False), ("cancelled", "", "skipped", False),
        ("success", "true", "success", True), ("success", "true", "failure", False), ("success", "true", "skipped", False),
    ],
)  # fmt: skip
def test_the_required_check(tmp_path: Path, first: str, stopped: str, again: str, *, is_green: bool) -> None:
    ended = shell(VERDICT, tmp_path, FIRST=first, STOPPED=stopped, AGAIN=again)
    assert (ended.returncode == 0) == is_green


def test_gitlab_s_first_attempt_leaves_no_half_baseline(tmp_path: Path) -> None:
    ended = shell("\n".join(SCRIPT), tmp_path, PATH=stub(tmp_path, 2), ORIGINAL="a", PRUNED="b")
    assert ended.returncode == 2, "the job is tried again at this code"
    assert GITLAB["prunegate"]["retry"] == {"max": 1, "exit_codes": [2]}
    assert not (tmp_path / "baseline").exists()


@pytest.fixture
def project(bench: Bench, index_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A repository whose pruned model loses more than boolq's threshold allows."""
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 5%"))
    (bench.path / "conftest.py").write_text(CONFTEST.replace('if "PYTEST_XDIST_WORKER" in os.environ:', "if True:"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv(
        "PYTEST_ADDOPTS",
        f"--prunegate-cache-dir={index_dir} --prunegate-device=cpu -p no:hypothesispytest -p no:randomly",
    )
    for name, value in {"ORIGINAL": "original", "PRUNED": "wanda50=pruned"}.items():
        monkeypatch.setenv(name, value)
    return bench


def asked(project: Bench) -> list[str]:
    """Which model answered each of the requests so far."""
    return [line.split()[1] for line in (project.path / "asked").read_text().splitlines()]


@pytest.mark.slow
def test_the_steps_on_github(project: Bench) -> None:
    folder = project.path
    runner = {
        "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder), "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_OUTPUT": str(folder / "output"), "ATTEMPT": "first",
    }  # fmt: skip
    baseline = shell(STEPS["Measure the baseline"], folder, **runner)
    assert baseline.returncode == 0, baseline.stdout + baseline.stderr
    assert set(asked(project)) == {"original"}
    assert not (folder / "summary").exists(), "nothing was compared"
    gate = shell(STEPS["Gate"], folder, **runner)
    assert gate.returncode == 1, gate.stdout + gate.stderr
    assert asked(project) == ["original"] * 60 + ["pruned"] * 60, "the original was not asked again"
    annotations = [line for line in gate.stdout.splitlines() if line.startswith("::")]
    assert len(annotations) == 1
    assert annotations[0].startswith(
        "::error file=thresholds.yaml,line=5,title=boolq%3A%3Aacc FAIL::boolq acc 1.0000 -> 0.9000"
    )
    assert (folder / "summary").read_text().startswith("# FAIL: 2 of 2 checks measured: 1 failed, 1 passed\n")
    assert not (folder / "output").exists(), "it was not stopped"


@pytest.mark.slow
def test_the_script_on_gitlab(project: Bench) -> None:
    folder = project.path
    job = shell("\n".join(SCRIPT), folder)
    assert job.returncode == 1, job.stdout + job.stderr
    assert (folder / "baseline" / "baseline.json.gz").is_file()
    for path in GITLAB["prunegate"]["artifacts"]["paths"]:
        assert (folder / path).exists()
    suites = JUnitXml.fromfile(str(folder / GITLAB["prunegate"]["artifacts"]["reports"]["junit"]))
    assert (suites.tests, suites.failures, suites.errors) == (2, 1, 0)
