"""A whole run: samples, names, reruns, reports, settings."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.scripted import GSM8K, SQUAD, TWO_TASKS, ScriptedExecutor

from pytest_prunegate.execution.registry import EXECUTORS

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.tasks.checks import GateTask

THRESHOLDS = TWO_TASKS
FILES = {
    "original_model_results.json", "pruned_model_results.json", "comparison_results.json",
    "comparison_report.md", "comparison_report.html", "changed.jsonl", "history.jsonl", "evaluation.log",
}  # fmt: skip


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(THRESHOLDS)
    return bench


def test_the_files(project: Bench) -> None:
    project.draws = True
    assert project.run().ret == 0
    assert {path.name for path in project.results.iterdir()} == FILES
    original = json.loads((project.results / "original_model_results.json").read_text())
    assert original["model_path"] == "original"
    assert original["tasks"] == {"boolq": {"acc": 1.0}, "squadv2": {"f1": 0.75}}
    assert original["sparsity"] == 0.0
    assert original["wikitext_ppl"] is None
    report = (project.results / "comparison_report.md").read_text()
    assert report.startswith("# PASS: 2 of 2 checks measured: 2 passed\n")
    for heading in ("## Model Information", "## Summary", "## Task Results"):
        assert heading in report
    assert (
        "| boolq acc | 1.0000 | 0.9500 | -0.0500 | -5.00% | -22.2% to +14.4% | relative drop at most 50% | 20 of 20 | 1 | 0 | PASS |"
        in report
    )
    of_summary = report.split("## Summary")[1].split("## Task Results")[0]
    assert "| Parameters | 294 | " in of_summary
    assert "| Size on disk | " in of_summary
    assert "| Sparsity | 0.0% (0 of 252 " in of_summary
    html = (project.results / "comparison_report.html").read_text()
    assert "<title>PASS: 2 of 2 checks measured: 2 passed</title>" in html
    assert "://" not in html.replace("http://www.w3.org/2000/svg", ""), "the page asks no network"
    assert "boolq, pruned: 20 of 20 documents" in (project.results / "evaluation.log").read_text()


def test_a_part_of_the_file_is_incomplete_and_null(project: Bench) -> None:
    project.run("-m", "boolq")
    for name in ("comparison_report.md", "comparison_report.html"):
        head = (project.results / name).read_text()[:600]
        assert "INCOMPLETE: 1 of 2 checks measured" in head
    pruned = json.loads((project.results / "pruned_model_results.json").read_text())
    assert pruned["tasks"]["squadv2"] == {"f1": None}
    summary = json.loads((project.results / "comparison_results.json").read_text())
    assert summary["version"] == 8
    assert [check["outcome"] for check in summary["checks"]] == ["pass", "not run"]


def test_hostile_names_are_inert_in_the_reports(project: Bench) -> None:
    (project.path / "pruned").rename(project.path / "<img src=x onerror=alert(1)>|")
    project.run(models=("--original=original", "--pruned=<img src=x onerror=alert(1)>|"))
    assert "<img" not in (project.results / "comparison_report.html").read_text()
    assert "alert(1)>\\|" in (project.results / "comparison_report.md").read_text()


def test_names_go_into_ids_and_not_into_files(project: Bench) -> None:
    result = project.run("-v", models=("--original=dense=original", "--pruned=wanda50=pruned"))
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc?wanda50? PASSED*"])
    names = {path.name for path in project.results.iterdir()}
    assert {"original_model_results.json", "pruned_model_results.json"} <= names, "one candidate needs no name"
    assert (
        project.run(
            "thresholds.yaml::boolq::acc[wanda50]", models=("--original=original", "--pruned=wanda50=pruned")
        ).ret
        == 0
    )


def test_settings_come_first(project: Bench) -> None:
    result = project.run("--prunegate-limit=5")
    result.stdout.fnmatch_lines([
        "original: *original (*parameters, *float32, sparsity 0.0%, fingerprint *)",
        "settings: thresholds.yaml, seed 1234, batch size 1, device cpu",
        "task: *boolq: 5 of 20 documents, 0 shots, 20 requests, none in the store",
        "time: *not known yet*",
        "time: *about 0 s, by the first requests of each task",
        "boolq, original: 5 documents, 3 of them in the store",
        "boolq, original: 5 of 5 documents in *",
    ])  # fmt: skip


def test_expected_time_comes_from_earlier_runs(project: Bench) -> None:
    project.run("--prunegate-limit=5")
    connection = sqlite3.connect(project.path / ".prunegate" / "responses.sqlite")
    with connection:
        connection.execute("UPDATE timings SET seconds = work * 0.1")
    connection.close()
    result = project.run("--prunegate-limit=10")
    result.stdout.fnmatch_lines(["time: *about 19 min 14 s, by earlier runs on this device"])


def test_the_same_model_twice_is_said(project: Bench) -> None:
    result = project.run(models=("--original=original", "--pruned=original"))
    result.stdout.fnmatch_lines(
        ["*Both are the same model: no comparison will find a loss, and none says anything about pruning."]
    )
    assert (
        "Both models are the same: no comparison finds a loss" in (project.results / "comparison_report.md").read_text()
    )


def test_a_limit_takes_the_same_random_documents_for_both(project: Bench) -> None:
    project.run("--prunegate-limit=6", "-m", "squadv2")
    by_side = {
        side: [request.context for of, request in project.executor.requests if of == side]
        for side in ("original", "pruned")
    }
    assert by_side["original"] == by_side["pruned"]
    assert len(by_side["original"]) == 6
    first_six = [f"number {n}?" for n in range(6)]
    assert not all(any(number in context for number in first_six) for context in by_side["original"]), (
        "the first six are no sample"
    )


def test_a_larger_limit_asks_only_for_the_rest(project: Bench) -> None:
    project.run("--prunegate-limit=6", "-m", "squadv2")
    project.run("--prunegate-limit=10", "-m", "squadv2")
    assert len(project.executor.requests) == 2 * 10


def test_another_seed_takes_another_sample(project: Bench) -> None:
    project.run("--prunegate-limit=6", "-m", "squadv2")
    before = {request.context for _, request in project.executor.requests}
    project.executor.requests.clear()
    project.run("--prunegate-limit=6", "-m", "squadv2", "--prunegate-seed=99", "--prunegate-store=another")
    assert {request.context for _, request in project.executor.requests} - before


def test_prompts_of_a_sample_are_those_of_the_full_run(bench: Bench) -> None:
    bench.models()
    bench.thresholds(
        f"tasks:\n  gsm8k:\n    num_fewshot: 3\n    {GSM8K}\n    metrics: {{'accuracy,flexible-extract': 50%}}\n"
    )
    bench.run("--prunegate-limit=5")
    sampled = {request.context for _, request in bench.executor.requests}
    bench.executor.requests.clear()
    bench.run("--prunegate-store=elsewhere")
    assert sampled < {request.context for _, request in bench.executor.requests}


def test_a_rerun_calls_no_model(project: Bench) -> None:
    project.run()
    project.executor.loads.clear()
    result = project.run()
    assert project.executor.loads == []
    assert result.ret == 0
    result.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])


def test_a_rerun_from_another_path_calls_no_model(project: Bench) -> None:
    project.run()
    project.executor.loads.clear()
    (project.path / "pruned").rename(project.path / "moved")
    assert project.run(models=("--original=original", "--pruned=moved")).ret == 0
    assert project.executor.loads == []


def test_another_model_at_the_same_path_is_asked_again(project: Bench) -> None:
    project.run("-m", "boolq")
    project.executor.loads.clear()
    weights = project.path / "pruned" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    project.run("-m", "boolq")
    assert project.executor.loads == ["pruned"]


def test_what_was_answered_before_an_interruption_is_kept(project: Bench) -> None:
    project.executor.fail_after = 25
    result = project.run("-m", "squadv2")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert (project.results / "comparison_report.md").read_text().startswith("# INCOMPLETE: 0 of 2 checks measured")
    project.executor.fail_after = None
    project.executor.requests.clear()
    assert project.run("-m", "squadv2").ret == 0
    assert len(project.executor.requests) == 2 * 20 - 25


def test_a_prompt_that_does_not_fit_names_its_documents(bench: Bench) -> None:
    bench.models(original={"max_length": 300}, pruned={"max_length": 260, "wrong": [1]})
    bench.thresholds(f"tasks:\n  squadv2:\n    limit: 3\n    {SQUAD}\n    metrics: {{f1: 50%}}\n")
    result = bench.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([
        "squadv2: prompts do not fit, and would lose their beginning:",
        "  document *, pruned model pruned: 27? tokens (?? of prompt and 256 to generate), the model takes 260",
        "Generate less (max_gen_toks: 24?), or allow it with `truncate: allow` in the thresholds file.",
    ])  # fmt: skip
    assert bench.executor.loads == [], "told before any model is loaded"
    preflight = bench.run("--prunegate-preflight")
    assert preflight.ret == pytest.ExitCode.USAGE_ERROR
    preflight.stderr.fnmatch_lines(["ERROR: squadv2: prompts do not fit, and would lose their beginning:"])


def test_truncation_can_be_allowed_and_is_not_forgotten(bench: Bench) -> None:
    bench.models(original={"max_length": 260}, pruned={"max_length": 260, "wrong": [1]})
    text = f"tasks:\n  squadv2:\n    limit: 3\n    truncate: allow\n    {SQUAD}\n    metrics: {{f1: 50%}}\n"
    bench.thresholds(text)
    assert bench.run().parseoutcomes().get("errors") is None
    assert (
        "3 prompts of squadv2 were too long for the pruned model"
        in (bench.results / "comparison_report.html").read_text()
    )
    bench.thresholds(text.replace("truncate: allow", "truncate: refuse"))
    result = bench.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*its prompt was cut in an earlier run"])


def test_max_gen_toks_and_gen_kwargs_reach_the_model(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"""
        tasks:
          squadv2:
            {SQUAD}
            max_gen_toks: 7
            gen_kwargs: {{until: ["\\n", "."], top_k: 3}}
            metrics: {{f1: 50%}}
        """)
    bench.run("--prunegate-limit=1")
    assert {
        request.arguments[1].items() >= {"max_gen_toks": 7, "top_k": 3}.items()
        for _, request in bench.executor.requests
    } == {True}
    assert {tuple(request.arguments[1]["until"]) for _, request in bench.executor.requests} == {("\n", ".")}


def test_tasks_without_a_file_take_the_built_in_thresholds(bench: Bench) -> None:
    bench.models()
    result = bench.run("--prunegate-tasks=gsm8k,boolq", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["thresholds.yaml::gsm8k::accuracy", "thresholds.yaml::boolq::acc"])
    result = bench.run("--thresholds=default", "--collect-only", "-q")
    result.stdout.fnmatch_lines([
        "thresholds.yaml::wikitext2::perplexity", "thresholds.yaml::squadv2::f1", "*squadv2::exact_match", "*HasAns_f1", "*HasAns_exact",
        "*gsm8k::accuracy",
    ])  # fmt: skip
    result = bench.run("--thresholds=quick", "--collect-only", "-q")
    result.stdout.fnmatch_lines([
        "thresholds_quick.yaml::wikitext2::perplexity", "*squadv2::f1", "*squadv2::HasAns_f1", "*gsm8k::accuracy",
    ])  # fmt: skip


def test_names_stand_behind_commas_or_blanks(project: Bench) -> None:
    for written in ("boolq,squadv2", "boolq squadv2", "boolq, squadv2"):
        result = project.run(f"--prunegate-tasks={written}", "--collect-only", "-q")
        assert {line.split("::")[1] for line in result.outlines if "::" in line} == {"squadv2", "boolq"}


def test_a_task_the_file_lacks_is_added_under_its_defaults(project: Bench) -> None:
    project.thresholds("defaults: {max_relative_drop: 3%}\n" + THRESHOLDS.lstrip())
    result = project.run("--prunegate-tasks=boolq,gsm8k", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc", "thresholds.yaml::gsm8k::accuracy"])
    result.stdout.no_fnmatch_line("*squadv2*")


def test_ini_twins_are_read_from_the_ini_files_folder(project: Bench) -> None:
    project.pytester.makeini("[pytest]\nprunegate_output = out\nprunegate_thresholds = gates/strict.yaml\n")
    strict = THRESHOLDS.replace("data/", "../data/")
    project.thresholds(strict, name="gates/strict.yaml")
    result = project.run("-v")
    result.stdout.fnmatch_lines(["gates/strict.yaml::boolq::acc*PASSED*"])
    assert (project.path / "out" / "comparison_report.md").is_file()


def test_data_on_a_hub_out_of_reach_is_one_problem_with_two_ways_out(
    project: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreached(gate_task: GateTask) -> object:
        raise ConnectionError(f"Couldn't reach '{gate_task.name}' on the Hub") from OSError("no route to host")

    monkeypatch.setattr("pytest_prunegate.tasks.task_builder.load_task", unreached)
    result = project.run("--thresholds=default", "-m", "squadv2 or gsm8k")
    assert result.ret == 10
    shown = " ".join(result.stdout.str().split())
    beginning, _, rest = shown.partition(" EEEEE ")
    errors = rest.partition(" original against pruned ")[0]
    assert beginning.count("problem: ") == 1
    assert beginning.count("thresholds --local DIR` writes a thresholds file for data that lies in a folder here.") == 1
    for name in ("squadv2", "gsm8k"):
        reason = f"{name}: the task or its data cannot be loaded: ConnectionError: Couldn't reach '{name}' on the Hub (caused by OSError: no route to host)."
        assert beginning.count(reason) == 1
        assert f"task: {name}: cannot run; the problem is below" in beginning
        assert errors.count(f"{reason} Without a network: ") == 1, "once among five errors"
    for check in ("exact_match", "HasAns_f1", "HasAns_exact"):
        assert f"ERROR at setup of squadv2::{check} " in rest
    assert errors.count("squadv2: as at thresholds.yaml::squadv2::f1, above") == 3


def test_reports_that_cannot_be_written_are_no_green_run(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> list[Path]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytest_prunegate.report.files.report_files.write_reports", full)
    result = project.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["the reports could not be written to *No space left on device"])


@pytest.mark.slow
def test_a_rerun_imports_neither_torch_nor_transformers(
    project: Bench, monkeypatch: pytest.MonkeyPatch, index_dir: Path
) -> None:
    project.run()
    project.pytester.makepyfile(
        rerun="""
        import sys, pytest
        code = pytest.main(sys.argv[1:])
        print("imported:", [name for name in ("torch", "transformers") if name in sys.modules])
        sys.exit(code)
        """
    )
    result = project.pytester.run(
        sys.executable,
        "rerun.py",
        "--original=original",
        "--pruned=pruned",
        f"--prunegate-cache-dir={index_dir}",
        "-p",
        "no:hypothesispytest",
    )
    result.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured: 2 passed", "imported: []"])
    assert result.ret == 0


def test_warnings_of_foreign_code_end_no_measurement(project: Bench) -> None:
    project.pytester.makeini("[pytest]\nfilterwarnings = error\n")
    assert project.run().ret == 0


def test_quiet_and_without_capture(project: Bench) -> None:
    for arguments in (("-q",), ("-s",), ("-p", "no:terminal"), ("-p", "no:cacheprovider"), ("-p", "no:logging")):
        assert project.run(*arguments, f"--prunegate-store=store{len(arguments[-1])}").ret == 0


def test_the_executor_is_a_seam(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ScriptedExecutor()
    monkeypatch.setitem(EXECUTORS, "fast", other)
    project.run()
    assert other.loads
    assert not project.executor.loads


def test_a_thresholds_file_in_another_folder(project: Bench) -> None:
    project.thresholds(THRESHOLDS.replace("data/", "../data/"), name="gates/strict.yaml")
    (project.path / "gates" / "deep").mkdir()
    result = project.run("--thresholds=gates/deep/../strict.yaml", "-v")
    result.stdout.fnmatch_lines(["gates/strict.yaml::boolq::acc*PASSED*"])


def test_a_task_that_lm_eval_cannot_draw_examples_for(project: Bench) -> None:
    project.thresholds(
        f"tasks:\n  squadv2:\n    num_fewshot: 1\n    {SQUAD.replace('{validation:', '{train: data/squad.jsonl, validation:')}\n    metrics: {{f1: 50%}}\n"
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["squadv2: lm-eval cannot build the prompts of this task with 1 examples: TypeError: *"]
    )


def test_data_that_cannot_be_read(project: Bench) -> None:
    (project.path / "data" / "boolq.jsonl").write_text("{not json\n")
    result = project.run("-m", "boolq")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["boolq: the task or its data cannot be loaded: *. Check the files that its `dataset` names."]
    )


def test_a_log_whose_disk_is_full_ends_no_run(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    monkeypatch.setattr("pytest_prunegate.report.screen.log.opened_to_append", lambda _: os.open(full, os.O_WRONLY))
    result = project.run("-m", "boolq")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*prunegate-results/evaluation.log is not whole: *No space left on device*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
