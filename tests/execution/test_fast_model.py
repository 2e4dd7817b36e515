"""Gates on the default executor: what the engine answers, what stays on lm-eval's path, and what goes wrong on the way."""

from __future__ import annotations

import signal
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support.figures import figures, results
from support.scripted import BOOLQ_AND_GSM8K
from support.tiny import write_tiny_llama

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.conditions import conditions_of
from pytest_prunegate.execution.executor import Settings
from pytest_prunegate.execution.fast import fast_model
from pytest_prunegate.execution.fast.engine import Engine, Room
from pytest_prunegate.execution.fast.jobs import Choices
from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.store import Store
from pytest_prunegate.tasks.requests import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conftest import Bench

    from pytest_prunegate.verdict.check_scores import Measurement

OWN_PATH = "lm-eval's own path"
REQUESTS = 2 * (20 + 2 * 20)  # a text and two choices for each document of both models


@pytest.fixture
def project(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    monkeypatch.setattr(fast_model, "_KNOWN", {})  # as in a process of its own
    return real_bench


@pytest.fixture
def texts_of_lm_eval(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call for texts on lm-eval's own path."""
    rows: list[int] = []
    usual = GateLM._model_generate

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["context"]))
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(GateLM, "_model_generate", watched)
    return rows


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Tokens of each pass of the engine's; what is given is called before it, and may raise."""

    def watch(before: Callable[[int], None]) -> list[int]:
        counted: list[int] = []
        usual = Engine._forward

        def watched(self: Engine, planned: Any, packed: Any) -> torch.Tensor:
            counted.append(len(planned.tokens))
            before(len(counted))
            return usual(self, planned, packed)

        monkeypatch.setattr(Engine, "_forward", watched)
        return counted

    return watch


def answers(measured: Mapping[str, Measurement]) -> list[Any]:
    responses = (
        response for name in ("gsm8k", "boolq") for side in ("original", "pruned") for response in measured[name].scorers[side]._responses
    )  # fmt: skip
    return [
        (response.text, response.cut, response.greedy, pytest.approx(response.loglikelihood, abs=1e-3))
        for response in responses
    ]


def test_answers_are_those_of_lm_evals_path(
    project: Bench, measured: Mapping[str, Measurement], texts_of_lm_eval: list[int], passes: Any
) -> None:
    seen = passes(lambda _: None)
    project.run().assert_outcomes(passed=2)
    ours, ours_figures = answers(measured), figures(project)
    assert texts_of_lm_eval == [1, 1] * 2, "two of each model's first texts, to compare"
    assert sum(seen) > 0
    assert not [note for note in results(project)["notes"] if OWN_PATH in note]
    assert results(project)["models"]["pruned"]["backend"] == "fast"
    project.run("--prunegate-backend=hf").assert_outcomes(passed=2)
    assert answers(measured) == ours
    assert figures(project) == ours_figures
    counted = len(seen)
    project.run("--prunegate-store=another").assert_outcomes(passed=2)
    assert len(texts_of_lm_eval) == 4 + 2 * 20, "a model is checked once in a process"
    assert len(seen) > counted


def test_what_is_not_greedy_stays_on_lm_evals_path(project: Bench, texts_of_lm_eval: list[int]) -> None:
    sampled = "max_gen_toks: 12\n    gen_kwargs: {do_sample: true, temperature: 0.7}"
    project.thresholds(BOOLQ_AND_GSM8K.replace("max_gen_toks: 12", sampled))
    result = project.run()
    result.assert_outcomes(passed=2)
    assert len(texts_of_lm_eval) == 40
    told = "The pruned model pruned answered on lm-eval's own path where a task does not generate greedily."
    assert told in results(project)["notes"]


def test_a_model_that_is_not_the_engines_says_why(
    project: Bench, texts_of_lm_eval: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "_supports_attention_backend", False)
    project.run("--prunegate-batch-size=4").assert_outcomes(passed=2)
    assert 4 in texts_of_lm_eval, "in batches of the size that was asked for"
    told = "The original model original ran on lm-eval's own path: LlamaForCausalLM does not take transformers' attention interface."
    assert told in results(project)["notes"]


