"""``--prunegate-template`` through a whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted import CONFTEST, TWO_TASKS

if TYPE_CHECKING:
    from conftest import Bench

OURS = {
    "original_model_results.json", "pruned_model_results.json", "comparison_results.json", "comparison_report.md", "comparison_report.html",
    "evaluation.log",
}  # fmt: skip


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(TWO_TASKS)
    bench.thresholds("{{ summary.verdict }} of {{ summary.models.pruned.path }}\n", "ci/chat.md.j2")
    return bench


def test_several_beside_our_reports(project: Bench) -> None:
    project.thresholds("<p>{{ summary.headline }}</p>", "page.html")
    result = project.run("--prunegate-template=ci/chat.md.j2", "--prunegate-template=page.html", "-m", "boolq")
    assert result.ret == 0
    assert {path.name for path in project.results.iterdir()} >= OURS | {"chat.md", "page.html"}
    assert (project.results / "chat.md").read_text() == "incomplete of pruned\n"
    assert (project.results / "page.html").read_text().startswith("<p>INCOMPLETE: 1 of 2 checks measured")
    result.stdout.fnmatch_lines(
        ["Own report: */prunegate-results/chat.md", "Own report: */prunegate-results/page.html"]
    )


def test_the_ini_file_names_one_a_line(project: Bench) -> None:
    project.thresholds("{{ summary.seed }}", "seed.txt")
    project.thresholds("[pytest]\nprunegate_template =\n    ci/chat.md.j2\n    seed.txt\n", "pytest.ini")
    assert project.run("-m", "boolq").ret == 0
    assert (project.results / "chat.md").is_file()
    assert (project.results / "seed.txt").read_text() == "1234"
    alone = project.run("--prunegate-baseline-only", models=("--original=original",))
    assert alone.ret == 0, "what the project sets once is no mistake"


@pytest.mark.parametrize("arguments", [(), pytest.param(("-n1",), marks=pytest.mark.slow)])
def test_one_that_fails_loses_nothing_else(project: Bench, arguments: tuple[str, ...]) -> None:
    project.thresholds("a\n{{ summary.headlin }}", "broken.md.j2")
    (project.path / "conftest.py").write_text(CONFTEST)
    models = ("--original=original", "--pruned=pruned")
    result = project.run(
        "--prunegate-template=broken.md.j2",
        "--prunegate-template=ci/chat.md.j2",
        "--color=yes",
        *arguments,
        models=models,
    )
    assert result.ret == 10, "all passed, but a report that was asked for is missing"
    result.stdout.re_match_lines([
        r"\x1b\[31m.*broken.md.j2:2: UndefinedError: .* has no attribute 'headlin'. broken.md was not written; docs/templates.md lists .*",
    ])  # fmt: skip
    assert "Report: " in result.stdout.str()
    assert {path.name for path in project.results.iterdir()} == OURS | {"chat.md", "changed.jsonl", "history.jsonl"}


def test_a_failure_outranks_it(project: Bench) -> None:
    project.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 1%"))
    project.thresholds("{{ nothing }}", "broken.md.j2")
    result = project.run("--prunegate-template=broken.md.j2", "-m", "boolq")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["Run it alone: pytest * --prunegate-template=broken.md.j2 thresholds.yaml::boolq::acc"]
    )


def test_mistakes_are_told_before_a_model_is_looked_for(project: Bench) -> None:
    project.thresholds("a\n{% if %}", "broken.md.j2")
    arguments = ("--prunegate-template=broken.md.j2", "--prunegate-template=nowhere.md")
    result = project.run(*arguments, models=("--original=nowhere/at-all", "--pruned=pruned"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*broken.md.j2:2: *", "*--prunegate-template=nowhere.md: there is no such file*"])
    assert project.executor.loads == []
    alone = project.run(
        "--prunegate-template=ci/chat.md.j2", "--prunegate-baseline-only", models=("--original=original",)
    )
    assert alone.ret == pytest.ExitCode.USAGE_ERROR
    alone.stderr.fnmatch_lines(["*measures the original alone: take --prunegate-template out*"])
