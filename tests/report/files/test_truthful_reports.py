"""Runs whose reports are easily believed to know more than they do: each says the truth, in every output."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.all_outputs import Outputs, assert_one_story, history_of, text_of
from support.scripted import BOOLQ, GSM8K, SQUAD, write_checkpoint, write_data

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from conftest import Bench

PAIR = ("--original=original", "--pruned=pruned")
THRESHOLDS = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: 20%}}
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{accuracy: {{max_relative_drop: 20%, filter: flexible-extract}}}}
  squadv2:
    {SQUAD}
    metrics: {{f1: 20%, exact: 20%}}
"""
DECIDED = f"""
defaults: {{max_relative_drop: 10%, decide: WAY}}
tasks:
  boolq:
    {BOOLQ}
    metrics: [acc]
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{accuracy: {{filter: flexible-extract}}}}
"""
WRONG = {"wanda": [1], "sparse": [1, 2], "llm": [], "magnitude": range(12), "random": range(15), "none": [3]}
SIX = ("--original=original", *(f"--pruned={name}=runs/{name}/final" for name in WRONG))


@pytest.fixture
def project(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """On a screen of 80 columns, in a job of GitHub's."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(bench.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(bench.path / "step.md"))
    bench.models(pruned={"wrong": [3, 5]})
    bench.thresholds(THRESHOLDS)
    return bench


def run(project: Bench, *arguments: str, models: tuple[str, ...] = PAIR, names: tuple[str, ...] = ()) -> Outputs:
    """A run as a job has it, whose step begins."""
    (project.path / "step.md").unlink(missing_ok=True)
    known = len(history_of(project))
    result = project.run("--junitxml=junit.xml", *arguments, models=models)
    return Outputs(project, result, names=names, known=known)


def stopped(project: Bench, after: int, *arguments: str, **options: Any) -> Outputs:
    """A run that is interrupted after so many more answers."""
    project.executor.fail_after = len(project.executor.requests) + after
    outputs = run(project, *arguments, **options)
    project.executor.fail_after = None
    return outputs


def told(outputs: Outputs, sentence: str) -> bool:
    """Whether screen, Markdown, HTML and the job's summary all say it."""
    own = outputs.only
    return all(sentence in text for text in (outputs.words, own.markdown, text_of(own.page), outputs.step))


class TestKilledHalfWay:
    def test_it_says_how_far_it_came(self, project: Bench) -> None:
        outputs = stopped(project, 100)
        assert_one_story(outputs, interrupted=True)
        assert outputs.headline == "INCOMPLETE: 1 of 4 checks measured: 1 passed"
        assert told(outputs, "Stopped before its end (interrupted). Every answer so far is kept")
        assert told(outputs, "gsm8k: not finished; requests answered: original ")
        assert [task["name"] for task in outputs.only.results["tasks"]] == ["boolq"]
        assert {line["task"] for line in outputs.only.changed} == {"boolq"}
        assert outputs.history == []

    def test_what_an_earlier_day_left_of_another_model_is_not_its_own(self, project: Bench) -> None:
        assert_one_story(run(project))
        shutil.rmtree(project.path / "pruned")
        write_checkpoint(project.path / "pruned", wrong=[18, 19])
        outputs = stopped(project, 10)
        assert_one_story(outputs, interrupted=True)
        assert outputs.headline == "INCOMPLETE: 0 of 4 checks measured"
        assert told(outputs, "another pruned model, or loaded otherwise.")
        assert not (project.results / "changed.jsonl").exists()
        assert len(outputs.history) == 1, "of the first day"

    def test_what_an_earlier_day_measured_of_the_same_is_told_apart(self, project: Bench) -> None:
        run(project, "-m", "boolq")
        outputs = stopped(project, 50, "-m", "gsm8k or squadv2")
        assert_one_story(outputs, interrupted=True)
        assert outputs.headline == "INCOMPLETE: 2 of 4 checks measured (1 by earlier runs): 2 passed"


class TestOnlyErrors:
    def test_there_is_no_figure_of_the_side_that_answered(
        self, project: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert_one_story(run(project))
        shutil.rmtree(project.path / ".prunegate")
        usual = project.executor.ask

        def broken(facts: Any, *asked: Any) -> None:
            if facts.side == "pruned":
                raise ModelError(f"{facts.title}: failed while it answered.")
            usual(facts, *asked)

        monkeypatch.setattr(project.executor, "ask", broken)
        outputs = run(project)
        assert_one_story(outputs)
        assert outputs.headline == "INCOMPLETE, ERROR: 0 of 4 checks measured: 4 ended in an error"
        assert outputs.only.results["tasks"] == []
        assert told(outputs, "this run's ended in an error")
        assert not (project.results / "changed.jsonl").exists()

    def test_a_reason_names_its_line_once(self, project: Bench) -> None:
        shutil.rmtree(project.path / "original")
        write_checkpoint(project.path / "original", wrong=list(range(20)))
        outputs = run(project)
        assert_one_story(outputs)
        assert outputs.headline == "INCOMPLETE, ERROR: 0 of 4 checks measured: 4 ended in an error"
        assert text_of(outputs.only.page).count("thresholds.yaml:5") == 1


def test_two_baseline_files_claim_neither_a_model_nor_a_device(project: Bench) -> None:
    for side in ("original", "pruned"):
        assert project.run("--prunegate-baseline-only", models=(f"--original={side}",)).ret == 0
        shutil.move(project.results / "baseline.json.gz", project.path / f"{side}.json.gz")
    for gone in (project.results, project.path / ".prunegate", project.path / "original", project.path / "pruned"):
        shutil.rmtree(gone)
    project.executor.loads.clear()
    outputs = run(project, "--prunegate-device=cuda", models=("--original=original.json.gz", "--pruned=pruned.json.gz"))
    assert_one_story(outputs)
    assert project.executor.loads == []
    own = outputs.only
    assert own.results["device"] == own.results["run"]["device"] == "none (no model is loaded)"
    for text in (outputs.words, own.markdown, text_of(own.page)):
        assert "cuda" not in text.replace("--prunegate-device=cuda", "")
        assert "none (no model is loaded)" in text
    for side in ("original", "pruned"):
        assert f"not loaded, answered by `{project.path / side}.json.gz`" in own.markdown
        assert f"{project.path / side}.json.gz , the model is not loaded" in text_of(own.page)


class TestAPartOfTheDocuments:
    def test_early_stopping_is_told_in_the_first_line_and_beside_each_score(self, project: Bench) -> None:
        write_data(project.path / "data", 400)
        project.thresholds(DECIDED.replace("WAY", "early"))
        outputs = run(project)
        assert_one_story(outputs)
        assert outputs.headline == "PASS: 2 of 2 checks measured (2 in part): 2 passed"
        for check in outputs.only.checks:
            assert check["documents"] < 400
            assert told(
                outputs, f"PASS: the full run would agree (error at most 1%), after {check['documents']} of 400"
            )
            assert check["exact"]["pruned"] is not None
        for text in (outputs.only.markdown, text_of(outputs.only.page)):
            assert "95% interval: of the relative change, for the full run." in text

    def test_an_inconclusive_check_is_neither_a_pass_nor_a_failure(self, project: Bench) -> None:
        project.thresholds(DECIDED.replace("WAY", "confident"))
        outputs = run(project, "--prunegate-limit=15")
        assert_one_story(outputs)
        assert outputs.headline == ("INCONCLUSIVE: 2 of 2 checks measured (2 in part): 2 inconclusive")
        for text in (outputs.only.markdown, text_of(outputs.only.page)):
            assert "INCONCLUSIVE on 15 of 20 documents" in text
            assert "95% interval for other documents like these" in text
            assert "95% interval: of the relative change, for other documents like these." in text
            assert "PASS" not in text
            assert "FAIL" not in text
        assert {failure.get("type") for failure in outputs.junit.iter("failure")} == {"inconclusive"}


class TestSixWhosePathsEndAlike:
    @pytest.fixture
    def six(self, project: Bench) -> Bench:
        for name, wrong in WRONG.items():
            write_checkpoint(project.path / "runs" / name / "final", wrong=list(wrong), who=name)
        project.thresholds(THRESHOLDS.split("  gsm8k", maxsplit=1)[0])
        return project

    def test_each_can_be_told_from_the_others(self, six: Bench) -> None:
        outputs = run(six, models=SIX, names=tuple(WRONG))
        assert_one_story(outputs)
        assert outputs.headline == "FAIL: 4 of 6 candidates pass (wanda, sparse, llm, none), all have to; 2 fail"
        for own in outputs.candidates:
            assert len(own.changed) == len(WRONG[str(own.name)])
            assert f"{own.name}: runs/{own.name}/final" in own.markdown
            assert f"runs/{own.name}/final" in text_of(own.page)
        page = text_of((six.results / "candidates_report.html").read_text())
        assert all(f"runs/{name}/final" in page for name in WRONG)
        names = re.findall(r"comparison_report_(\w+)\.html", outputs.step)
        assert list(dict.fromkeys(names)) == list(WRONG)

    def test_what_was_stopped_and_what_another_day_measured(self, six: Bench) -> None:
        asked: dict[str, Any] = {"models": (SIX[0], SIX[1], SIX[4], SIX[6]), "names": ("wanda", "magnitude", "none")}
        outputs = stopped(six, 100, **asked)
        assert_one_story(outputs, interrupted=True)
        assert outputs.headline == (
            "INCOMPLETE: 1 of 3 candidates passes (wanda), all have to; 2 were not measured in full. 1 of 3 checks measured"
        )
        whole, half = (outputs.candidates[number].markdown for number in (0, 1))
        assert "Stopped before its end (interrupted), when all checks of this candidate had ended." in whole
        assert "Stopped before its end (interrupted). Every" in half
        run(six, **asked)
        outputs = run(six, "-x", **asked)
        assert_one_story(outputs)
        assert outputs.headline == (
            "FAIL: 2 of 3 candidates pass (wanda, none), all have to; 1 fails. 3 of 3 checks measured (1 by earlier runs)"
        )
        overview = json.loads((six.results / "candidates_results.json").read_text())
        assert [own["is_earlier"] for own in overview["checks"][0]["candidates"]] == [False, False, True]