def test_an_engine_that_disagrees_is_turned_off(
    project: Bench, texts_of_lm_eval: list[int], measured: Mapping[str, Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run("--prunegate-backend=hf").assert_outcomes(passed=2)
    theirs = answers(measured)
    usual = Engine.run

    def otherwise(self: Engine, jobs: Any) -> Iterator[Any]:
        for done in usual(self, jobs):
            is_trial = isinstance(done.job, Choices) or done.job.key is None
            yield done if is_trial else replace(done, generated=done.generated[:1])

    monkeypatch.setattr(Engine, "run", otherwise)
    texts_of_lm_eval.clear()
    result = project.run("--prunegate-batch-size=4")
    result.assert_outcomes(passed=2)
    assert answers(measured) == theirs
    result.stdout.fnmatch_lines(["*ran on lm-eval's own path: one of its first texts ends elsewhere than lm-eval's*"])
    assert len(texts_of_lm_eval) == 40, "every text is lm-eval's"


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_signal_ends_the_run_after_an_answer_and_the_same_command_goes_on(
    project: Bench, passes: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_the_twelfth(number: int) -> None:
        if number == 12:
            signal.raise_signal(getattr(signal, name))

    passes(at_the_twelfth)
    answered: list[tuple[str, str]] = []
    usual = Store.put

    def put(self: Store, model: str, key: str, *given: Any) -> None:
        answered.append((model, key))
        usual(self, model, key, *given)

    monkeypatch.setattr(Store, "put", put)
    assert project.run().ret == 2
    kept = len(answered)
    assert 0 < kept < REQUESTS
    project.run().assert_outcomes(passed=2)
    assert len(answered) == len(set(answered)) == REQUESTS, "nothing was asked twice"
    ended = figures(project)
    project.run("--prunegate-store=undisturbed").assert_outcomes(passed=2)
    assert figures(project) == ended


def test_memory_that_runs_out_costs_room_and_no_answer(project: Bench, passes: Any) -> None:
    def at_times(number: int) -> None:
        if number in {30, 33}:
            raise torch.OutOfMemoryError("CUDA out of memory")

    passes(at_times)
    result = project.run()
    result.assert_outcomes(passed=2)
    assert "out of memory; going on with fewer documents at once" in (project.results / "evaluation.log").read_text()
    ended = figures(project)
    project.run("--prunegate-backend=hf").assert_outcomes(passed=2)
    assert figures(project) == ended


def test_one_document_that_does_not_fit_is_an_error_with_a_way_on(
    project: Bench, passes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fast_model, "_CPU", Room(slots=4, tokens=128))
    monkeypatch.setattr(fast_model, "trial", lambda *_: None)
    passes(always)
    result = project.run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*out of memory on cpu with one document at a time. What was answered is kept.*"])


def test_a_trial_without_memory_leaves_the_answers_to_lm_evals_path(project: Bench, passes: Any) -> None:
    def always(_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    passes(always)
    project.run().assert_outcomes(passed=2)
    told = "The original model original answered on lm-eval's own path where no memory was left for the engine."
    assert told in results(project)["notes"]


@pytest.fixture
def fails_at_seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that raises on the seventh question."""
    usual = Engine.run

    def raising(self: Engine, jobs: Any) -> Iterator[Any]:
        asked = [job.key.context.rsplit("Question", 1)[-1] for job in jobs if getattr(job, "key", None)]
        if any("number 7?" in question for question in asked):
            raise RuntimeError("a kernel that has no such size")
        return usual(self, jobs)

    monkeypatch.setattr(Engine, "run", raising)


@pytest.mark.usefixtures("fails_at_seven")
def test_what_the_engine_fails_on_is_asked_on_lm_evals_path(project: Bench) -> None:
    result = project.run("-m", "gsm8k")
    result.assert_outcomes(passed=1)
    told = "The pruned model pruned ran on lm-eval's own path: the engine failed: RuntimeError: a kernel that has no such size."
    assert told in results(project)["notes"]


@pytest.mark.usefixtures("fails_at_seven")
def test_a_document_that_makes_the_model_raise_is_named_and_the_others_run(
    project: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = GateLM._model_generate

    def raising(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "number 7?" in self.tok_decode(kwargs["context"][0].tolist()).rsplit("Question:", 1)[-1]:
            raise RuntimeError("no such size here either")
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(GateLM, "_model_generate", raising)
    result = project.run("-m", "gsm8k")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*raised on document 7 (RuntimeError: no such size here either)*"])
    assert project.executed("gsm8k") == {"original": 19, "pruned": 19}


def test_a_refuted_engine_does_not_come_back_and_a_closed_one_holds_nothing(project: Bench) -> None:
    facts = read_facts(locate(parse_model("original", str(project.path / "original"), project.path), cache_dir=None))
    conditions = conditions_of({"original": facts}, dtype="float32", backend="fast")["original"]
    settings = Settings(batch_size="1", device="cpu")
    one = fast_model.FastModel(facts, conditions, settings)
    asked = [Request(kind="loglikelihood", context="What is", continuation=" it")]
    assert one.taken_continuously(asked) == asked
    one.ask(asked, lambda *_: None)
    model = weakref.ref(one._lm.model)
    one.close()
    assert model() is None, "while the executor itself is still there"
    fast_model._KNOWN[facts.fingerprint, conditions, "cpu"].refuted = "it was wrong"
    again = fast_model.FastModel(facts, conditions, settings)
    assert again.taken_continuously(asked) == []
    assert again.remarks == ("ran on lm-eval's own path: it was wrong",)


def test_texts_that_must_not_end_soon_are_lm_evals(project: Bench) -> None:
    project.thresholds(
        BOOLQ_AND_GSM8K.replace("max_gen_toks: 12", "max_gen_toks: 12\n    gen_kwargs: {min_new_tokens: 8}")
    )
    project.run("-m", "gsm8k").assert_outcomes(passed=1)
    told = "answered on lm-eval's own path where the model's generation settings have min_new_tokens."
    assert any(note.endswith(told) for note in results(project)["notes"]), results(project)["notes"]
