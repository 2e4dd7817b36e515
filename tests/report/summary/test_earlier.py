"""Runs on several days into one output folder: one report of what is equal, and nothing joined by name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import TWO_TASKS, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(TWO_TASKS)
    return bench


def summary(project: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / "comparison_results.json").read_text())
    return found


def archived(project: Bench) -> list[Path]:
    return sorted((project.results / "archive").glob("*")) if (project.results / "archive").exists() else []


def test_another_models_scores_are_moved_away_whichever_version_wrote_them(project: Bench) -> None:
    project.run()
    path = project.results / "original_model_results.json"
    foreign = '{"version": 1, "fingerprint": "of another model"}'
    path.write_text(foreign)
    project.run()
    (folder,) = archived(project)
    assert (folder / path.name).read_text() == foreign
    assert json.loads(path.read_text())["version"] == 2


def test_two_days_end_in_one_report(project: Bench) -> None:
    first = project.run("-m", "boolq")
    first.stdout.fnmatch_lines(["INCOMPLETE: 1 of 2 checks measured: 1 passed"])
    scale = summary(project)["checks"][0]["scale"]
    assert (scale["drop"], scale["limit"]) == (0.05, 0.5)
    project.executor.requests.clear()
    second = project.run("-m", "squadv2")
    second.stdout.fnmatch_lines([
        "boolq *acc * 1.0000 *0.9500 * PASS (20*-*-*)", "squadv2 *f1 *PASS",
        "PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed",
    ])  # fmt: skip
    assert {len(request.context.split("Background")) for _, request in project.executor.requests} == {2}, (
        "squadv2 alone was asked"
    )
    report = (project.results / "comparison_report.md").read_text()
    assert report.startswith("# PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed")
    assert "A date: measured by an earlier run" in report
    original = json.loads((project.results / "original_model_results.json").read_text())
    assert original["tasks"] == {"boolq": {"acc": 1.0}, "squadv2": {"f1": 0.75}}
    found = summary(project)
    assert [check["is_earlier"] for check in found["checks"]] == [True, False]
    assert found["checks"][0]["scale"] == scale, "the plots show it too"
    assert [task["name"] for task in found["tasks"]] == ["squadv2", "boolq"]
    assert archived(project) == []
    third = project.run("-m", "boolq")
    third.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
    assert archived(project) == [], "the same again is no stale result"


def test_another_pruned_model_makes_the_earlier_results_stale(project: Bench) -> None:
    project.run("-m", "boolq")
    project.run("-m", "squadv2")
    before = (project.results / "comparison_results.json").read_text()
    shutil.rmtree(project.path / "pruned")
    write_checkpoint(project.path / "pruned", wrong=[19, 18])
    result = project.run("-m", "squadv2")
    result.stdout.fnmatch_lines([
        "Not run: boolq::acc.",
        "Stale: boolq::acc of *: another pruned model, or loaded otherwise.",
        "Stale: squadv2::f1 of *: another pruned model, or loaded otherwise.",
        "Moved the stale results to *prunegate-results/archive/*.",
        "INCOMPLETE: 1 of 2 checks measured: 1 passed",
    ])  # fmt: skip
    (folder,) = archived(project)
    assert (folder / "comparison_results.json").read_text() == before, "nothing is lost"
    assert {path.name for path in folder.iterdir()} == {
        "comparison_results.json", "comparison_report.md", "comparison_report.html",
        "original_model_results.json", "pruned_model_results.json", "changed.jsonl",
    }  # fmt: skip
    for name in ("comparison_report.md", "comparison_report.html"):
        assert "another pruned model" in (project.results / name).read_text()
    assert [check["outcome"] for check in summary(project)["checks"]] == ["not run", "pass"]
    project.run("-m", "boolq")
    assert [check["outcome"] for check in summary(project)["checks"]] == ["pass", "pass"]
    assert len(archived(project)) == 1


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        ("metrics: {acc: 50%}", ["--prunegate-limit=16"], "other settings"),
        ("metrics: {acc: 50%}", ["--prunegate-dtype=bfloat16"], "another original model, or loaded otherwise, another pruned model, or loaded otherwise"),
        ("num_fewshot: 0\n    system_instruction: Be brief.\n    metrics: {acc: 50%}", [], "other settings"),
    ],
)  # fmt: skip
def test_other_settings_are_not_joined(project: Bench, change: str, arguments: list[str], reason: str) -> None:
    project.run("-m", "boolq")
    project.thresholds(TWO_TASKS.replace("metrics: {acc: 50%}", change))
    result = project.run("-m", "squadv2", *arguments)
    result.stdout.fnmatch_lines([f"Stale: boolq::acc of *: {reason}.", "INCOMPLETE: 1 of 2 checks measured*: 1 passed"])
    assert len(archived(project)) == 1


def test_a_seed_counts_only_under_a_limit(project: Bench) -> None:
    project.run("-m", "boolq", "--prunegate-seed=1")
    project.run("-m", "squadv2", "--prunegate-seed=2").stdout.fnmatch_lines(["PASS: 2 of 2 checks measured*"])
    project.run("-m", "boolq", "--prunegate-seed=1", "--prunegate-limit=5")
    result = project.run("-m", "squadv2", "--prunegate-seed=2", "--prunegate-limit=5")
    result.stdout.fnmatch_lines(["Stale: boolq::acc of *: other settings."])


def test_other_data_is_not_joined(project: Bench) -> None:
    project.run("-m", "boolq")
    data = project.path / "data" / "boolq.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[:-1]))
    result = project.run("-m", "squadv2")
    result.stdout.fnmatch_lines(["Stale: boolq::acc of *: other data."])


def test_another_name_for_the_same_model_is_the_same_model(project: Bench) -> None:
    project.run("-m", "boolq")
    (project.path / "pruned").rename(project.path / "moved")
    result = project.run("-m", "squadv2", models=("--original=original", "--pruned=again=moved"))
    result.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
    assert json.loads((project.results / "pruned_model_results.json").read_text())["name"] == "again"
    assert archived(project) == []


def test_another_candidate_of_the_same_name_is_not_joined(project: Bench) -> None:
    write_checkpoint(project.path / "other", wrong=[1, 2])
    project.run("-m", "boolq", models=("--original=original", "--pruned=w50=pruned"))
    result = project.run("-m", "squadv2", models=("--original=original", "--pruned=w50=other"))
    result.stdout.fnmatch_lines(["Stale: boolq::acc of *: another pruned model, or loaded otherwise."])
    (folder,) = archived(project)
    assert (folder / "pruned_model_results.json").is_file()


def test_an_earlier_figure_is_judged_by_todays_threshold(project: Bench) -> None:
    project.run("-m", "boolq").assert_outcomes(passed=1)
    project.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 5%"))
    project.run("-m", "squadv2").stdout.fnmatch_lines(["boolq *acc *drop 5% *PASS (*)"])
    project.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 4%"))
    result = project.run("-m", "squadv2")
    assert result.ret == 0, "the exit code speaks of the checks that ran"
    result.stdout.fnmatch_lines(
        [
            "boolq *acc *drop 4% *FAIL (*)",
            "FAIL: 2 of 2 checks measured (1 by earlier runs): 1 failed, 1 passed",
        ]
    )
    assert "-5.00% relative (threshold: relative drop at most 4%). FAIL on all 20 documents." in (
        project.results / "comparison_report.md"
    ).read_text()  # fmt: skip


def test_a_check_that_left_the_file_is_stale(project: Bench) -> None:
    project.run("-m", "boolq")
    project.thresholds("tasks:\n  squadv2:" + TWO_TASKS.split("squadv2:")[1])
    project.run().stdout.fnmatch_lines(
        ["Stale: boolq::acc of *: no longer in the thresholds file.", "PASS: 1 of 1 checks measured: 1 passed"]
    )


@pytest.mark.parametrize("text", ["{", '{"version": 1}', "[]", '{"version": 2, "models": {}, "started": "", "tasks": [], "checks": [{"outcome": "pass", "task": "boolq", "name": "acc"}]}', '{"version": 2, "checks": [{"outcome": "pass"}], "tasks": []}'])  # fmt: skip
def test_results_that_cannot_be_read_are_moved_and_not_lost(project: Bench, text: str) -> None:
    project.results.mkdir()
    (project.results / "comparison_results.json").write_text(text)
    result = project.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["Stale: all::all of an earlier run: the earlier comparison_results.json is [nd]*"])  # fmt: skip
    (folder,) = archived(project)
    assert (folder / "comparison_results.json").read_text() == text


def test_the_figure_of_a_check_that_has_none_is_unreadable(project: Bench) -> None:
    project.run("-m", "boolq")
    path = project.results / "comparison_results.json"
    for old, new in (('"pruned": "19/20"', '"pruned": null'), ('"pruned": "19/20"', '"pruned": "1/0"')):
        text = path.read_text()
        path.write_text(text.replace(old, new))
        result = project.run("-m", "squadv2")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["Stale: all::all of an earlier run: * is damaged: *"])
        project.run("-m", "boolq")


def test_an_error_is_not_carried_to_another_day(project: Bench) -> None:
    data = project.path / "data" / "boolq.jsonl"
    text = data.read_text()
    data.write_text("{not json\n")
    project.run("-m", "boolq").assert_outcomes(errors=1)
    data.write_text(text)
    project.run("-m", "squadv2").stdout.fnmatch_lines(["INCOMPLETE: 1 of 2 checks measured: 1 passed"])
    assert archived(project) == []


def test_a_part_of_a_task_is_joined_where_its_data_is_the_same(project: Bench) -> None:
    project.thresholds(TWO_TASKS.replace("metrics: {f1: 50%}", "metrics: {f1: 50%, exact_match: 50%}"))
    project.run("-k", "f1")
    project.run("-k", "exact_match").stdout.fnmatch_lines(["INCOMPLETE: 2 of 3 checks measured (1 by earlier runs): 2 passed"])  # fmt: skip


def test_the_baseline_alone_fills_the_store(project: Bench) -> None:
    result = project.run("-v", "--junitxml=junit.xml", "--prunegate-baseline-only", models=("--original=original",))
    assert result.ret == 0
    result.stdout.fnmatch_lines([
        "thresholds.yaml::boolq::acc*BASELINE*",
        "boolq *acc *1.0000 *- *BASELINE",
        "BASELINE: 2 of 2 checks measured: 2 of the original alone, nothing compared",
        "*2 baseline*",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*passed*")
    found = json.loads((project.results / "baseline_results.json").read_text())
    assert found["tasks"] == {"boolq": {"acc": 1.0}, "squadv2": {"f1": 0.75}}
    assert {path.name for path in project.results.iterdir()} == {
        "baseline.json.gz", "baseline_results.json", "evaluation.log",
    }  # fmt: skip
    assert project.executor.loads == ["original"]
    project.executor.requests.clear()
    assert project.run().ret == 0
    assert {side for side, _ in project.executor.requests} == {"pruned"}, "the original was not asked again"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("--original=original", "--pruned=pruned"), "--prunegate-baseline-only measures the original alone: take --pruned out."),
        (("--original=original", "--prunegate-pruned-args=dtype=float32"), "--prunegate-baseline-only measures the original alone: take --prunegate-pruned-args out."),
        (("--pruned=pruned",), "--original is missing: --prunegate-baseline-only needs a model to measure."),
    ],
)  # fmt: skip
def test_a_baseline_with_a_candidate_is_refused(project: Bench, models: tuple[str, ...], message: str) -> None:
    result = project.run("--prunegate-baseline-only", models=models)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_a_users_test_cannot_compare_a_baseline(project: Bench) -> None:
    project.pytester.makepyfile(test_own="""
        import pytest
        @pytest.mark.prunegate(tasks=["boolq"])
        def test_mine(prunegate): pass
        """)  # fmt: skip
    result = project.run("test_own.py", "--prunegate-baseline-only", models=("--original=original",))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*this test compares two models, and --prunegate-baseline-only measures one.*"])


def test_what_was_archived_holds_again_when_its_settings_return(project: Bench) -> None:
    project.run("-m", "boolq")
    project.run("-m", "squadv2", "--prunegate-limit=5").stdout.fnmatch_lines(
        ["Stale: boolq::acc of *: other settings."]
    )
    result = project.run("-m", "squadv2")
    result.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
    assert json.loads((project.results / "original_model_results.json").read_text())["tasks"]["boolq"] == {"acc": 1.0}


def test_a_run_that_breaks_loses_no_earlier_figure(project: Bench) -> None:
    project.run("-m", "boolq")
    data = project.path / "data" / "boolq.jsonl"
    text = data.read_text()
    data.write_text("{not json\n")
    project.run("-m", "boolq").assert_outcomes(errors=1)
    data.write_text(text)
    project.run("-m", "squadv2").stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs)*"])


def test_an_error_of_the_same_check_keeps_the_earlier_figure_in_the_archive(
    project: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("-m", "boolq")
    with monkeypatch.context() as patch:
        patch.setattr("support.scripted._answer", lambda *_args, **_kwargs: 1 / 0)
        result = project.run("-m", "boolq", "--prunegate-store=new")
    result.stdout.fnmatch_lines(["Stale: boolq::acc of *: this run's ended in an error.", "INCOMPLETE, ERROR: 0 of 2*"])
    project.run("-m", "squadv2").stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs)*"])


def test_a_failure_of_an_earlier_run_is_told_beside_a_green_exit_code(project: Bench) -> None:
    project.thresholds(TWO_TASKS.replace("acc: 50%", "acc: 1%"))
    assert project.run("-m", "boolq").ret == 1
    result = project.run("-m", "squadv2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["Failed in an earlier run, and not in this run's exit code: boolq::acc."])


@pytest.mark.parametrize("change", ["include", "function", "data"])
def test_a_private_task_is_joined_only_while_all_its_files_are_the_same(project: Bench, change: str) -> None:
    folder = project.path / "mine"
    folder.mkdir()
    (folder / "_base.yaml").write_text(
        "output_type: multiple_choice\ndataset_path: json\ndataset_name: null\ntest_split: test\n"
        f"dataset_kwargs: {{data_files: {{test: {project.path}/data/boolq.jsonl}}}}\n"
        "doc_to_text: '{{question}}'\ndoc_to_target: label\ndoc_to_choice: !function utils.choices\nmetric_list: [{metric: acc}]\n"
    )
    (folder / "mine.yaml").write_text("include: _base.yaml\ntask: mine\n")
    (folder / "utils.py").write_text("def choices(doc):\n    return ['no', 'yes']\n")
    project.thresholds(TWO_TASKS.replace("tasks:\n", "tasks:\n  mine: {metrics: {acc: 50%}}\n"))
    project.run("--prunegate-include-path=mine", "-m", "mine").assert_outcomes(passed=1)
    path, old, new = {
        "include": (folder / "_base.yaml", "{{question}}", "{{question}}?"),
        "function": (folder / "utils.py", "'no', 'yes'", "'No', 'Yes'"),
        "data": (project.path / "data" / "boolq.jsonl", "Numbers.", "Counting."),
    }[change]
    path.write_text(path.read_text().replace(old, new))
    result = project.run("--prunegate-include-path=mine", "-m", "squadv2")
    result.stdout.fnmatch_lines(["Stale: mine::acc of *: other data.", "INCOMPLETE: 1 of 3*"])


def test_a_report_that_a_killed_run_left_half_written_is_cleared_away(bench: Bench) -> None:
    bench.models()
    bench.thresholds(TWO_TASKS)
    bench.results.mkdir()
    (bench.results / ".comparison_results.json.ab12").write_text("{")
    (bench.results / ".comparison_results.jsonl.mine").write_text("kept")
    assert bench.run().ret == 0
    assert not list(bench.results.glob(".comparison_results.json.*"))
    assert (bench.results / ".comparison_results.jsonl.mine").exists()


def test_two_runs_do_not_write_into_one_folder_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.report.files import report_files as files

    bench.models()
    bench.thresholds(TWO_TASKS)
    monkeypatch.setattr(files, "_PATIENCE", 0)
    with files.alone_in(bench.results):
        result = bench.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["the reports could not be written to *"])
    assert not (bench.results / "comparison_results.json").exists()
    assert bench.run().ret == 0
