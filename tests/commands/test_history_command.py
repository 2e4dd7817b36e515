"""Runs that add to the history, and the command that shows it."""

from __future__ import annotations

import json
import re
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import TWO_TASKS, write_checkpoint

from pytest_prunegate.__main__ import main
from pytest_prunegate.report.history.records import HISTORY_FILE, read_history

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(TWO_TASKS)
    return bench


def lines(project: Bench) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.results / HISTORY_FILE).read_text().splitlines()]


@pytest.mark.slow
def test_each_finished_run_adds_a_line(
    project: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_COMMIT_SHA", "beef" * 10)
    project.run()
    project.executor.requests.clear()
    time.sleep(1)  # runs are told apart by the second in which they began
    project.run()  # all of it from the store: it is another run
    assert project.executor.requests == []
    time.sleep(1)
    project.run("-m", "boolq")
    first, second, third = lines(project)
    assert first["commit"] == "beef" * 10
    assert shlex.split(first["command"])[:3] == ["pytest", "--original=original", "--pruned=pruned"]
    assert [check["is_earlier"] for check in first["checks"] + second["checks"]] == [False] * 4
    by_task = {check["task"]: check for check in third["checks"]}
    assert by_task["squadv2"]["is_earlier"], "measured by the second run"
    assert by_task["squadv2"]["measured"] == second["started"]
    assert read_history([project.results]).problems == ()
    capsys.readouterr()
    assert main(["history", str(project.results), "--html", str(project.path / "history.html")]) == 0
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if "::" in line] == ["boolq::acc", "squadv2::f1"]
    assert out.count(" PASS") == 6
    assert out.count(" PASS =\n") == 1
    assert re.search(r"history.html: 2 metrics over \d runs$", err)
    page = (project.path / "history.html").read_text()
    assert "2 measurements of pruned." in page, "squadv2 was measured twice and told three times"


def test_another_model_of_the_same_name_is_marked(project: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(project.path / "other", wrong=[1, 2])
    for path in ("pruned", "other"):
        project.run(models=("--original=original", f"--pruned=wanda={path}"))
    capsys.readouterr()
    main(["history", str(project.results), "--task=boolq"])
    assert "- another pruned model under the same name (" in capsys.readouterr().out


def test_a_history_that_cannot_be_written_costs_no_report(project: Bench) -> None:
    (project.results / HISTORY_FILE).mkdir(parents=True)
    result = project.run()
    result.stdout.fnmatch_lines(["*history.jsonl could not be added to (Is a directory); all other files are there*"])
    assert (project.results / "comparison_report.html").is_file()
    assert result.ret != 0


def test_a_run_that_was_stopped_adds_nothing(project: Bench) -> None:
    project.executor.fail_after = 25
    project.run()
    assert (project.results / "comparison_results.json").is_file()
    assert not (project.results / HISTORY_FILE).exists()
    project.executor.fail_after = None
    project.run()
    assert len(lines(project)) == 1


def test_candidates_of_one_run_stand_side_by_side(project: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(project.path / "other", wrong=[1, 2])
    project.run(models=("--original=original", "--pruned=one=pruned", "--pruned=two=other"))
    first, second = lines(project)
    assert (first["models"]["pruned"]["name"], second["models"]["pruned"]["name"]) == ("one", "two")
    assert first["started"] == second["started"]
    capsys.readouterr()
    main(["history", str(project.results), "--html", str(project.path / "history.html")])
    assert capsys.readouterr().err.endswith("2 metrics over 1 runs\n")
    assert "2 measurements of one, two." in (project.path / "history.html").read_text()
