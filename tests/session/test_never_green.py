"""Runs that compared nothing, or broke, and must not be green."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.scripted import SQUAD, TWO_TASKS, ScriptedExecutor

from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.checkpoint.facts import ModelFacts

THRESHOLDS = TWO_TASKS


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(THRESHOLDS)
    return bench


def test_checks_that_a_conftest_skips(project: Bench) -> None:
    project.pytester.makeconftest("""
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.skip(reason="slow"))
        """)
    result = project.run()
    result.assert_outcomes(skipped=2)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["INCOMPLETE: 0 of 2 checks measured"])


@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_a_hook_of_somebody_else_that_raises(project: Bench, phase: str) -> None:
    project.pytester.makeconftest(f"def pytest_runtest_{phase}(item): raise RuntimeError('broken hook')")
    assert project.run().ret == 10


def test_empty_options_of_a_ci_job(project: Bench) -> None:
    project.pytester.makepyfile(test_own="def test_own(): pass")
    result = project.run(models=("--original=", "--pruned="))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--original is missing*"])


def test_all_checks_deselected_beside_own_tests(project: Bench) -> None:
    project.pytester.makepyfile(test_own="def test_own(): pass")
    result = project.run("test_own.py", "thresholds.yaml", "-k", "own")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*was collected and selected*look at -k, -m and --deselect*"])


def test_a_nan_loglikelihood_is_no_verdict_and_is_not_kept(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = Response(loglikelihood=float("nan"), greedy=False)
    with monkeypatch.context() as patch:
        patch.setattr("support.scripted._answer", lambda *_args, **_kwargs: nan)
        result = project.run("-m", "boolq")
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["original model original: failed while it answered: *the log-likelihood of a request of boolq is nan*"]
    )
    assert project.run("-m", "boolq").ret == 0, "asked again, since nothing was kept"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  squadv2: {metrics: {}}\n", "squadv2: has no check. Name a metric, or take the task out."),
        ("  squadv2: {metrics: [f1], marks: [xfail]}\n", "xfail is pytest's own mark"),
        ("  squadv2: {metrics: [f1], limit: 1e99999999}\n", "expected a number of documents"),
    ],
)
def test_input_that_would_hide_a_check(project: Bench, text: str, message: str) -> None:
    project.thresholds(f"defaults: 5%\ntasks:\n  boolq: {{metrics: [acc]}}\n{text}")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_output_checks_alone(project: Bench) -> None:
    project.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    outputs: {{max_empty: 10%}}\n")
    project.run().assert_outcomes(passed=1)


def test_an_adapter_beside_a_config(project: Bench) -> None:
    (project.path / "pruned" / "adapter_config.json").write_text("{}")
    assert project.run().ret == pytest.ExitCode.USAGE_ERROR


def test_a_folder_of_the_users_keeps_its_gitignore(project: Bench) -> None:
    (project.path / ".gitignore").write_text("dist/\n")
    assert project.run("--prunegate-store=.").ret == 0
    assert (project.path / ".gitignore").read_text() == "dist/\n"
    assert project.run().ret == 0
    assert (project.path / ".prunegate" / ".gitignore").read_text() == "*\n"


def test_a_broken_candidate_costs_no_answers_of_the_original(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.errors import ModelError

    class Broken(ScriptedExecutor):
        def load(self, facts: ModelFacts) -> None:
            self.loads.append(facts.side)
            if self.loads[-1] == "pruned":
                raise ModelError("pruned model: cannot be loaded")

    executor = project.executor = Broken()
    result = project.run()
    result.assert_outcomes(errors=2)
    assert executor.requests == []
    assert executor.loads == ["pruned"], "a model that cannot be loaded is not tried again for each task"


def test_a_misspelt_metric_of_a_task_in_python_costs_no_answers(project: Bench) -> None:
    row = {"text": "number 1 is", "value": "one", "title": "T", "context": "c", "question": "q", "doc_id": "1"}
    (project.path / "data" / "completion.jsonl").write_text(json.dumps(row))
    data = SQUAD.replace("squad.jsonl", "completion.jsonl")
    project.thresholds(f"tasks:\n  squad_completion:\n    {data}\n    metrics: {{contians: 5%}}\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["thresholds.yaml:4: squad_completion.contians: squad_completion has no metric of this name. It has: contains."]
    )
    assert project.executor.requests == []


def test_the_command_of_a_failure_runs_from_a_subfolder(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pytester.makeini("[pytest]")
    project.thresholds(THRESHOLDS.replace("50%", "0%"))
    (project.path / "sub").mkdir()
    monkeypatch.chdir(project.path / "sub")
    models = ("--original=../original", "--pruned=../pruned", "--thresholds=../thresholds.yaml")
    result = project.run("-m", "boolq", models=models)
    result.stdout.fnmatch_lines(
        [f"Run it alone: pytest --original=../original *{project.path}/thresholds.yaml::boolq::acc"]
    )
    assert project.run(f"{project.path}/thresholds.yaml::boolq::acc", models=models).ret == 1


@pytest.mark.parametrize(
    "broken",
    [
        "pytest_prunegate.session.session.GateSession.finish",
        "pytest_prunegate.session.run.show_closing",
        "pytest_prunegate.session.run.tell_junit",
    ],
)
@pytest.mark.parametrize("wrong", [[], list(range(20))])
def test_a_session_that_breaks_at_its_end_has_a_code_of_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, broken: str, wrong: list[int]
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise OverflowError("math range error")

    bench.models(pruned={"wrong": wrong})
    bench.thresholds(TWO_TASKS)
    monkeypatch.setattr(broken, explode)
    result = bench.run()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["INTERNALERROR> *OverflowError: math range error*"])


def test_another_plugin_that_breaks_at_the_end_makes_no_failed_check(bench: Bench) -> None:
    bench.models()
    bench.thresholds(TWO_TASKS)
    bench.pytester.makeconftest("def pytest_sessionfinish():\n    raise ValueError('not mine')\n")
    result = bench.run()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["INTERNALERROR> *ValueError: not mine*"])
