"""Checks on what pruning left in the files: outcomes, exit codes, and messages that name the worst tensors."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.pruned_checkpoints import DTYPES, INNER, LAYERS, by_groups, half, is_matrix, prune, two_dense

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


@pytest.fixture
def project(bench: Bench) -> Bench:
    return two_dense(bench)


def figures(bench: Bench) -> dict[str, dict[str, Any]]:
    found = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    return {check["name"]: check for check in found}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_threshold_and_figures_equal_to_torchs(project: Bench, dtype: str) -> None:
    tensors = prune(project.path / "pruned", by_groups(2, 4), DTYPES[dtype])
    prune(project.path / "original", lambda _, tensor: tensor, DTYPES[dtype])
    project.thresholds('sparsity: {min: 50%, max: 55%, per_layer_min: 50%, pattern: "2:4", max_size: 1 MiB}\n')
    result = project.run("-v")
    result.assert_outcomes(passed=5)
    assert result.ret == 0
    found = figures(project)
    matrices = [one.float() for name, one in tensors.items() if is_matrix(name)]
    zeros = sum(int((one == 0).sum()) for one in matrices) / sum(one.numel() for one in matrices)
    assert found["min"]["pruned"] == found["max"]["pruned"] == pytest.approx(zeros, abs=1e-12)
    assert found["per_layer_min"]["pruned"] == min(float((one == 0).float().mean()) for one in matrices)
    assert (found["pattern"]["pruned"], found["pattern"]["documents"]) == (
        1.0,
        sum(one.numel() for one in matrices) // 4,
    )
    assert found["max_size"]["pruned"] == (project.path / "pruned" / "model.safetensors").stat().st_size
    assert (found["max_size"]["unit"], found["max_size"]["difference"]) == ("bytes", None)


def test_one_violated_group_fails_and_is_named_with_its_place(project: Bench) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        found = by_groups(2, 4)(name, tensor)
        if name == "model.layers.5.mlp.up_proj.weight":
            found[17, 20:24] = torch.tensor([1.0, 2.0, 3.0, 0.0])
        return found

    prune(project.path / "pruned", change)
    project.thresholds('sparsity: {min: 49%, pattern: "2:4"}\n')
    result = project.run()
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    broken = "model.layers.5.mlp.up_proj.weight (1 broken, the first at row 17, column 20; nearly 2:4)."
    result.stdout.fnmatch_lines(
        ["threshold: *pattern 2:4", "where: *model.layers.5.mlp.up_proj.weight (1 broken, the first at row 17*"]
    )
    check = figures(project)["pattern"]
    assert check["pruned"] == 1 - 1 / check["documents"]
    assert broken in check["reason"]
    assert "100.0%" not in check["reason"], "what is not all does not look like all"


def test_dense_layers_behind_a_good_mean(project: Bench) -> None:
    """Four layers all zero, four dense: 50.0%."""

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * (int(name.split(".")[2]) >= LAYERS // 2)

    prune(project.path / "pruned", change)
    project.thresholds("sparsity: {min: 50%, per_layer_min: 30%}\n")
    result = project.run()
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["where: *Least sparse: model.layers.4.*0.0%,*"])
    check = figures(project)["per_layer_min"]
    assert check["pruned"] == 0
    assert check["reason"].count("model.layers.4.") == 3


def test_a_scope_selects_parameters_by_name(project: Bench) -> None:
    prune(project.path / "pruned", lambda name, tensor: half(name, tensor) if "mlp" in name else tensor)
    project.thresholds("sparsity: {min: 49%, per_layer_min: 49%, scope: mlp}\n")
    project.run().assert_outcomes(passed=2)
    assert "whose names match mlp" in figures(project)["min"]["reason"]
    project.thresholds("sparsity: {min: 49%, scope: 'self_attn|mlp'}\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Least sparse: model.layers.*self_attn*"])
    project.thresholds("sparsity: {min: 49%, scope: nothing}\n")
    result = project.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            "*thresholds.yaml:1: the min of the pruned model pruned cannot be counted: no parameter's name matches scope: nothing.*"
        ]
    )


def test_too_much_is_a_mistake_too(project: Bench) -> None:
    prune(project.path / "pruned", half)
    project.thresholds("sparsity: {max: 40%}\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*sparsity at most 40%*"])


def test_the_report_says_what_pruning_left(project: Bench) -> None:
    """Patterns, parts and blocks, without being asked; figures equal to torch's."""

    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        return by_groups(2, 4)(name, tensor) if "mlp" in name else tensor

    tensors = prune(project.path / "pruned", change)
    project.thresholds("sparsity: {max: 60%}\n")
    result = project.run()
    result.stdout.fnmatch_lines(
        ["Sparsity: original 0.0%, pruned * (2:4 in 24 of 56 matrices; dense in 32 of 56 matrices)."]
    )
    found = json.loads((project.results / "comparison_results.json").read_text())["models"]
    assert [part["part"] for part in found["pruned"]["parts"]] == ["attention", "MLP"]
    mlp = torch.cat([one.flatten() for name, one in tensors.items() if "mlp" in name])
    assert found["pruned"]["parts"][1]["zeros"] == int((mlp == 0).sum())
    assert (found["pruned"]["parts"][0]["zeros"], found["original"]["blocks"]) == (0, [])
    assert sum(found["pruned"]["blocks"]) == sum(one.numel() for name, one in tensors.items() if is_matrix(name)) // 256
    assert found["pruned"]["blocks"][6] == len(mlp) // 256, "each block of 2:4 is half zero"
    for name in ("comparison_report.md", "comparison_report.html"):
        assert "2:4 in 24 of 56 matrices; dense in 32 of 56 matrices" in (project.results / name).read_text()


