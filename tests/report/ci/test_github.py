"""Where CI looks: the job's summary, and annotations on the lines of the thresholds file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.golden import assert_golden
from support.hostile_texts import HOSTILE
from support.made_summary import made_check, made_model, made_summary, ten_checks

from pytest_prunegate.report.ci.github import LIMIT, append_step_summary, check_annotations
from pytest_prunegate.report.page.renderer import render

RUNNER = {"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/builds/project"}
FILE = Path("/builds/project/models/thresholds.yaml")
ROOT = Path("/builds/project/models")


def commands(*checks: object, environ: dict[str, str] = RUNNER, thresholds: Path | None = FILE) -> list[str]:
    summary = made_summary(tuple(checks) or None)  # type: ignore[arg-type]
    return list(check_annotations([summary], thresholds=thresholds, rootdir=ROOT, environ=environ))


def test_the_annotations_of_every_kind_of_check() -> None:
    earlier = replace(ten_checks()[2], task="piqa", is_earlier=True, measured="2026-11-24T10:00:00+00:00", line=28)
    own = made_check(
        "boolq",
        "acc,100%",
        "fail",
        0.8,
        0.6,
        line=0,
        location="--prunegate-tasks",
        reason="two lines:\nthe second one, 5% worse",
    )
    assert_golden("annotations.txt", "".join(f"{line}\n" for line in commands(*ten_checks(), earlier, own)))


def test_outside_of_a_runner_there_are_none() -> None:
    assert commands(environ={}) == []
    assert commands(environ={"GITHUB_ACTIONS": "false"}) == []


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"GITHUB_ACTIONS": "true"}, "thresholds.yaml"),
        ({"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/elsewhere"}, "thresholds.yaml"),
        (RUNNER, "models/thresholds.yaml"),
    ],
)
def test_a_file_is_named_from_the_workspace_or_else_from_rootdir(environ: dict[str, str], named: str) -> None:
    assert all(f" file={named},line=" in line for line in commands(environ=environ))


def test_a_workspace_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    environ = RUNNER | {"GITHUB_WORKSPACE": str(tmp_path / "link")}
    assert "file=t.yaml," in commands(environ=environ, thresholds=tmp_path / "real" / "t.yaml")[0]


def test_the_package_s_own_thresholds_are_nobody_s_to_annotate() -> None:
    assert not any("file=" in line for line in commands(thresholds=None))
    assert len(commands(thresholds=None)) == 4


def test_what_github_would_not_show_is_named_in_the_last_one() -> None:
    checks = [made_check(f"task{number}", "acc", "error" if number < 9 else "fail", 0.8, 0.6) for number in range(15)]
    doubtful = [made_check("doubtful", "acc", "inconclusive", 0.8, 0.78)]
    found = commands(*checks, *doubtful)
    assert len([line for line in found if line.startswith("::error ")]) == 10
    assert "title=task9%3A%3Aacc FAIL::" in found[0], "failures first"
    assert "title=6 more checks::task3::acc ERROR, task4::acc ERROR, " in found[9]
    assert found[10].startswith("::warning file=models/thresholds.yaml,line=7,title=doubtful")


def test_candidates_are_told_apart() -> None:
    summaries = [
        made_summary((ten_checks()[2],), models={"original": made_model("original"), "pruned": made_model("pruned", name=name)})
        for name in ("wanda50", "sparsegpt50")
    ]  # fmt: skip
    found = check_annotations(summaries, thresholds=FILE, rootdir=ROOT, environ=RUNNER)
    assert ["f1[wanda50] FAIL" in found[0], "f1[sparsegpt50] FAIL" in found[1]] == [True, True]


@pytest.mark.parametrize(
    "text",
    [*HOSTILE.values(), "x\n::error file=a::forged", "x\r\n::stop-commands::t", "%0A::add-mask::x", "a::b,c=d:e"],
)
def test_no_text_forges_another_command(text: str) -> None:
    [line] = commands(made_check(text, text, "fail", 0.8, 0.6, reason=text))
    assert "\n" not in line
    assert "\r" not in line
    assert len(line) < 20_000
    properties = line.removeprefix("::error ").split("::", 1)[0]
    assert [entry.split("=", 1)[0] for entry in properties.split(",")] == ["file", "line", "title"]


class TestStepSummary:
    def test_runs_of_one_step_append(self, tmp_path: Path) -> None:
        environ = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        (tmp_path / "summary").write_text("of a step before, without an end")
        summary = made_summary()
        assert append_step_summary([summary], environ=environ) is None
        assert append_step_summary([summary, summary], lead="# Two candidates\n", environ=environ) is None
        report = render(summary, "report.md.j2")
        assert (tmp_path / "summary").read_text() == (
            f"of a step before, without an end\n{report}\n# Two candidates\n\n{report}\n{report}"
        )

    def test_nothing_is_written_where_nobody_asks(self, tmp_path: Path) -> None:
        assert append_step_summary([made_summary()], environ={}) is None

    def test_a_file_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        for name in (str(tmp_path), str(tmp_path / "missing" / "file"), "a\0b"):
            problem = append_step_summary([made_summary()], environ={"GITHUB_STEP_SUMMARY": name})
            assert problem is not None
            assert problem.startswith("The job's summary was not written")

    def test_what_github_would_not_take_is_cut_at_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "summary"
        checks = tuple(made_check(f"task{number}", "acc", "fail", 0.8, 0.6, reason="é" * 500) for number in range(2000))
        assert append_step_summary([made_summary(checks)], environ={"GITHUB_STEP_SUMMARY": str(file)}) is None
        *lines, last = file.read_text().rstrip().split("\n")
        assert file.stat().st_size <= LIMIT
        assert file.stat().st_size > LIMIT - 5000
        assert lines[-3].endswith("(thresholds.yaml:7)")
        assert last.startswith("**The report is cut here:**")
        with file.open("a") as more:
            more.write("x" * (LIMIT - file.stat().st_size - 10))
        problem = append_step_summary([made_summary()], environ={"GITHUB_STEP_SUMMARY": str(file)})
        assert problem is not None
        assert "is full" in problem
        assert file.stat().st_size <= LIMIT

    def test_a_fence_that_is_cut_is_closed(self, tmp_path: Path) -> None:
        file = tmp_path / "summary"
        file.write_text("x" * (LIMIT - 9000) + "\n")
        long = made_summary(command="\n".join(["pytest"] * 3), libraries={"x" * 9000: "1"})
        assert append_step_summary([long], environ={"GITHUB_STEP_SUMMARY": str(file)}) is None
        text = file.read_text()
        assert text.count("```") == 2
        assert "cut here" in text
