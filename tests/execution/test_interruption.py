"""Runs that are stopped, and documents that make a model or a scorer raise."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.figures import figures, results
from support.scripted import BOOLQ_AND_GSM8K
from support.tiny import write_tiny_llama

from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.execution.interruption import RunStopped, StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Bench

MODELS = ("--original=original", "--pruned=pruned")
FILES = ("comparison_results.json", "comparison_report.md", "comparison_report.html")


@pytest.fixture
def project(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--prunegate-backend=hf")
    return real_bench


@pytest.fixture(autouse=True)
def with_a_terminal() -> Iterator[None]:
    """As if these tests were not run under nohup, which makes a run ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def at_generation(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, str], None]], list[str]]:
    """The questions of each call for texts; what is given is called before it."""

    def watch(before: Callable[[int, str], None]) -> list[str]:
        prompts: list[str] = []
        usual = GateLM._model_generate

        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            asked = [self.tok_decode(row).rsplit("Question:", 1)[-1] for row in kwargs["context"].tolist()]
            prompts.append(" | ".join(asked))
            before(len(prompts), prompts[-1])
            return usual(self, *args, **kwargs)

        monkeypatch.setattr(GateLM, "_model_generate", watched)
        return prompts

    return watch


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGINT", "SIGUSR1", "SIGHUP"))]
)
def test_a_signal_ends_the_batch_in_hand_and_the_same_command_goes_on(
    project: Bench, at_generation: Any, name: str
) -> None:
    def at_the_tenth(number: int, _: str) -> None:
        if number == 10:
            signal.raise_signal(getattr(signal, name))

    before = signal.getsignal(getattr(signal, name))
    prompts = at_generation(at_the_tenth)
    result = project.run()
    assert result.ret == 2
    assert signal.getsignal(getattr(signal, name)) == before
    assert len(prompts) == 10, "the batch in hand was finished, and no other was begun"
    result.stdout.fnmatch_lines([
        f"Interrupted ({name}). Every answer so far is kept. To go on from there: pytest --original=original *",
        "INCOMPLETE: *1 of 2 checks measured: 1 passed",
    ])  # fmt: skip
    for file in FILES:
        text = (project.results / file).read_text()
        assert "INCOMPLETE" in text
        assert f"Stopped before its end ({name})" in text
    assert any(
        note.startswith("gsm8k: not finished; requests answered: original ") for note in results(project)["notes"]
    )
    project.run().assert_outcomes(passed=2)
    assert len(prompts) == 40, "nothing was asked twice"
    ended = figures(project)
    project.run("--prunegate-store=undisturbed").assert_outcomes(passed=2)
    assert figures(project) == ended


def test_a_second_signal_does_not_wait_for_the_batch(project: Bench, at_generation: Any) -> None:
    def twice(number: int, _: str) -> None:
        if number == 10:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the batch went on")

    at_generation(twice)
    assert project.run().ret == 2


def test_a_time_budget_ends_the_run(project: Bench, at_generation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("pytest_prunegate.execution.interruption.time.monotonic", lambda: clock[0])

    def pass_time(number: int, _: str) -> None:
        clock[0] = 13_800.0 if number == 10 else 13_799.0

    prompts = at_generation(pass_time)
    result = project.run("--prunegate-time-budget=3h50m")
    assert result.ret == 2
    assert len(prompts) == 10
    result.stdout.fnmatch_lines(
        ["Interrupted (the time budget is used up). *To go on from there: pytest *--prunegate-time-budget=3h50m*"]
    )
    clock[0] = 0.0


@pytest.mark.parametrize("written", ["", "0", "3", "4 hours", "1h-3m", "m", "0s"])
def test_a_time_budget_that_is_none(project: Bench, written: str) -> None:
    result = project.run(f"--prunegate-time-budget={written}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--prunegate-time-budget=*: expected a time such as 3h50m, 90m or 45s."])


def test_a_signal_between_two_batches_stops_at_once() -> None:
    stop = StopRequest()
    with stop.listening(), pytest.raises(RunStopped, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)