def test_blocks(project: Bench) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        blocks = tensor.clone().reshape(tensor.shape[0] // 16, 16, tensor.shape[1] // 16, 16)
        blocks[::2, :, 1::2] = 0
        if name == "model.layers.1.mlp.down_proj.weight":
            blocks[1, 3, 0, :8] = 0
        return blocks.reshape(tensor.shape)

    prune(project.path / "pruned", change)
    project.thresholds('sparsity: {pattern: "block:16x16"}\n')
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["where: *model.layers.1.mlp.down_proj.weight (1 broken, the first at row 16,*"])


def test_fewer_parameters_and_a_size(project: Bench) -> None:
    """Structured pruning: narrower MLPs, told by the configuration."""
    path = project.path / "pruned"
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"intermediate_size": INNER // 2}))
    tensors = load_file(path / "model.safetensors")
    for name, tensor in tensors.items():
        if "mlp" in name:
            tensors[name] = (tensor[:, : INNER // 2] if "down" in name else tensor[: INNER // 2]).contiguous()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    project.thresholds("sparsity: {min_parameter_reduction: 20%, max_size: 100 KiB}\n")
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*size on disk at most 100 KiB*"])
    found = figures(project)
    assert 0.2 < found["min_parameter_reduction"]["pruned"] < 0.5
    assert " -> " in found["min_parameter_reduction"]["reason"]
    assert "KiB -> " in found["max_size"]["reason"]
    result.stdout.fnmatch_lines(["Smaller than the original: MLP channels 64 -> 32."])
    assert "MLP channels 64 -> 32" in (project.results / "comparison_report.md").read_text()


@pytest.mark.parametrize("side", ["original", "pruned"])
def test_weights_that_are_no_numbers_are_told_before_anything(project: Bench, side: str) -> None:
    def change(name: str, tensor: torch.Tensor) -> torch.Tensor:
        found = tensor.clone()
        if "layers.3.mlp.up" in name:
            found[0, :2] = torch.nan
        return found

    prune(project.path / side, change)
    project.thresholds("sparsity: {max: 60%}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*{side}: weights are NaN or infinite: model.layers.3.mlp.up_proj.weight (2 of 2,048).*"]
    )


def test_shards_and_another_day(project: Bench) -> None:
    """Two shards count like one file; the figures of a first day stay for a second, and another scope is another figure."""
    from transformers import AutoModelForCausalLM

    prune(project.path / "pruned", by_groups(4, 8))
    model = AutoModelForCausalLM.from_pretrained(project.path / "pruned")
    (project.path / "pruned" / "model.safetensors").unlink()
    model.save_pretrained(project.path / "pruned", max_shard_size="100KB")
    assert len(list((project.path / "pruned").glob("*.safetensors"))) > 1
    project.thresholds('sparsity: {min: 50%, pattern: "4:8"}\n')
    project.run("thresholds.yaml::sparsity::min").assert_outcomes(passed=1)
    result = project.run("thresholds.yaml::sparsity::pattern")
    result.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
    project.thresholds('sparsity: {min: 50%, pattern: "4:8", scope: mlp}\n')
    result = project.run("thresholds.yaml::sparsity::pattern")
    result.stdout.fnmatch_lines(["Stale: sparsity::min of *: other settings."])


def pack_as_bitmask(folder: Path, *, of_24: bool) -> None:
    """Store each matrix as compressed-tensors' sparse-24-bitmask or sparse-bitmask does."""
    path = folder / "model.safetensors"
    found: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(path).items():
        if not is_matrix(name):
            found[name] = tensor
            continue
        marked = tensor != 0
        assert not of_24 or bool((marked.reshape(-1, 4).sum(-1) == 2).all())
        stem = name.removesuffix(".weight") if of_24 else name
        found[f"{stem}.compressed"] = tensor[marked].reshape(len(tensor), -1) if of_24 else tensor[marked]
        found[f"{stem}.bitmask"] = torch.from_numpy(np.packbits(marked.numpy(), axis=-1, bitorder="little"))
        found[f"{stem}.shape"] = torch.tensor(tensor.shape).reshape(-1, 1) if of_24 else torch.tensor(tensor.shape)
        if not of_24:
            found[f"{stem}.row_offsets"] = marked.sum(-1).cumsum(0) - marked.sum(-1)
    save_file(found, path, {"format": "pt"})
    name = "sparse-24-bitmask" if of_24 else "sparse-bitmask"
    declared = {"quant_method": "compressed-tensors", "format": "dense", "sparsity_config": {"format": name}}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": declared}))


@pytest.mark.parametrize("name", ["sparse-24-bitmask", "sparse-bitmask"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_behind_a_bitmask_count_as_the_matrices_that_they_stand_for(
    project: Bench, dtype: str, name: str
) -> None:
    of_24 = name == "sparse-24-bitmask"
    prune(project.path / "pruned", by_groups(2, 4) if of_24 else half, DTYPES[dtype])
    project.thresholds(f'sparsity: {{min: 49%, per_layer_min: 45%, pattern: "{"2:4" if of_24 else "8:9"}"}}\n')
    project.run()
    plain = json.loads((project.results / "comparison_results.json").read_text())
    pack_as_bitmask(project.path / "pruned", of_24=of_24)
    project.run()
    packed = json.loads((project.results / "comparison_results.json").read_text())
    names = ("zeros", "weights", "sparsity", "layers", "patterns", "parts", "blocks", "parameters")
    assert [packed["models"]["pruned"][name] for name in names] == [plain["models"]["pruned"][name] for name in names]
    assert packed["models"]["pruned"]["quantised"] == f"compressed-tensors, {name}"
    both = [{check["name"]: (check["outcome"], check["pruned"]) for check in one["checks"]} for one in (plain, packed)]
    if of_24:
        assert both[1]["pattern"] == ("pass", 1.0)
    else:
        assert both[1]["pattern"][0] == "error", (
            "a pattern that the counts do not tell is looked for in plain numbers alone"
        )
        both = [{name: found for name, found in one.items() if name != "pattern"} for one in both]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("shape", lambda shape: shape * 2, "its bitmask does not fit the shape"),
        ("bitmask", lambda bits: bits | 0xFF, "has fewer numbers than its bitmask marks"),
        ("compressed", None, "its numbers or its shape are missing"),
    ],
)
def test_a_damaged_bitmask_is_an_error(project: Bench, part: str, change: Any, said: str) -> None:
    prune(project.path / "pruned", by_groups(2, 4))
    pack_as_bitmask(project.path / "pruned", of_24=True)
    path = project.path / "pruned" / "model.safetensors"
    tensors = load_file(path)
    name = f"model.layers.2.mlp.up_proj.{part}"
    found = tensors.pop(name)
    if change is not None:
        tensors[name] = change(found)
    save_file(tensors, path, {"format": "pt"})
    project.thresholds("sparsity: {min: 40%}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*model.layers.2.mlp.up_proj*{said}*"])


