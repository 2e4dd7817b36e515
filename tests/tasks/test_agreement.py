"""Token-level agreement on tiny real models, against a direct computation in float64."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from support.tiny import TEXT, write_tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

ENTRY = (
    "agreement: {{seqlen: {seqlen}, nsamples: 3, dataset: {{path: text, data_files: {{test: data/text.txt}}}}{more}}}\n"
)


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    (real_bench.path / "data" / "text.txt").write_text(TEXT * 3)
    real_bench.thresholds(entry())
    return real_bench


def entry(more: str = "", seqlen: int = 64) -> str:
    return ENTRY.format(seqlen=seqlen, more=f", {more}" if more else "")


def summary(project: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / "comparison_results.json").read_text())
    return found


def direct(models: tuple[Path, Path], text: str, seqlen: int) -> dict[str, float]:
    """The figures by their definitions, in float64 from beginning to end."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    ids = AutoTokenizer.from_pretrained(models[0])(text, return_tensors="pt").input_ids[0]
    networks = [LlamaForCausalLM.from_pretrained(model, dtype=torch.float64) for model in models]
    kl, same, losses = [], [], []
    with torch.no_grad():
        for number in range(3):
            window = ids[number * seqlen : (number + 1) * seqlen][None]
            p, q = (network(window).logits[0, :-1].log_softmax(-1) for network in networks)
            kl.append(torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1))
            same.append((p.argmax(-1) == q.argmax(-1)).double())
            losses.append([torch.nn.functional.nll_loss(one, window[0, 1:]) for one in (p, q)])
    means = torch.tensor(losses).mean(0)
    each = torch.cat(kl)
    return {
        "kl": float(each.mean()), "kl_p99": float(each.quantile(0.99)), "top1": float(torch.cat(same).mean()),
        "perplexity_ratio": math.exp(means[1] - means[0]),
        "kl_error": float(torch.stack([one.mean() for one in kl]).std() / math.sqrt(3)),
    }  # fmt: skip


@pytest.mark.parametrize("seqlen", [64, 512])  # 512: the head is asked for two pieces of a window
def test_it_is_that_of_a_direct_computation(project: Bench, seqlen: int) -> None:
    project.thresholds(entry(seqlen=seqlen))
    result = project.run("-v", "--prunegate-dtype=float64")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*agreement::kl*PASSED*"])
    expected = direct((project.path / "original", project.path / "pruned"), TEXT * 3, seqlen)
    found = summary(project)["agreement"]
    assert (found["windows"], found["positions"]) == (3, 3 * (seqlen - 1))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    (check,) = summary(project)["checks"]
    assert check["pruned"] == found["kl"]


def test_a_model_agrees_with_itself(project: Bench) -> None:
    project.thresholds(entry("min_top1: 100%, max_kl: 0, max_kl_p99: 0, max_perplexity_ratio: 1"))
    result = project.run(models=("--original=original", "--pruned=original"))
    result.assert_outcomes(passed=4)
    found = summary(project)["agreement"]
    assert (found["top1"], found["kl"], found["kl_p99"], found["perplexity_ratio"], found["ratio_error"]) == (
        1,
        0,
        0,
        1,
        0,
    )
    assert all((one["top1"], one["kl"]) == (1, 0) for one in found["along"])


def test_each_threshold_is_a_check_and_a_failure_says_all_figures(project: Bench) -> None:
    project.thresholds(entry("min_top1: 99%, max_kl: 0.0001, max_kl_p99: 1000, max_perplexity_ratio: 1000"))
    result = project.run("-v")
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*agreement::min_top1*FAILED*",
            "*agreement::max_kl *FAILED*",
            "*agreement::max_kl_p99*PASSED*",
            "*agreement::max_perplexity_ratio*PASSED*",
            "threshold: *top-1 agreement at least 99%*",
            "*On 3 windows (189 positions): top-1 agreement *%, KL * ± * nats, its 99th percentile *, ratio of perplexities * ± *.*",
        ]
    )


def test_what_was_computed_is_kept_window_by_window(project: Bench) -> None:
    project.thresholds(entry().replace("nsamples: 3", "nsamples: 2"))
    project.run().assert_outcomes(passed=1)
    project.thresholds(entry())
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["task:*agreement: all 3 windows of 64 tokens, 6 requests, 4 of them in the store, about *"]
    )
    known = summary(project)["agreement"]
    again = project.run("--prunegate-dtype=float32")
    again.stdout.fnmatch_lines(["time:*every answer is in the store; no model is loaded"])
    assert summary(project)["agreement"] == known
    other = project.run("--prunegate-dtype=float64")
    other.stdout.fnmatch_lines(["task:*agreement: all 3 windows of 64 tokens, 6 requests, none in the store, about *"])


def test_another_day_s_agreement_stands_in_one_report(project: Bench) -> None:
    project.thresholds(entry() + "sparsity: {max: 50%}\n")
    project.run("-m", "agreement").assert_outcomes(passed=1)
    known = summary(project)["agreement"]
    result = project.run("-m", "sparsity")
    result.stdout.fnmatch_lines(
        ["Next tokens: top-1 agreement *", "PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"]
    )
    assert summary(project)["agreement"] == known
    project.thresholds(entry(seqlen=32) + "sparsity: {max: 50%}\n")
    result = project.run("-m", "sparsity")
    result.stdout.fnmatch_lines(["Stale: agreement::kl of *: other settings."])
    assert summary(project)["agreement"] is None


