"""Node ids, marks and pytest's own ways to choose items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted import BOOLQ, GSM8K, SQUAD

from pytest_prunegate.session.collection import _in_words
from pytest_prunegate.tasks.answer_texts import Answer
from pytest_prunegate.verdict.answers import ChangedDocument, Texts
from pytest_prunegate.verdict.outcome import LOST

if TYPE_CHECKING:
    from conftest import Bench

THRESHOLDS = f"""
defaults: {{max_relative_drop: 50%}}
tasks:
  squadv2:
    {SQUAD}
    marks: [slow]
    metrics: [f1, HasAns_f1]
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{accuracy: {{filter: flexible-extract}}}}
  boolq:
    {BOOLQ}
    metrics: {{acc: }}
"""


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(THRESHOLDS)
    return bench


def test_node_ids(project: Bench) -> None:
    result = project.run("--collect-only", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines([
        "thresholds.yaml::squadv2::f1", "thresholds.yaml::squadv2::HasAns_f1",
        "thresholds.yaml::gsm8k::accuracy", "thresholds.yaml::boolq::acc",
    ])  # fmt: skip
    assert not (project.path / ".prunegate").exists(), "collecting writes nothing"
    assert not project.results.exists()


@pytest.mark.parametrize(
    ("arguments", "passed", "loaded"),
    [
        (["-m", "gsm8k"], 1, 1),
        (["-m", "not slow"], 2, 2),
        (["-m", "generation"], 3, 2),
        (["-m", "loglikelihood"], 1, 1),
        (["-m", "prunegate", "--strict-markers"], 4, 3),
        (["-k", "HasAns"], 1, 1),
        (["thresholds.yaml::squadv2"], 2, 1),
        (["thresholds.yaml::squadv2::f1"], 1, 1),
        (["--prunegate-tasks=gsm8k,boolq"], 2, 2),
    ],
)
def test_only_what_was_chosen_is_measured(project: Bench, arguments: list[str], passed: int, loaded: int) -> None:
    result = project.run(*arguments)
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == passed
    tasks = {request.context.split()[0] + request.kind for _, request in project.executor.requests}
    assert len(tasks) == loaded
    if passed < 4:
        report = (project.results / "comparison_report.md").read_text()
        assert report.startswith(f"# INCOMPLETE: {passed} of 4 checks measured")


def test_strict_markers_still_catch_a_typo(project: Bench) -> None:
    project.pytester.makepyfile(test_own="import pytest\n@pytest.mark.gms8k\ndef test_it(): pass\n")
    result = project.run("--strict-markers", "test_own.py", "thresholds.yaml")
    result.stdout.fnmatch_lines(["*'gms8k' not found in `markers`*"])
    assert result.ret == 2


def test_last_failed_runs_the_failed_check_alone(project: Bench) -> None:
    project.thresholds(THRESHOLDS.replace("metrics: {acc: }", "metrics: {acc: 1%}"))
    project.run().assert_outcomes(passed=3, failed=1)
    result = project.run("--lf")
    result.assert_outcomes(failed=1)
    assert result.ret == 1


def test_exitfirst_leaves_the_rest_unmeasured(project: Bench) -> None:
    project.thresholds(THRESHOLDS.replace("max_relative_drop: 50%", "max_relative_drop: 0%"))
    result = project.run("-x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INCOMPLETE, FAIL: 1 of 4 checks measured: 1 failed"])
    assert result.ret == 1


def test_nothing_selected_is_not_green(project: Bench) -> None:
    assert project.run("-k", "no_such_check").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_swap_a_task_at_most(project: Bench) -> None:
    project.run()
    expected = ["pruned", "original", "pruned", "original", "pruned"]
    assert project.executor.loads == expected, "both are probed; then a task starts with the model that is loaded"


def test_a_long_choice_ends_in_its_own_text() -> None:
    """Behind it the note names every choice with its log-probability, and its end would read as the answer's."""
    right, wrong = "the right ending " * 12, "another ending " * 12
    note = f"log-probabilities {right}: -1.00, {wrong}: -2.00"
    texts = Texts(
        prompt="Which?",
        gold=right,
        original=Answer(text=right, note=note, is_choice=True),
        pruned=Answer(text="no", note="log-probabilities no: -1.00, yes: -2.00", is_choice=True),
    )
    document = ChangedDocument(
        member=None, doc_id=3, change=LOST, size=1.0, original_score=1.0, pruned_score=0.0, texts=lambda: texts
    )
    shown = _in_words(document, in_full=False)
    assert shown.original == shown.gold == f"{right[:110]} ..."
    assert shown.pruned == "no (log-probabilities no: -1.00, yes: -2.00)"
    assert _in_words(document, in_full=True).original == f"{right} ({note})"