def test_another_pattern_is_another_figure(project: Bench) -> None:
    prune(project.path / "pruned", half)
    project.thresholds('sparsity: {min: 40%, pattern: "9:10"}\n')
    project.run()
    project.thresholds('sparsity: {min: 40%, pattern: "2:4"}\n')
    result = project.run("-k", "min")
    result.stdout.fnmatch_lines(["Stale: sparsity::pattern of *: other settings."])


def test_a_changed_file_is_looked_at_again(project: Bench) -> None:
    prune(project.path / "pruned", by_groups(2, 4))
    project.thresholds('sparsity: {pattern: "2:4"}\n')
    project.run().assert_outcomes(passed=1)
    shutil.copy(project.path / "original" / "model.safetensors", project.path / "pruned" / "model.safetensors")
    project.run().assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('{pattern: "2:4", scope: layernorm}', "what is selected has no groups or blocks"),
        ('{pattern: "2:99"}', "the rows of model.layers.0.* have * numbers, and a group of 2:99 has 99"),
    ],
)
def test_a_pattern_of_nothing_is_an_error(project: Bench, entry: str, said: str) -> None:
    project.thresholds(f"sparsity: {entry}\n")
    result = project.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines([f"*cannot be counted: {said}*"])


def test_dense_matrices_have_no_blocks(project: Bench) -> None:
    project.thresholds('sparsity: {pattern: "block:16x16"}\n')
    result = project.run()
    result.assert_outcomes(failed=1)
    assert "No block is all zero." in figures(project)["pattern"]["reason"]