def test_one_signal_does_not_cut_the_reports_short() -> None:
    stop = StopRequest()
    with stop.listening():
        stop.end()
        signal.raise_signal(signal.SIGTERM)
        written = True
        with pytest.raises(RunStopped):
            signal.raise_signal(signal.SIGTERM)
    assert written


def test_a_signal_behind_the_reports_changes_nothing(project: Bench) -> None:
    project.pytester.makeconftest("""
        import signal

        def pytest_terminal_summary():
            signal.raise_signal(signal.SIGTERM)
    """)
    before = signal.getsignal(signal.SIGTERM)
    result = project.run("-m", "boolq")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["INCOMPLETE: 1 of 2 checks measured: 1 passed"])
    result.stdout.no_fnmatch_line("*Interrupted*")
    result.stderr.no_fnmatch_line("*Traceback*")
    assert signal.getsignal(signal.SIGTERM) == before


def test_nohup_goes_on_without_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopRequest()
    with stop.listening():
        signal.raise_signal(signal.SIGHUP)
        stop.check()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.slow
def test_a_terminal_that_is_cut_off_leaves_reports_and_a_way_on(project: Bench) -> None:
    """As a dropped connection does it: the terminal is gone, writing to it raises, and SIGHUP comes."""
    project.pytester.makeconftest("""
        import time
        from pathlib import Path

        from pytest_prunegate.execution.gate_lm import GateLM

        usual, calls = GateLM._model_generate, []

        def slowly(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 10:
                Path("reached").touch()
                while not Path("cut-off").exists():
                    time.sleep(0.02)
            return usual(self, *args, **kwargs)

        GateLM._model_generate = slowly
    """)
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", *MODELS]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)  # noqa: S606 - this Python
    shown = b""
    while not (project.path / "reached").exists():
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096)
    os.close(terminal)
    (project.path / "cut-off").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2, shown.decode(errors="replace")
    for file in FILES:
        assert "Stopped before its end (SIGHUP)" in (project.results / file).read_text()
    ended = project.run()
    ended.assert_outcomes(passed=2)
    assert project.executed("gsm8k")["original"] < 20, "what was answered before is not asked again"


class TestADocumentThatMakesTheModelRaise:
    @pytest.mark.parametrize("batch_size", ["1", "4"])
    def test_is_named_and_the_others_run(self, project: Bench, at_generation: Any, batch_size: str) -> None:
        seen: list[str] = []

        def on_seven(_: int, prompt: str) -> None:
            if "number 7?" in prompt:
                seen.append(prompt)
                raise RuntimeError("a kernel that dislikes this prompt")

        at_generation(on_seven)
        result = project.run(f"--prunegate-batch-size={batch_size}")
        result.assert_outcomes(passed=1, errors=1)
        assert result.ret == 10
        result.stdout.fnmatch_lines(
            [
                "gsm8k: the original model original raised on document 7 (RuntimeError: a kernel that dislikes this prompt)*"
            ]
        )
        result.stdout.no_fnmatch_line("*Traceback*")
        assert "Traceback (most recent call last)" in (project.results / "evaluation.log").read_text()
        assert len(seen) >= 4, "each model was asked, and asked again"
        error = next(check for check in results(project)["checks"] if check["task"] == "gsm8k")
        assert error["outcome"] == "error"

    def test_is_asked_again_by_the_next_run_and_no_other_is(self, project: Bench, at_generation: Any) -> None:
        broken = [True]

        def on_seven(_: int, prompt: str) -> None:
            if broken[0] and "number 7?" in prompt:
                raise RuntimeError("no")

        prompts = at_generation(on_seven)
        project.run("-m", "gsm8k").assert_outcomes(errors=1)
        broken[0] = False
        prompts.clear()
        project.run("-m", "gsm8k").assert_outcomes(passed=1)
        assert len(prompts) == 2, "this document, of each model"

    def test_once_only_is_no_error(self, project: Bench, at_generation: Any) -> None:
        def once(number: int, _: str) -> None:
            if number == 5:
                raise RuntimeError("a passing fault")

        at_generation(once)
        project.run("-m", "gsm8k").assert_outcomes(passed=1)

    def test_a_model_that_raises_on_everything_is_the_models_fault(self, project: Bench, at_generation: Any) -> None:
        def always(_: int, __: str) -> None:
            raise RuntimeError("broken through and through")

        prompts = at_generation(always)
        result = project.run("-m", "gsm8k")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(
            ["original model original: failed while it answered: RuntimeError: broken through and through. *"]
        )
        assert len(prompts) < 20, "three documents for the sake of their time and three of the run, each twice"


