"""Whether zeros survive fine-tuning and merging: outcomes, messages, and the places where they grew again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.pruned_checkpoints import half, is_matrix, prune, two_dense

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bench

THRESHOLDS = "mask: {max_regrown: 0.1%}\n"
MASK = "--prunegate-mask-from=masked"


@pytest.fixture
def masked(bench: Bench) -> Bench:
    """A dense original, a half sparse model, and a copy of that which is what fine-tuning made of it."""
    two_dense(bench)
    prune(bench.path / "pruned", half)
    shutil.copytree(bench.path / "pruned", bench.path / "masked")
    bench.thresholds(THRESHOLDS)
    return bench


def edit(bench: Bench, change: Callable[[str, torch.Tensor], torch.Tensor], folder: str = "pruned") -> None:
    path = bench.path / folder / "model.safetensors"
    tensors = {name: change(name, tensor).contiguous() for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})


def summary(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def trained(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Weights that moved; zeros stayed."""
    return tensor * 1.01 if is_matrix(name) else tensor


def test_a_mask_that_held_passes(masked: Bench) -> None:
    edit(masked, trained)
    result = masked.run("-v", MASK)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["Zeros regrown since masked: 0.0%; 0 are new."])
    assert summary(masked)["mask"]["regrown"] == 0


def test_one_per_cent_of_the_zeros_grown_again_fails_and_names_the_layers(masked: Bench) -> None:
    regrown: dict[int, int] = {}

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        layer = int(name.split(".")[2]) if is_matrix(name) else 0
        if not is_matrix(name) or layer < 6:
            return tensor
        places = (tensor == 0).flatten().nonzero().flatten()[::25]
        regrown[layer] = regrown.get(layer, 0) + len(places)
        found = tensor.clone().flatten()
        found[places] = 0.5
        return found.reshape(tensor.shape)

    edit(masked, change)
    result = masked.run(MASK)
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["threshold: *regrown zeros at most 0.1%", "where: *The first layers: 6 (4.*%), 7 (4.*%). Most:*"]
    )
    found = summary(masked)["mask"]
    assert found["regrown"] == sum(regrown.values())
    assert found["share"] == pytest.approx(0.01, abs=0.001)
    assert {layer["layer"]: layer["regrown"] for layer in found["layers"] if layer["regrown"]} == regrown
    (check,) = summary(masked)["checks"]
    assert (check["pruned"], check["documents"]) == (found["regrown"] / found["zeros"], found["zeros"])
    for report in ("comparison_report.md", "comparison_report.html"):
        assert "Zeros regrown since masked" in (masked.results / report).read_text()


def test_a_merged_adapter_fails_where_min_passes(masked: Bench) -> None:
    """LoRA on q and v, merged: these matrices are dense again."""
    edit(masked, lambda name, tensor: tensor + 0.01 if "q_proj" in name or "v_proj" in name else tensor)
    masked.thresholds("sparsity: {min: 35%}\n" + THRESHOLDS)
    result = masked.run(MASK)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*_proj.weight 100.0%*"])
    edit(masked, lambda name, tensor: tensor * (load_file(masked.path / "masked" / "model.safetensors")[name] != 0))
    masked.run(MASK).assert_outcomes(passed=2)


def test_new_zeros_are_told(masked: Bench) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(tensor) if name == "model.layers.0.self_attn.q_proj.weight" else tensor

    edit(masked, change)
    masked.run(MASK).assert_outcomes(passed=1)
    assert summary(masked)["mask"]["new"] == 512


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_models_of_two_dtypes(masked: Bench, dtype: torch.dtype) -> None:
    edit(masked, lambda _, tensor: tensor.to(dtype))
    masked.run(MASK).assert_outcomes(passed=1)


def test_without_the_model_after_pruning_it_says_what_is_missing(masked: Bench) -> None:
    result = masked.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*thresholds.yaml:1: --prunegate-mask-from=MODEL is missing: *"])
    preflight = masked.run("--prunegate-preflight")
    assert preflight.ret == pytest.ExitCode.USAGE_ERROR
    preflight.stderr.fnmatch_lines(["*--prunegate-mask-from=MODEL is missing: *"])
    result = masked.run("--prunegate-mask-from=nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--prunegate-mask-from=nowhere: there is no *"])


def test_another_architecture_is_an_error(masked: Bench) -> None:
    edit(
        masked,
        lambda name, tensor: tensor[:, :32] if "down_proj" in name else tensor[:32] if "mlp" in name else tensor,
        "masked",
    )
    path = masked.path / "masked" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 32}))
    result = masked.run(MASK)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*cannot be counted: model.layers.0.mlp.* was * right after pruning, and is *"])


def test_each_of_several_candidates_has_its_own(masked: Bench) -> None:
    shutil.copytree(masked.path / "original", masked.path / "other")
    models = ("--original=original", "--pruned=a=pruned", "--pruned=b=other")
    result = masked.run(MASK, models=models)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*--prunegate-mask-from=masked: of several candidates, say whose it is: --prunegate-mask-from=NAME=MODEL, with NAME one of a, b, each once.*"
        ]
    )
    result = masked.run("--prunegate-mask-from=a=masked", "--prunegate-mask-from=b=masked", models=models)
    result.assert_outcomes(passed=1, failed=1)


def test_an_earlier_figure_against_another_model_is_stale(masked: Bench) -> None:
    masked.thresholds("sparsity: {min: 40%}\n" + THRESHOLDS)
    masked.run(MASK, "-m", "mask").assert_outcomes(passed=1)
    masked.run(MASK, "-m", "sparsity").stdout.fnmatch_lines(
        ["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"]
    )
    shutil.copytree(masked.path / "original", masked.path / "again")
    result = masked.run("--prunegate-mask-from=again", "-m", "sparsity")
    result.stdout.fnmatch_lines(["Stale: mask::max_regrown of *: other settings."])


def test_a_model_without_zeros_is_no_mask(masked: Bench) -> None:
    result = masked.run("--prunegate-mask-from=original")
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*thresholds.yaml:1: original has no zeros that could grow again. Is it the model right after pruning?*"]
    )


def test_the_model_after_pruning_needs_no_tokenizer(masked: Bench) -> None:
    for path in (masked.path / "masked").glob("*token*"):
        path.unlink()
    masked.run(MASK).assert_outcomes(passed=1)