def test_the_report_shows_it(project: Bench) -> None:
    project.run().assert_outcomes(passed=1)
    page = (project.results / "comparison_report.html").read_text()
    assert "<dt>Next tokens</dt><dd>top-1 agreement " in page
    report = (project.results / "comparison_report.md").read_text()
    assert "| Next tokens | - | top-1 agreement " in report
    assert "(threshold: none). PASS on all 189 positions: there is no threshold to break. On 3 windows" in report


def test_models_of_two_vocabularies_have_no_divergence(project: Bench) -> None:
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(project.path / "pruned")
    network.resize_token_embeddings(network.config.vocab_size + 8)
    network.save_pretrained(project.path / "pruned")
    result = project.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            "*agreement: the original model's output has * tokens, and the pruned model's *: no divergence exists between them. Where one is padded, give *"
        ]
    )


def test_what_cannot_run_side_by_side_is_told_before_hours_are_spent(project: Bench) -> None:
    project.thresholds(entry(seqlen=4096))
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*agreement: seqlen is 4096, and the * takes * tokens. Take a smaller seqlen.*"])


def test_a_small_divergence_is_shown_with_its_digits(project: Bench) -> None:
    project.thresholds(entry("max_kl: 0.00000001"))
    models = ("--original=original", "--pruned=original", "--prunegate-pruned-args=dtype=bfloat16")
    result = project.run(models=models)
    assert result.ret == 1
    kl = summary(project)["agreement"]["kl"]
    assert 0 < kl < 1e-3
    result.stdout.fnmatch_lines([f"agreement  max_kl * {kl:.3g} *", f"Next tokens: *KL divergence {kl:.4g} *"])