SCORER = """
def process_results(doc, results):
    if "number 7?" in doc["question"]:
        raise ValueError("a scorer that dislikes this document")
    return {"hit": 1.0}
"""
TASK = """
task: fragile
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["never"], max_gen_toks: 2}
process_results: !function utils.process_results
metric_list: [{metric: hit, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.slow
def test_a_document_that_makes_the_scorer_raise_is_named(project: Bench) -> None:
    folder = project.path / "tasks"
    folder.mkdir()
    (folder / "fragile.yaml").write_text(TASK.replace("DATA", str(project.path / "data" / "gsm8k.jsonl")))
    (folder / "utils.py").write_text(SCORER)
    project.thresholds(BOOLQ_AND_GSM8K + "  fragile:\n    metrics: {hit: 5%}\n")
    result = project.run(f"--prunegate-include-path={folder}")
    result.assert_outcomes(passed=2, errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["fragile: document 7 (ValueError: a scorer that dislikes this document) cannot be scored. *"]
    )
    assert (
        'raise ValueError("a scorer that dislikes this document")' in (project.results / "evaluation.log").read_text()
    )


def test_a_document_whose_numbers_overflow_is_named(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = GateLM._loglikelihood_tokens

    def overflowing(self: Any, requests: Any, *args: Any, **kwargs: Any) -> Any:
        hook = self.cache_hook.add_partial

        def add_partial(kind: str, arguments: Any, answer: Any) -> None:
            hook(kind, arguments, (float("nan"), False) if "number 7 " in arguments[0] else answer)

        self.cache_hook.add_partial = add_partial
        return usual(self, requests, *args, **kwargs)

    monkeypatch.setattr(GateLM, "_loglikelihood_tokens", overflowing)
    result = project.run("-m", "boolq")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["boolq: the original model original raised on document 7 (ResponseError: *is nan: its numbers overflow.*"]
    )


@pytest.mark.slow
def test_documents_that_were_named_are_named_again_by_the_next_run(project: Bench, at_generation: Any) -> None:
    def on_some(_: int, prompt: str) -> None:
        if any(f"number {number}?" in prompt for number in (3, 7, 11, 12, 16)):
            raise RuntimeError("no")

    at_generation(on_some)
    expected = "gsm8k: the original model original raised on document 3 (RuntimeError: no); document 7 (RuntimeError: no); *and 2 more*"
    for _ in range(2):
        result = project.run()
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines([expected])


def test_a_kept_task_needs_no_model_that_cannot_be_loaded(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.errors import ModelError
    from pytest_prunegate.execution import lm_eval_model

    project.run("-m", "boolq").assert_outcomes(passed=1)

    def broken(facts: Any, *_: Any) -> None:
        raise ModelError(f"{facts.title}: out of memory while it was loaded.")

    monkeypatch.setattr(lm_eval_model, "_probe", broken)
    result = project.run("-p", "no:randomly", "thresholds.yaml::gsm8k", "thresholds.yaml::boolq")
    result.assert_outcomes(passed=1, errors=1)


def test_a_signal_after_the_time_budget_does_not_cut_the_reports_short() -> None:
    stop = StopRequest(budget=0)
    with pytest.raises(RunStopped, match="time budget"):
        stop.check()
    with stop.listening():
        stop.end()
        signal.raise_signal(signal.SIGTERM)
        written = True
    assert written
    assert stop.reason == "the time budget is used up"
