"""Zeros layer by layer, from the names of tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.checkpoint.sparsity import LayerZeros, sparsity


def tensor(name: str, *shape: int) -> StoredTensor:
    return StoredTensor(name=name, dtype="F32", shape=shape, file=Path("x"), start=0, stop=0)


@pytest.mark.parametrize(
    "names",
    [
        ("model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.down_proj.weight"),
        ("transformer.h.{}.attn.c_attn.weight", "transformer.h.{}.mlp.c_fc.weight"),
        ("blk.{}.attn_q.weight", "blk.{}.ffn_down.weight"),
        ("model.language_model.layers.{}.mlp.experts.0.w1.weight", "model.language_model.layers.{}.mlp.experts.7.w1.weight"),
        ("gpt_neox.layers.{}.attention.dense.weight", "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight"),
    ],
)  # fmt: skip
def test_each_layer_has_its_own_weights(names: tuple[str, str]) -> None:
    tensors = [tensor(name.format(layer), 2, 5) for name in names for layer in (10, 9)]
    found = sparsity([*tensors, tensor("lm_head.weight", 2, 5)], [1, 2, 3, 4, None], None)
    assert found.layers == (LayerZeros(layer=9, zeros=6, elements=20), LayerZeros(layer=10, zeros=4, elements=20))
    assert (found.zeros, found.elements) == (10, 40)


def test_a_stack_of_experts_counts_into_its_layer() -> None:
    tensors = [tensor("model.layers.3.mlp.experts.gate_up_proj", 4, 2, 5), tensor("blk.3.ffn_up_exps.weight", 4, 2, 5)]
    assert sparsity(tensors, [7, 1], None).layers == (LayerZeros(layer=3, zeros=8, elements=80),)


def test_what_cannot_be_counted_has_no_layers() -> None:
    assert sparsity([tensor("model.layers.0.mlp.up_proj.weight", 2, 5)], [None], "gptq").layers == ()
