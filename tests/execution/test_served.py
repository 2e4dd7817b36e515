"""A model behind a real server on this machine, beside the same model loaded by transformers."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.completion_server import CompletionServer, serving
from support.scripted import BOOLQ, BOOLQ_AND_GSM8K, GSM8K
from support.tiny import write_tiny_llama
from tokenizers import Tokenizer, processors

from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.server import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conftest import Bench

    from pytest_prunegate.verdict.check_scores import Measurement

PERPLEXITY = """
perplexity:
  wikitext2: {max_relative_increase: 900%, seqlen: 64, dataset: {path: text, data_files: {test: data/text.txt}}}
"""
BOOLQ_ALONE = f"""
tasks:
  boolq:
    {BOOLQ}
    limit: 6
    metrics: {{acc: {{max_absolute_drop: 1}}}}
"""
GSM8K_ALONE = f"""
tasks:
  gsm8k:
    {GSM8K}
    num_fewshot: 0
    max_gen_toks: 4
    limit: 6
    metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}}}
    outputs: {{max_cut: 100%}}
"""
SPARSITY = "sparsity: {min: 5%}\n"


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("original", "pruned", "other")):
        path = write_tiny_llama(folder / name, seed=seed) / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(path))  # begins every text with a token of its own, as Llama's does
        tokenizer.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 0)])
        tokenizer.save(str(path))
    return folder


@pytest.fixture
def server(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompletionServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):  # a request that goes through it fails
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(CompletionServer(tiny_models / "pruned")) as running:
        yield running


class Project:
    """A bench with the tiny models, and runs against the server."""

    def __init__(self, bench: Bench, models: Path, server: CompletionServer) -> None:
        self.bench = bench
        self.models = models
        self.server = server
        bench.thresholds(BOOLQ_ALONE)

    def run(
        self, *arguments: str, pruned: str | None = None, side_arguments: str = "max_retries=1"
    ) -> pytest.RunResult:
        return self.bench.run(
            f"--prunegate-pruned-args={side_arguments}",
            *arguments,
            models=(f"--original={self.models}/original", f"--pruned={pruned or f'w50={self.server.url}'}"),
        )

    @property
    def summary(self) -> dict[str, Any]:
        path = self.bench.results / "comparison_results.json"
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded

    @property
    def written(self) -> str:
        """Everything that the run left behind, in one text."""
        places = (self.bench.results, self.bench.path / ".prunegate")
        paths = [path for place in places for path in place.rglob("*") if path.is_file()]
        return "".join(path.read_bytes().decode(errors="replace") for path in paths)


@pytest.fixture
def project(real_bench: Bench, tiny_models: Path, server: CompletionServer) -> Project:
    return Project(real_bench, tiny_models, server)


def figures(measured: Mapping[str, Measurement], name: str) -> list[Any]:
    """What the pruned model answered: texts with whether they were cut, or log-likelihoods."""
    return [
        (response.text, response.cut) if response.text is not None else (pytest.approx(response.loglikelihood, abs=1e-4), response.greedy)
        for response in measured[name].scorers["pruned"]._responses
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("batch_size", "settings"),
    [
        ("1", "max_retries=1"),
        pytest.param("3", "num_concurrent=4", marks=pytest.mark.slow),
        pytest.param("1", "num_concurrent=4", marks=pytest.mark.slow),
        pytest.param("3", "max_retries=1", marks=pytest.mark.slow),
    ],
)
def test_answers_are_those_of_the_same_model_loaded_here(
    project: Project, measured: dict[str, Measurement], batch_size: str, settings: str
) -> None:
    (project.bench.path / "data" / "text.txt").write_text("What is the number? It is so. passage 4567. " * 40)
    project.bench.thresholds(BOOLQ_AND_GSM8K + PERPLEXITY)
    project.bench.run(
        "--prunegate-store=local",
        models=(f"--original={project.models}/original", f"--pruned={project.models}/pruned"),
    ).assert_outcomes(passed=3)
    local = {name: figures(measured, name) for name in ("boolq", "gsm8k", "wikitext2")}
    scores = [(check["original"], check["pruned"]) for check in project.summary["checks"]]
    result = project.run(f"--prunegate-batch-size={batch_size}", side_arguments=settings)
    result.assert_outcomes(passed=3)
    for name, expected in local.items():
        answers = [
            (r.text, r.cut) if r.text is not None else (r.loglikelihood, r.greedy)
            for r in measured[name].scorers["pruned"]._responses
        ]
        assert answers == expected
    assert any(cut for _, cut in local["gsm8k"])
    served = [(check["original"], check["pruned"]) for check in project.summary["checks"]]
    assert served == [pytest.approx(pair, rel=1e-5) for pair in scores]
    assert (project.server.most_at_once > 1) == ("concurrent" in settings)


def test_what_a_report_says_of_it(project: Project) -> None:
    project.bench.thresholds(BOOLQ_ALONE + SPARSITY)
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([
        f"*w50 = {project.server.url} (served as tiny, sparsity not counted, fingerprint *)",
        "*pruned model w50 is served: *Take another name whenever they change. *original model's tokenizer.",
        "*sparsity of the pruned model w50 cannot be counted: a served model, whose weights are not here.",
    ])  # fmt: skip
    model = project.summary["models"]["pruned"]
    assert (model["path"], model["arguments"]["model"], model["max_length"]) == (project.server.url, "tiny", 511)
    assert (model["size"], model["parameters"], model["sparsity"], model["architecture"]) == (None, None, None, None)
    for ending in ("md", "html"):
        report = (project.bench.results / f"comparison_report.{ending}").read_text()
        assert "not known" in report
        assert "is served" in report


def test_a_second_run_asks_for_the_models_alone(project: Project) -> None:
    project.run().assert_outcomes(passed=1)
    assert len(project.server.calls) > 6
    before = len(project.server.calls)
    project.server.report[0]["created"] = 2
    project.server.report[0]["permission"] = [{"id": "modelperm-1"}]
    project.run(side_arguments="num_concurrent=2,timeout=9").assert_outcomes(passed=1)
    assert len(project.server.calls) == before


@pytest.mark.parametrize("what", ["name", "id", "root", "tokenizer"])
def test_what_may_be_another_model_is_asked_anew(project: Project, what: str) -> None:
    project.run().assert_outcomes(passed=1)
    before, pruned, settings = len(project.server.calls), None, []
    if what == "name":
        pruned = f"w60={project.server.url}"
    elif what == "tokenizer":
        settings = [f"--prunegate-original-args=tokenizer={project.models}/other"]  # and the served model's with it
        config = project.models / "other" / "tokenizer_config.json"
        config.write_text(config.read_text().replace("{", '{"note": 1,', 1))
    else:
        project.server.report[0][what] = "other"
    project.run(*settings, pruned=pruned).assert_outcomes(passed=1)
    assert len(project.server.calls) == 2 * before


def test_both_sides_are_served_by_one_server(project: Project) -> None:
    project.server.report += [{"id": "large", "max_model_len": 512}]
    result = project.bench.run(
        "--prunegate-original-args=model=large",
        f"--prunegate-pruned-args=model=tiny,tokenizer={project.models}/pruned",
        models=(f"--original=dense={project.server.url}", f"--pruned=w50={project.server.url}/"),
    )
    result.assert_outcomes(passed=1)
    assert {call["model"] for call in project.server.calls} == {"large", "tiny"}


@pytest.mark.parametrize(
    ("pruned", "settings", "message"),
    [
        ("{url}", "max_retries=1", "*--pruned: a served model needs a name: an address says nothing about the weights*"),
        ("w50=http://me:{secret}@127.0.0.1/v1", "max_retries=1", "*--pruned: http://127.0.0.1/v1: it holds a user*OPENAI_API_KEY*"),
        ("w50=http://127.0.0.1/v1?key={secret}", "max_retries=1", "*--pruned: http://127.0.0.1/v1: it holds a user*OPENAI_API_KEY*"),
        ("w50={url}", "api_key={secret}", "*--prunegate-pruned-args: api_key: a served model takes *OPENAI_API_KEY*"),
        ("w50={url}", "max_retries=11", "*max_retries: expected a whole number of at least 1 and at most 10."),
        ("w50=http://", "max_retries=1", "*--pruned: http://: this is no address*"),
        ("w50={url}", "model=huge", "*--prunegate-pruned-args=model=huge: the server at *lists: tiny."),
        ("w50={url}", "max_length=1024", "*--prunegate-pruned-args=max_length=1024: the server takes 512 tokens."),
        ("w50=http://127.0.0.1:9/v1", "max_retries=1", "*pruned model w50: http://127.0.0.1:9/v1/models: the server cannot be reached*"),
        ("w50={url}/there", "max_retries=1", "*lists no model*"),
    ],
)  # fmt: skip
def test_mistakes_end_the_run_before_it_begins(project: Project, pruned: str, settings: str, message: str) -> None:
    if "there" in pruned:
        project.server.report = []
    filled = {"url": project.server.url, "secret": "sesame"}
    result = project.run(pruned=pruned.format(**filled), side_arguments=settings.format(**filled))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "sesame" not in result.stderr.str() + result.stdout.str()
    assert not project.server.calls


def test_a_server_that_lists_several_models_or_no_length(project: Project) -> None:
    project.server.report = [{"id": "tiny"}, {"id": "large"}]
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*lists 2 models. Say which one with --prunegate-pruned-args=model=ID: tiny, large."])
    project.run(side_arguments="model=large").stderr.fnmatch_lines(["*Say it with --prunegate-pruned-args=max_length=N."])  # fmt: skip
    project.run(side_arguments="model=large,max_length=512").assert_outcomes(passed=1)


def test_two_served_models_without_a_tokenizer(project: Project) -> None:
    result = project.bench.run(models=(f"--original=dense={project.server.url}", f"--pruned=w50={project.server.url}"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*name the served model's tokenizer*tokenizer=DIR_OR_HUB_ID*"])


@pytest.mark.parametrize("settings", ["max_retries=1", "max_retries=1,num_concurrent=3"])
def test_a_server_that_dies_in_the_middle_costs_nothing_that_was_answered(project: Project, settings: str) -> None:
    project.bench.thresholds(BOOLQ_AND_GSM8K)
    project.server.fails_after = 14
    result = project.run("-m", "boolq", side_arguments=settings)
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["pruned model w50: */completions: HTTP 500: *the engine died*What was answered is kept*"]
    )
    assert len(project.server.calls) <= 14 + 3, "no call is made in vain"
    project.server.fails_after, project.server.calls = None, []
    project.run("-m", "boolq").assert_outcomes(passed=1)
    answered = 14 - 1  # one call of the first run was the probe
    assert len(project.server.calls) == 40 - answered + 1


def test_what_passes_is_asked_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = project.server.complete
    failed: list[dict[str, Any]] = []

    def sometimes(body: dict[str, Any]) -> tuple[int, Any]:
        if len(project.server.calls) == 5 and not failed:
            failed.append(body)
            return 503, {"error": "busy"}
        return complete(body)

    monkeypatch.setattr(project.server, "complete", sometimes)
    monkeypatch.setattr("time.sleep", lambda _: None)
    project.run(side_arguments="max_retries=2").assert_outcomes(passed=1)
    assert failed


def test_a_server_without_log_probabilities_generates(project: Project) -> None:
    project.bench.thresholds(BOOLQ_ALONE + GSM8K_ALONE.replace("tasks:\n", ""))
    project.server.echoes = False
    result = project.run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*does not give the log-probabilities of a prompt's tokens*"])
    echoing = [call for call in project.server.calls if call.get("echo")]
    assert all(len(call["prompt"][0]) <= 9 for call in echoing), "it is told before the first document"


ODD_ANSWERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no text": (GSM8K_ALONE, {"text": None}, "half an answer (text: null, finish_reason: "),
    "no such key": (GSM8K_ALONE, {"text": ...}, "half an answer (text: null, "),
    "broken off": (GSM8K_ALONE, {"finish_reason": "abort"}, 'finish_reason: "abort"): the answer is not kept'),
    "a probability of 0": (
        BOOLQ_ALONE,
        {"token_logprobs": -math.inf},
        "-Infinity stands where a log-probability should",
    ),
    "a string": (BOOLQ_ALONE, {"token_logprobs": "-1.5"}, '"-1.5" stands where a log-probability should'),
    "nothing beside it": (BOOLQ_ALONE, {"top_logprobs": {"a": None}}, "null stands where a log-probability should"),
    "strings beside it": (BOOLQ_ALONE, {"top_logprobs": {"a": "-1"}}, '"-1" stands where a log-probability should'),
}


@pytest.mark.parametrize("odd", ODD_ANSWERS)
def test_an_answer_that_is_none_is_an_error_and_not_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    thresholds, change, message = ODD_ANSWERS[odd]
    complete = project.server.complete
    project.bench.thresholds(thresholds.replace("limit: 6", "limit: 20"))

    def odd_complete(body: dict[str, Any]) -> tuple[int, Any]:
        status, answer = complete(body)
        texts = [project.server.tokenizer.decode(ids) for ids in body["prompt"]]
        for choice in answer["choices"]:
            if re.search(r"number 3\b", texts[choice["index"]]):
                _change(choice, change)
        return status, answer

    monkeypatch.setattr(project.server, "complete", odd_complete)
    result = project.run()
    assert result.ret == 10
    shown = " ".join(result.stdout.str().split())
    assert "document 3 (ResponseError: " in shown
    assert message in shown
    monkeypatch.setattr(project.server, "complete", complete)
    assert project.run().ret == 0, "it is asked again, and the rest is kept"


def _change(choice: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if key in {"token_logprobs", "top_logprobs"}:
            choice["logprobs"][key] = [value for _ in choice["logprobs"][key]]
        elif value is ...:
            del choice[key]
        else:
            choice[key] = value


def test_an_answer_nested_without_end_is_no_internal_error() -> None:
    client = Client(title="pruned model w50", url="http://127.0.0.1:9/v1", attempts=1)
    nested = SimpleNamespace(open=lambda *_, **__: contextlib.closing(io.BytesIO(b"[" * 200_000)))
    object.__setattr__(client, "_opener", nested)
    with pytest.raises(ModelError, match=r"pruned model w50: .*/models: the answer is no JSON"):
        client.get("models")


def test_prompts_as_text(project: Project) -> None:
    project.bench.thresholds(GSM8K_ALONE)
    project.run(side_arguments="tokenized_requests=false").assert_outcomes(passed=2)
    assert all(isinstance(call["prompt"], str) for call in project.server.calls)


def test_repeats_are_sampled_with_seeds_of_their_own(project: Project) -> None:
    project.bench.thresholds(
        GSM8K_ALONE.replace("limit: 6", "limit: 2\n    repeats: 3\n    gen_kwargs: {do_sample: true, temperature: 0.7}")
    )
    project.run()
    drawn = [(tuple(call["prompt"][0]), call["seed"]) for call in project.server.calls if call["temperature"] == 0.7]
    assert len(drawn) == len(set(drawn)) == 6


def test_a_key_comes_from_the_environment_and_goes_nowhere_else(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.server.key = "open-sesame"
    refused = project.run()
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*HTTP 401: *Set OPENAI_API_KEY in the environment*"])
    monkeypatch.setenv("OPENAI_API_KEY", "open-sesame")
    granted = project.run()
    granted.assert_outcomes(passed=1)
    monkeypatch.setenv("OPENAI_API_KEY", "other-sesame")
    wrong = project.run()
    said = "".join(result.stdout.str() + result.stderr.str() for result in (refused, granted, wrong))
    assert "sesame" not in said + project.written
    assert "wrong key: Bearer \\*\\*\\*" in said.replace("*", "\\*")


def test_a_key_is_not_carried_to_another_address(project: Project, tiny_models: Path) -> None:
    with serving(CompletionServer(tiny_models / "pruned")) as other:
        project.server.redirect = f"{other.url}/models"
        result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pruned model w50: *HTTP 302: *"])


def test_prompts_that_the_server_cannot_take_are_named(project: Project) -> None:
    project.bench.thresholds(GSM8K_ALONE.replace("num_fewshot: 0", "num_fewshot: 2"))
    result = project.run(side_arguments="max_length=64")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*pruned model w50: * tokens (* of prompt and 4 to generate), the model takes 63*"])
    assert not project.server.calls


def test_a_server_needs_room_for_a_token_behind_what_it_scores(project: Project) -> None:
    project.run().assert_outcomes(passed=1)
    longest = max(len(call["prompt"][0]) for call in project.server.calls)
    project.server.calls = []
    result = project.run(side_arguments=f"max_length={longest}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*pruned model w50: {longest} tokens, the model takes {longest - 1}"])
    assert not project.server.calls
    project.run(side_arguments=f"max_length={longest + 1}").assert_outcomes(passed=1)


@pytest.mark.parametrize("settings", ["max_retries=1", "max_retries=1,num_concurrent=3"])
def test_a_request_that_the_server_refuses_is_named_and_the_others_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    complete, refused = project.server.complete, []
    project.bench.thresholds(BOOLQ_AND_GSM8K)

    def picky(body: dict[str, Any]) -> tuple[int, Any]:
        texts = [project.server.tokenizer.decode(ids) for ids in body["prompt"]]
        if any("number 7 " in text for text in texts):
            refused.append(body)
            return 400, {"error": "this prompt is not to my liking"}
        return complete(body)

    monkeypatch.setattr(project.server, "complete", picky)
    result = project.run("-m", "boolq", side_arguments=settings)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["boolq: the pruned model w50 raised on document 7 (ResponseError: *HTTP 400: *not to my liking*"])  # fmt: skip
    monkeypatch.setattr(project.server, "complete", complete)
    project.server.calls = []
    project.run("-m", "boolq").assert_outcomes(passed=1)
    assert len(project.server.calls) == 2 + 1, "the two choices of that document, and the probe"
    assert refused


def test_a_served_models_baseline_takes_its_place(project: Project) -> None:
    project.bench.run(
        "--prunegate-baseline-only", "--prunegate-original-args=max_retries=1", f"--prunegate-original-args=tokenizer={project.models}/pruned",
        models=(f"--original=dense={project.server.url}",),
    )  # fmt: skip
    baseline = project.bench.results / "baseline.json.gz"
    baseline.rename(project.bench.path / "dense.json.gz")
    calls = len(project.server.calls)
    local = project.bench.run(models=("--original=dense.json.gz", f"--pruned={project.models}/pruned"))
    local.assert_outcomes(passed=1)
    assert len(project.server.calls) == calls, "the file answers"
    assert project.summary["checks"][0]["difference"] == 0, "the same weights, served and loaded here"
    project.run().assert_outcomes(passed=1)
    served = project.bench.run(
        "--prunegate-pruned-args=max_retries=1",
        models=("--original=dense.json.gz", f"--pruned=w50={project.server.url}"),
    )
    served.assert_outcomes(passed=1)