def test_a_proposal_keeps_its_entries(project: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    from pytest_prunegate.__main__ import main

    project.thresholds(entry("max_kl: 5, min_top1: 0%"))
    project.run().assert_outcomes(passed=2)
    capsys.readouterr()
    assert main(["thresholds", f"--from={project.results / 'comparison_results.json'}"]) == 0
    proposed = capsys.readouterr().out
    assert "  max_kl: 0.281  # measured 0.2802 (189 positions)" in proposed
    assert "  seqlen: 64" in proposed


def test_mistakes_are_told_together(project: Bench) -> None:
    project.thresholds(entry("max_kl: 5%, max_perplexity_ratio: -1, max_ppl: 3, min_top1: 120%"))
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines_random(
        [
            "*thresholds.yaml:1: agreement.max_kl*max_kl is 5%: it is no share, and takes no per cent sign.*",
            "*max_perplexity_ratio is -1: it cannot be negative.*",
            "*max_ppl: unknown key. Did you mean max_kl?*",
            "*min_top1 is 120%*",
        ]
    )


def test_memory_for_both_is_looked_at_before(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 37_792 * 4
    monkeypatch.setattr("pytest_prunegate.gate.runs.free_memory", lambda _: (2 * size - 1, "made up"))
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*agreement: both models have to be in memory at once, and their weights take about *"]
    )
    monkeypatch.setattr("pytest_prunegate.gate.runs.free_memory", lambda _: (2 * size, "made up"))
    assert project.run("--prunegate-preflight").ret == 0


def test_memory_that_runs_out_is_an_error_of_this_check_alone(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.execution import next_tokens

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(next_tokens, "_rows_agreement", exhausted)
    text = project.path / "data" / "text.txt"
    project.thresholds(
        entry()
        + f"perplexity: {{wikitext2: {{max_relative_increase: 900%, seqlen: 64, nsamples: 1, dataset: {{path: text, data_files: {{test: {text}}}}}}}}}\n"
    )
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*agreement: a model failed: *out of memory*Both models are in memory at once for it: take *"]
    )


class TestBaseline:
    """What a baseline keeps of the original, and the divergence from it."""

    MODELS = ("--original=prunegate-results/baseline.json.gz", "--pruned=pruned")

    def kept(self, project: Bench) -> Bench:
        result = project.run("--prunegate-baseline-only", models=("--original=original",))
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            ["agreement, original: 3 windows of 64 tokens", "*Baseline: *holds agreement (3 documents).*"]
        )
        return project

    def test_the_figures_are_those_of_the_model_within_what_is_said(self, project: Bench) -> None:
        project.run().assert_outcomes(passed=1)
        exact = summary(project)["agreement"]
        project.run(
            "--prunegate-output=results",
            "--prunegate-store=other",
            "--prunegate-baseline-only",
            models=("--original=original",),
        )
        result = project.run(
            "--prunegate-store=other", models=("--original=results/baseline.json.gz", "--pruned=pruned")
        )
        result.assert_outcomes(passed=1)
        found = summary(project)["agreement"]
        assert found["sampling_error"] > 0
        assert abs(found["kl"] - exact["kl"]) < 3 * found["sampling_error"] < 0.1 * exact["kl"]
        assert (found["top1"], found["positions"]) == (exact["top1"], exact["positions"])
        assert found["perplexity_ratio"] == pytest.approx(exact["perplexity_ratio"], rel=1e-6)

    def test_all_tokens_of_a_small_vocabulary_are_kept_and_the_figures_exact(
        self, project: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from pytest_prunegate.execution import kept_distributions

        monkeypatch.setattr(kept_distributions, "_LIKELIEST", 512)
        self.kept(project).run(models=self.MODELS).assert_outcomes(passed=1)
        found = summary(project)["agreement"]
        expected = direct((project.path / "original", project.path / "pruned"), TEXT * 3, 64)
        assert found["sampling_error"] == 0
        assert found["kl"] == pytest.approx(expected["kl"], abs=1e-6)

    def test_a_threshold_within_the_sampling_is_left_open(self, project: Bench) -> None:
        self.kept(project)
        project.run(models=self.MODELS).assert_outcomes(passed=1)
        kl = summary(project)["agreement"]["kl"]
        for limit, outcome in ((kl * 1.0001, "inconclusive"), (kl * 1.5, "passed"), (kl / 1.5, "failed")):
            project.thresholds(entry(f"max_kl: {limit:.6f}"))
            assert outcome in project.run(models=self.MODELS).parseoutcomes()

    def test_a_percentile_that_sampling_makes_too_high_is_told_from_models_alone(self, project: Bench) -> None:
        self.kept(project).thresholds(entry("max_kl: 5, max_kl_p99: 5"))
        result = project.run("--prunegate-preflight", models=self.MODELS)
        result.stderr.fnmatch_lines(
            ["*thresholds.yaml:1: max_kl_p99 needs the original's whole distributions, and a baseline keeps a sample *"]
        )
        result = project.run(models=self.MODELS)
        result.assert_outcomes(passed=1, errors=1)
        assert summary(project)["agreement"]["kl_p99"] is None
        result.stdout.fnmatch_lines(["Next tokens: *of a baseline's sample: known within *"])

    def test_what_is_open_names_the_way_out(self, project: Bench) -> None:
        self.kept(project)
        project.run(models=self.MODELS).assert_outcomes(passed=1)
        project.thresholds(entry(f"max_kl: {summary(project)['agreement']['kl']:.6f}"))
        project.run(models=self.MODELS)
        (check,) = summary(project)["checks"]
        assert (
            "the exact figure may fall on either side of the threshold. Name the original itself in its baseline's place. On 3"
            in check["reason"]
        )

    def test_windows_that_it_lacks_are_told_before_a_model_is_loaded(self, project: Bench) -> None:
        self.kept(project).thresholds(entry(seqlen=32))
        result = project.run("--prunegate-preflight", models=self.MODELS)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*does not answer what this run asks:*", "*seqlen: 64 in the file, 32 asked for*"])

    def test_two_baselines_have_no_model_to_run(self, project: Bench) -> None:
        self.kept(project)
        result = project.run(
            models=("--original=prunegate-results/baseline.json.gz", "--pruned=prunegate-results/baseline.json.gz")
        )
        result.stdout.fnmatch_lines(
            ["*agreement: runs both models here, and the pruned model * is a file of answers.*"]
        )

    def test_a_second_run_keeps_nothing_again(self, project: Bench) -> None:
        self.kept(project)
        result = project.run("--prunegate-baseline-only", models=("--original=original",))
        result.stdout.fnmatch_lines(["time:*every answer is in the store; no model is loaded"])


@pytest.mark.slow
@pytest.mark.parametrize("is_consistent", [True, False])
def test_what_a_baseline_keeps_is_as_sure_as_it_says(*, is_consistent: bool) -> None:
    """Of 40 pairs of models, whose tokens are shifted alike everywhere or each by itself, two are expected outside of the 95% interval."""
    from pytest_prunegate.execution.kept_distributions import agreement_with, packed
    from pytest_prunegate.execution.next_tokens import window_agreement
    from pytest_prunegate.tasks.agreement import Agreement

    vocabulary, length, found = 2000, 32, []
    for number in range(40):
        draw = torch.Generator().manual_seed(number)
        shift = torch.randn(vocabulary, generator=draw) / 2
        exact, sampled = [], []
        for _ in range(6):
            tokens = tuple(torch.randint(vocabulary, (length,), generator=draw).tolist())
            original = torch.randn(length, vocabulary, generator=draw) * 2.5
            pruned = original + (shift if is_consistent else torch.randn(length, vocabulary, generator=draw) / 2)
            exact.append(window_agreement([original], [pruned], tokens=tokens))
            sampled.append(agreement_with(packed([original], tokens), [pruned], tokens))
        one, other = Agreement(tuple(exact)), Agreement(tuple(sampled))
        found.append((other.kl - one.kl) / other.sampling_error)
    assert sum(abs(error) > 1.96 for error in found) <= 6
    assert 0.75 < math.sqrt(sum(error**2 for error in found) / len(found)) < 1.3
