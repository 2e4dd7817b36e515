"""The gate on a real model: SmolLM2-135M-Instruct and pruned copies of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from support.reference import evaluate_with_lm_eval
from support.scripted import BOOLQ_AND_GSM8K, write_data

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Bench

    from pytest_prunegate.verdict.check_scores import Measurement

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "demo"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def models() -> Path:
    """The demo's models, made once."""
    folder = DEMO / "models"
    with FileLock(Path(tempfile.gettempdir()) / "prunegate-demo-models.lock"):  # another worker may be at it
        subprocess.run([sys.executable, str(DEMO / "models.py"), str(folder)], check=True)
    return folder


def test_the_verdicts_and_the_rerun(real_bench: Bench, models: Path) -> None:
    arguments = (f"--thresholds={DEMO / 'thresholds.yaml'}", "-m", "squadv2", "--prunegate-batch-size=5")
    pair = (f"--original={models / 'smollm2'}", f"--pruned=harsh={models / 'wanda-harsh'}")
    first = real_bench.run("--prunegate-decide=full", *arguments, models=pair)
    assert first.ret == 1
    assert "errors" not in first.parseoutcomes()
    full = outcomes(real_bench)
    again = real_bench.run("--prunegate-decide=full", *arguments, models=pair)
    assert again.parseoutcomes() == first.parseoutcomes()
    again.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    assert real_bench.executed("squadv2") == {"original": 0, "pruned": 0}
    for seed in (1, 2, 3):
        real_bench.run(
            f"--prunegate-seed={seed}", f"--prunegate-store={fresh_look(real_bench, seed)}", *arguments, models=pair
        )
        assert outcomes(real_bench) == full
        summary = json.loads((real_bench.results / "comparison_results.json").read_text())
        assert real_bench.executed("squadv2") == {"original": 0, "pruned": 0}
        used = [
            check["documents"] / check["total_documents"] for check in summary["checks"] if check["task"] == "squadv2"
        ]
        assert min(used) < 0.9, "harsh pruning shows before the end"
    mild = real_bench.run(
        "--prunegate-decide=full", *arguments, models=(pair[0], f"--pruned=mild={models / 'wanda-mild'}")
    )
    assert mild.ret == 0
    assert real_bench.executed("squadv2") == {"original": 0, "pruned": 60}, "the original was not asked again"


def outcomes(bench: Bench) -> dict[str, str]:
    summary = json.loads((bench.results / "comparison_results.json").read_text())
    return {check["name"]: check["outcome"] for check in summary["checks"] if check["task"] == "squadv2"}


def fresh_look(bench: Bench, number: int) -> Path:
    """A copy of the store with its answers alone: nothing was fixed for this pair before."""
    copy = bench.path / f"store-{number}"
    shutil.copytree(bench.path / ".prunegate", copy)
    with contextlib.closing(sqlite3.connect(copy / "responses.sqlite")) as connection, connection:
        connection.execute("DELETE FROM protocols")
    return copy


def test_measures_what_lm_eval_measures(models: Path, shared_data: Path, tmp_path: Path) -> None:
    """A small part of `make evidence-identity`."""
    command = [
        sys.executable,
        str(PROJECT / "evidence" / "identity.py"),
        str(shared_data),
        str(models),
        str(tmp_path / "out.json"),
        "3",
        "1",
    ]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    counts = json.loads((tmp_path / "out.json").read_text())["documents_and_equal"]["pruned"]
    assert counts["squadv2"]["prompts_equal"] == counts["squadv2"]["texts_equal"] == 3
    assert counts["gsm8k"]["scores_equal"] == 2


def test_perplexity_of_wikitext2(real_bench: Bench, models: Path, shared_data: Path) -> None:
    """Figures that were computed without this package, in float32: 24.145, and 25.790 after 20% magnitude pruning by rows."""
    magnitude = prune_rows(models / "smollm2", real_bench.path / "magnitude-20")
    real_bench.thresholds(f"""
        sparsity: {{min: 19.9%}}
        perplexity:
          wikitext2:
            max_relative_increase: 7%
            seqlen: 2048
            nsamples: 4
            dataset: {{path: text, data_files: {{test: {shared_data / "wikitext2" / "test.txt"}}}}}
        """)
    result = real_bench.run(models=(f"--original={models / 'smollm2'}", f"--pruned={magnitude}"))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["wikitext2 *24.145 *25.790 *4 of 148 windows of 2048 tokens *PASS"])
    found = json.loads((real_bench.results / "comparison_results.json").read_text())
    assert found["models"]["original"]["wikitext_ppl"] == pytest.approx(24.145, abs=5e-4)
    assert found["models"]["pruned"]["wikitext_ppl"] == pytest.approx(25.790, abs=5e-4)
    assert found["models"]["original"]["sparsity"] < 0.001
    assert found["models"]["pruned"]["sparsity"] == pytest.approx(0.20234, abs=1e-5)
    result.stdout.no_fnmatch_line("*tokenizers*differ*")


def prune_rows(source: Path, target: Path) -> Path:
    """A copy without the weights of each row up to its 20th percentile, ties included."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    for module in model.model.layers.modules():
        if isinstance(module, torch.nn.Linear):
            sizes = module.weight.data.abs()
            limit = sizes.kthvalue(int(sizes.shape[1] * 0.2), dim=1, keepdim=True).values
            module.weight.data[sizes <= limit] = 0
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return target


def test_chat_prompts_are_those_of_lm_eval(
    real_bench: Bench, models: Path, measured: Mapping[str, Measurement]
) -> None:
    write_data(real_bench.path / "data", 6)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    pair = (f"--original={models / 'smollm2'}", f"--pruned={models / 'wanda-mild'}")
    real_bench.run("--prunegate-apply-chat-template=true", models=pair).assert_outcomes(passed=2)
    settings = {"apply_chat_template": True, "fewshot_as_multiturn": True}
    reference = evaluate_with_lm_eval(models / "smollm2", real_bench.path / "data", **settings)
    for name, key in (("boolq", "acc"), ("gsm8k", "exact_match")):
        samples = [sample for sample in reference["samples"][name] if sample["filter"] in {"none", "flexible-extract"}]
        ours = measured[name].prepared.requests
        assert [request.context for request in ours] == [pair[0] for sample in samples for pair in sample["arguments"]]
        assert "<|im_start|>user\n" in ours[0].context
        filtered = "none" if name == "boolq" else "flexible-extract"
        scores = measured[name].scorers["original"].score((key, filtered)).by_document
        assert [float(scores[sample["doc_id"]]) for sample in samples] == [sample[key] for sample in samples]