def test_blocks_at_the_edges_are_judged_by_what_they_have(project: Bench) -> None:
    """Blocks of 24 do not fit: one block of each matrix is empty, the others are dense, cut or not."""

    def change(_: str, tensor: torch.Tensor) -> torch.Tensor:
        found = tensor.clone()
        found[:24, :24] = 0
        return found

    prune(project.path / "pruned", change)
    project.thresholds('sparsity: {pattern: "block:24x24"}\n')
    project.run().assert_outcomes(passed=1)


def test_a_scope_counts_no_biases_beside_matrices(project: Bench) -> None:
    path = project.path / "pruned"
    for folder in (path, project.path / "original"):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"mlp_bias": True}))
        tensors = load_file(folder / "model.safetensors")
        for name in [name for name in tensors if "mlp" in name]:
            tensors[name.replace("weight", "bias")] = torch.ones(len(tensors[name]))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    prune(path, lambda name, tensor: by_groups(2, 4)(name, tensor) if tensor.ndim > 1 else tensor)
    project.thresholds('sparsity: {min: 50%, per_layer_min: 50%, pattern: "2:4", scope: mlp}\n')
    project.run().assert_outcomes(passed=3)
    project.thresholds("sparsity: {max: 1%, scope: layernorm}\n")
    project.run().assert_outcomes(passed=1)
