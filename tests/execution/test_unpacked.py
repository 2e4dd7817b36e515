"""Zeros of packed checkpoints, counted through the packages that pack them."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.pruned_checkpoints import by_groups, dense_checkpoint, is_matrix, prune

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.inspector import TorchInspector
from pytest_prunegate.input.model_argument import parse_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.sparsity import Sparsity

    Pack = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]

GROUP = 16


@pytest.fixture
def two_of_four(tmp_path: Path) -> Path:
    """A Llama with two of four weights in its matrices."""
    folder = tmp_path / "pruned"
    shutil.copytree(dense_checkpoint(), folder)
    prune(folder, by_groups(2, 4))
    return folder


def pack(folder: Path, packed: Pack, declared: Mapping[str, Any]) -> None:
    """Save each matrix as its parts."""
    path = folder / "model.safetensors"
    found: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(path).items():
        stem = name.removesuffix("weight")
        parts = {stem + end: one for end, one in packed(tensor).items()} if is_matrix(name) else {name: tensor}
        found |= {key: one.contiguous() for key, one in parts.items()}
    save_file(found, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": dict(declared)}))


def sparsity_of(folder: Path) -> Sparsity:
    location = locate(parse_model("pruned", str(folder), folder.parent, arguments={}), cache_dir=None)
    return read_facts(location, inspector=TorchInspector(folder.parent / "layouts")).sparsity


def compressed(*, symmetric: bool) -> tuple[Pack, dict[str, Any]]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    weights = {"num_bits": 4, "strategy": "group", "group_size": GROUP, "symmetric": symmetric}
    group = {"targets": ["Linear"], "weights": weights}
    declared = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": group}}
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")

    def packed(tensor: torch.Tensor) -> Mapping[str, torch.Tensor]:
        groups = tensor.reshape(tensor.shape[0], -1, GROUP)
        lowest, highest = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = groups.abs().amax(-1) / 7 if symmetric else (highest - lowest) / 15
        zero = torch.zeros_like(scale) if symmetric else (-8 - lowest / scale).round()
        parts = {"weight": tensor, "weight_scale": scale, "weight_zero_point": zero.to(torch.int8)}
        return dict(compressor.compress(parts, QuantizationScheme.model_validate(group)))

    return packed, declared


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero points"])
def test_two_of_four_are_found_in_compressed_tensors(two_of_four: Path, *, symmetric: bool) -> None:
    pytest.importorskip("compressed_tensors")
    before = sparsity_of(two_of_four)
    pack(two_of_four, *compressed(symmetric=symmetric))
    found = sparsity_of(two_of_four)
    assert (found.problem, found.elements) == (None, before.elements)
    assert found.zeros is not None
    assert before.zeros is not None
    assert before.zeros <= found.zeros < 1.3 * before.zeros  # small weights are rounded to zero as well
    assert {one.counts.fullest_across[0] for one in found.tensors if one.is_linear} == {2}


def test_four_bits_of_bitsandbytes_are_counted(two_of_four: Path) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    zeros = 0

    def packed(tensor: torch.Tensor) -> Mapping[str, torch.Tensor]:
        nonlocal zeros
        data, state = functional.quantize_4bit(tensor, quant_type="nf4", compress_statistics=True)
        zeros += int((functional.dequantize_4bit(data, state) == 0).sum())
        parts = state.as_dict(packed=True)
        return {"weight": data} | {f"weight.{key}": one for key, one in parts.items()}

    pack(two_of_four, packed, {"quant_method": "bitsandbytes", "load_in_4bit": True})
    found = sparsity_of(two_of_four)
    assert (found.problem, found.zeros) == (None, zeros)
    assert {one.counts.fullest_across[0] for one in found.tensors if one.is_linear} == {2}


def test_a_package_that_is_missing_is_named(two_of_four: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("compressed_tensors")
    pack(two_of_four, *compressed(symmetric=True))
    for name in [name for name in sys.modules if name.startswith("compressed_tensors")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    found = sparsity_of(two_of_four)
    assert found.zeros is None
    assert "(compressed-tensors, pack-quantized; they cannot be unpacked: " in str(found.problem)
    assert "install compressed-tensors" in str(found.problem)
