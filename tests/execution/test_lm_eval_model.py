"""The gate on a tiny model that transformers loads and lm-eval runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.reference import evaluate_with_lm_eval
from support.scripted import BOOLQ_AND_GSM8K
from support.tiny import write_tiny_llama

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Bench

    from pytest_prunegate.verdict.check_scores import Measurement


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    return real_bench


@pytest.mark.parametrize("batch_size", [pytest.param("1", marks=pytest.mark.slow), "4"])
def test_scores_are_those_of_lm_eval(project: Bench, measured: Mapping[str, Measurement], batch_size: str) -> None:
    project.run(f"--prunegate-batch-size={batch_size}").assert_outcomes(passed=2)
    for side in ("original", "pruned"):
        reference = evaluate_with_lm_eval(project.path / side, project.path / "data")
        for name, key in (("boolq", ("acc", "none")), ("gsm8k", ("exact_match", "flexible-extract"))):
            ours = measured[name].scorers[side].score(key)
            theirs = {
                sample["doc_id"]: sample[key[0]] for sample in reference["samples"][name] if sample["filter"] == key[1]
            }
            assert {doc_id: float(score) for doc_id, score in ours.by_document.items()} == theirs
            assert float(ours.aggregate) == pytest.approx(reference["results"][name][",".join(key)], abs=1e-12)
            texts = [response.text for response in measured[name].scorers[side]._responses]
            if name == "gsm8k":
                assert texts == [
                    sample["resps"][0][0] for sample in reference["samples"][name] if sample["filter"] == key[1]
                ]


def test_outputs_at_the_token_limit_are_counted_as_cut(project: Bench, measured: Mapping[str, Measurement]) -> None:
    project.run("-m", "gsm8k")
    responses = measured["gsm8k"].scorers["original"]._responses
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(project.path / "original")
    assert any(response.cut for response in responses)
    for response in responses:
        stopped = len(tokenizer(response.text)["input_ids"]) < 10  # 12 tokens may decode to text of fewer
        assert response.cut or stopped
    shares = measured["gsm8k"].shares["original"]
    assert shares is not None
    assert shares.cut == sum(bool(response.cut) for response in responses) / len(responses)


def test_a_stop_string_or_eos_within_the_limit_is_no_cut(project: Bench, measured: Mapping[str, Measurement]) -> None:
    project.thresholds(BOOLQ_AND_GSM8K.replace("max_gen_toks: 12", "max_gen_toks: 3\n    gen_kwargs: {until: [never]}"))
    project.run("-m", "gsm8k", "--prunegate-limit=4")
    unstopped = [response.cut for response in measured["gsm8k"].scorers["original"]._responses]
    text = next(response.text for response in measured["gsm8k"].scorers["original"]._responses if response.text)
    project.thresholds(
        BOOLQ_AND_GSM8K.replace(
            "max_gen_toks: 12", f"max_gen_toks: 3\n    gen_kwargs: {{until: [{json.dumps(text[0])}]}}"
        )
    )
    project.run("-m", "gsm8k", "--prunegate-limit=4")
    stopped = [response.cut for response in measured["gsm8k"].scorers["original"]._responses]
    assert sum(map(bool, stopped)) < sum(map(bool, unstopped))


def test_a_nan_model_is_named_before_the_first_document(project: Bench) -> None:
    write_tiny_llama(project.path / "broken", seed=2, broken=True)
    result = project.run(models=("--original=original", "--pruned=w60=broken"))
    result.assert_outcomes(errors=2)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["pruned model w60: its logits are NaN or infinite (* on a prompt of * tokens*"])


def test_weights_that_do_not_fit_the_configuration(project: Bench) -> None:
    config = project.path / "pruned" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    result = project.run("-m", "boolq")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*shapes differ: lm_head.weight is [[]300, 32[]] in the files, [[]300, 64[]] in the model; * and 18 more*"]
    )
    result.stderr.no_fnmatch_line("*Traceback*")


def test_code_in_a_checkpoint_is_not_run(project: Bench) -> None:
    folder = project.path / "pruned"
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    marker = project.path / "code-was-run"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    result = project.run("-m", "boolq")
    result.assert_outcomes(errors=1)
    assert not marker.exists()


def test_both_models_take_the_originals_dtype(project: Bench) -> None:
    config = project.path / "pruned" / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float32"', '"dtype": "bfloat16"'))
    project.run("-m", "boolq")
    summary = json.loads((project.results / "comparison_results.json").read_text())
    assert {model["dtype"] for model in summary["models"].values()} == {"float32"}
    project.run("-m", "boolq", "--prunegate-dtype=bfloat16")
    summary = json.loads((project.results / "comparison_results.json").read_text())
    assert {model["dtype"] for model in summary["models"].values()} == {"bfloat16"}
    assert project.executed("boolq") == {"original": 40, "pruned": 40}, "another dtype is another answer"
