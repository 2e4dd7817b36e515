"""Perplexity on a tiny real model, against a direct computation in float64."""

from __future__ import annotations

import functools
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from support.tiny import TEXT, write_tiny_llama

from pytest_prunegate.execution import next_tokens as windows

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

THRESHOLDS = """
perplexity:
  wikitext2:
    max_relative_increase: 900%
    seqlen: {seqlen}
    dataset: {{path: text, data_files: {{test: data/text.txt}}}}
"""


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    (real_bench.path / "data" / "text.txt").write_text(TEXT)
    real_bench.thresholds(THRESHOLDS.format(seqlen=64))
    return real_bench


def direct_perplexity(model: Path, text: str, seqlen: int, nsamples: int | None = None) -> tuple[float, int]:
    """The papers' definition, in float64 from beginning to end; and the number of windows that the text has."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = LlamaForCausalLM.from_pretrained(model, dtype=torch.float64)
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    total = len(ids) // seqlen
    losses = []
    with torch.no_grad():
        for number in range(nsamples or total):
            window = ids[number * seqlen : (number + 1) * seqlen][None]
            logits = network(window).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:]))
    return float(torch.stack(losses).mean().exp()), total


def check_of(project: Bench) -> dict[str, Any]:
    checks: list[dict[str, Any]] = json.loads((project.results / "comparison_results.json").read_text())["checks"]
    return checks[0]


@pytest.mark.parametrize(
    "seqlen", [pytest.param(2, marks=pytest.mark.slow), 64, 512]
)  # 512: the head is asked for two pieces of a window
def test_it_is_that_of_a_direct_computation(project: Bench, seqlen: int) -> None:
    project.thresholds(THRESHOLDS.format(seqlen=seqlen))
    project.run().assert_outcomes(passed=1)
    found = check_of(project)
    for side in ("original", "pruned"):
        expected, total = direct_perplexity(project.path / side, TEXT, seqlen)
        assert found[side] == pytest.approx(expected, rel=1e-6)
        assert (found["documents"], found["total_documents"]) == (total, total)


def test_a_float64_model_is_measured_in_float64(project: Bench) -> None:
    project.run("--prunegate-dtype=float64").assert_outcomes(passed=1)
    expected, _ = direct_perplexity(project.path / "original", TEXT, 64)
    assert check_of(project)["original"] == pytest.approx(expected, rel=1e-12)


def test_logits_of_a_window_are_never_in_memory_at_once(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    forward = LlamaForCausalLM.forward
    rows, decoded = [], []

    @functools.wraps(forward)
    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        rows.append(output.logits.shape[1])
        return output

    monkeypatch.setattr(LlamaForCausalLM, "forward", spy)
    decoder = type(LlamaForCausalLM.from_pretrained(project.path / "original").model)
    run = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda self, *a, **k: decoded.append(1) or run(self, *a, **k))  # type: ignore[func-returns-value]
    monkeypatch.setattr(windows, "_ROWS", 100)
    project.thresholds(THRESHOLDS.format(seqlen=450) + "    nsamples: 1\n")
    project.run().assert_outcomes(passed=1)
    of_windows = [count for count in rows if count != 64]  # 64 tokens: a model that was just loaded is tried
    assert of_windows == [100, 100, 100, 100, 50] * 2
    assert len(decoded) == 2 + 2, "the decoder runs once a window, and once to try each model"


def test_windows_and_length_stand_beside_the_figure(project: Bench) -> None:
    project.thresholds(THRESHOLDS.format(seqlen=64) + "    nsamples: 3\n")
    result = project.run("--junitxml=junit.xml")
    _, total = direct_perplexity(project.path / "original", TEXT, 64, 1)
    counted = f"3 of {total} windows of 64 tokens"
    result.stdout.fnmatch_lines([f"task: *wikitext2: {counted}, 6 requests*", f"wikitext2 *perplexity *{counted}*PASS"])
    for name in ("comparison_report.md", "comparison_report.html"):
        assert (project.results / name).read_text().count(counted) >= 3, "both models' figures and the check's row"
    for side in ("original", "pruned"):
        model = json.loads((project.results / f"{side}_model_results.json").read_text())
        expected, _ = direct_perplexity(project.path / side, TEXT, 64, 3)
        assert model["wikitext_ppl"] == pytest.approx(expected, rel=1e-6)
        assert model["wikitext_windows"] == counted
    assert counted in (project.path / "junit.xml").read_text()


def test_an_increase_beyond_the_threshold_fails(project: Bench) -> None:
    write_tiny_llama(project.path / "worse", seed=1, scale=3.0)
    project.thresholds(THRESHOLDS.format(seqlen=64).replace("900%", "10%"))
    result = project.run(models=("--original=original", "--pruned=worse"))
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "thresholds.yaml:4: wikitext2 perplexity: relative increase *%, threshold*",
            "scores: * -> *: +*, +*% worse",
            "verdict: * FAIL on all * windows of 64 tokens.",
            "how sure: * 95% interval for other windows like these: +*% to +*%.",
        ]
    )
    assert project.run(models=("--original=worse", "--pruned=original")).ret == 0, "less is better"


def test_more_windows_ask_only_for_the_rest(project: Bench) -> None:
    project.thresholds(THRESHOLDS.format(seqlen=64) + "    nsamples: 3\n")
    project.run()
    project.thresholds(THRESHOLDS.format(seqlen=64) + "    nsamples: 5\n")
    result = project.run()
    result.stdout.fnmatch_lines(["task: *5 of * windows*10 requests, 6 of them in the store*"])
    again = project.run()
    again.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])


def test_rows_of_a_data_set_are_joined_with_two_newlines(project: Bench) -> None:
    rows = ["= Title =\n", "", " some text 1 2 3 \n", "and even and odd " * 60]
    lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    (project.path / "data" / "rows.jsonl").write_text(lines)
    text = THRESHOLDS.format(seqlen=32).replace("path: text", "path: json").replace("text.txt", "rows.jsonl")
    project.thresholds(text)
    project.run().assert_outcomes(passed=1)
    expected, _ = direct_perplexity(project.path / "original", "\n\n".join(rows), 32)
    assert check_of(project)["original"] == pytest.approx(expected, rel=1e-6)


def test_marks_and_ids(project: Bench) -> None:
    text = THRESHOLDS.format(seqlen=64) + "    marks: [quick]\n"
    project.thresholds(text)
    for arguments in (["-m", "wikitext2"], ["-m", "perplexity"], ["-m", "quick"], ["thresholds.yaml::wikitext2::perplexity"]):  # fmt: skip
        result = project.run("--collect-only", "-q", "--strict-markers", *arguments)
        result.stdout.fnmatch_lines(["thresholds.yaml::wikitext2::perplexity"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seqlen: 64", "seqlen: 513"), "wikitext2: seqlen is 513, and the original model original takes 512 tokens. Take a smaller seqlen."),
        (("data/text.txt", "data/short.txt"), "wikitext2: the text has * tokens, fewer than one window of 64. Take a longer text, or a smaller seqlen."),
        (("path: text, data_files: {test: data/text.txt}", "path: json, data_files: {test: data/gsm8k.jsonl}"), "wikitext2: the data set has no column text; it has question, answer."),
        (("path: text, data_files: {test: data/text.txt}", "path: text"), "wikitext2: name the text file: *"),
        (("    dataset: {path: text, data_files: {test: data/text.txt}}\n", ""), "wikitext2: the text cannot be loaded: *Without a network: `python -m pytest_prunegate fetch` *thresholds --local DIR*"),
    ],
)  # fmt: skip
def test_a_text_that_cannot_be_measured_is_an_error(project: Bench, change: tuple[str, str], message: str) -> None:
    (project.path / "data" / "short.txt").write_text("1 2 3")
    project.thresholds(THRESHOLDS.format(seqlen=64).replace(*change))
    result = project.run()
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines([message])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_without_seqlen_it_is_what_both_models_take(project: Bench) -> None:
    config = project.path / "pruned" / "config.json"
    config.write_text(config.read_text().replace('"max_position_embeddings": 512', '"max_position_embeddings": 128'))
    project.thresholds(THRESHOLDS.format(seqlen=64).replace("    seqlen: 64\n", ""))
    project.run()
    assert check_of(project)["unit"] == "windows of 128 tokens"


def test_overflowing_perplexity_is_an_error_and_no_number(bench: Bench) -> None:
    bench.models(original={"nll": 2.0}, pruned={"nll": 1000.0})
    (bench.path / "data" / "text.txt").write_text(TEXT)
    bench.thresholds(THRESHOLDS.format(seqlen=16))
    result = bench.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["wikitext2: the perplexity overflows: mean negative log-likelihood 1000.0."])


def test_an_infinite_loss_is_an_error_and_no_traceback(bench: Bench) -> None:
    bench.models(original={"nll": 2.0}, pruned={"nll": float("inf")})
    (bench.path / "data" / "text.txt").write_text(TEXT)
    bench.thresholds(THRESHOLDS.format(seqlen=16))
    result = bench.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["wikitext2: the perplexity overflows: mean negative log-likelihood inf."])


def test_the_scripted_perplexity_is_exp_of_the_mean(bench: Bench) -> None:
    bench.models(original={"nll": 2.0}, pruned={"nll": 2.5})
    (bench.path / "data" / "text.txt").write_text(TEXT)
    bench.thresholds(THRESHOLDS.format(seqlen=16))
    bench.run()
    found = check_of(bench)
    assert (found["original"], found["pruned"]) == (pytest.approx(math.exp(2.0)), pytest.approx(math.exp(2.5)))
    assert found["relative"] == pytest.approx(1 - math.exp(0.5))
