"""A run under GitHub's runner: what the job shows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.scripted import CONFTEST, TWO_TASKS, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


@pytest.fixture
def job(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """A project in a folder of a repository; boolq loses more than its threshold allows, by two answers."""
    bench.models(pruned={"wrong": [3, 7]})
    bench.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 5%"))
    (bench.path / "conftest.py").write_text(CONFTEST)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(bench.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(bench.path / "step-summary"))
    return bench


def commands(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("::")]


@pytest.mark.parametrize("arguments", [("-q",), pytest.param(("-n1", "--color=yes"), marks=pytest.mark.slow)])
def test_summary_and_annotations_once(job: Bench, arguments: tuple[str, ...]) -> None:
    result = job.run(*arguments)
    assert result.ret == 1
    [command] = commands(result)
    assert command.startswith(
        f"::error file={job.path.name}/thresholds.yaml,line=5,title=boolq%3A%3Aacc FAIL::boolq acc 1.0000 -> 0.9000"
    )
    report = (job.results / "comparison_report.md").read_text()
    assert (job.path / "step-summary").read_text() == report


def test_a_job_without_a_failure_and_without_a_summary_of_its_own(job: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(job.path / "nowhere" / "summary"))
    result = job.run("-m", "squadv2")
    assert result.ret == 0, "what CI cannot show fails nothing"
    assert commands(result) == []
    result.stdout.fnmatch_lines(["The job's summary was not written (GITHUB_STEP_SUMMARY=*nowhere*): *"])


def test_a_task_that_only_the_command_line_names_has_no_line(job: Bench) -> None:
    job.thresholds(TWO_TASKS.partition("  squadv2:")[0].replace("acc: 50%", "acc: 5%"))
    result = job.run("--prunegate-tasks=boolq,piqa")
    assert result.ret == 1
    first, *others = commands(result)
    assert first.startswith(f"::error file={job.path.name}/thresholds.yaml,line=5,title=boolq%3A%3Aacc FAIL::")
    assert others
    assert all(command.startswith("::error title=piqa%3A%3A") for command in others)


def test_several_candidates_share_summary_and_annotations(job: Bench) -> None:
    write_checkpoint(job.path / "other", wrong=[1])
    (job.path / "seed.txt.j2").write_text("{{ summary.models.pruned.name }}")
    models = ("--original=original", "--pruned=wanda50=pruned", "--pruned=sparse=other")
    result = job.run("-m", "boolq", "--prunegate-template=seed.txt.j2", models=models)
    [command] = commands(result)
    assert ",title=boolq%3A%3Aacc[wanda50] FAIL::" in command
    overview, *reports = (
        (job.results / name).read_text()
        for name in ("candidates_report.md", "comparison_report_wanda50.md", "comparison_report_sparse.md")
    )
    unlinked = re.sub(r"\[\w+\]\(([^)]+)\)", r"`\1`", overview)  # the files are not where GitHub shows the summary
    assert unlinked != overview
    assert (job.path / "step-summary").read_text() == "\n".join([unlinked, *reports])
    assert {path.name: path.read_text() for path in job.results.glob("*.txt")} == {
        "seed_wanda50.txt": "wanda50",
        "seed_sparse.txt": "sparse",
    }
    assert result.stdout.str().count("Own report: ") == 2


def test_a_folder_that_takes_no_report_does_not_keep_the_job_from_its_summary(job: Bench) -> None:
    (job.results / "comparison_report.html").mkdir(parents=True)
    result = job.run("-m", "boolq")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["the reports could not be written to *"])
    assert (job.path / "step-summary").read_text().startswith("# INCOMPLETE, FAIL: 1 of 2 checks measured")
    assert len(commands(result)) == 1
