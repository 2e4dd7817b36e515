"""How many of a checkpoint's decoder weights are zero, counted in the files as they lie.

Counted are the linear weights of the decoder's layers, as pruning papers do (``check_sparsity`` of
https://github.com/locuslab/wanda): no embeddings, no output head, no norms, no biases. -0.0 is zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.checkpoint.safetensors_header import StoredTensor

# Unsigned integers of the same width, and a mask that drops the sign: -0.0 has no other bit set.
_WORDS = {"F64": ("<u8", 0x7FFF_FFFF_FFFF_FFFF), "F32": ("<u4", 0x7FFF_FFFF), "F16": ("<u2", 0x7FFF), "BF16": ("<u2", 0x7FFF)}  # fmt: skip
_IN_A_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block|blk)\.(\d+)\.")
_OTHER_PARTS = re.compile(
    r"(?:^|[._])(?:norm|ln|embed|lora|vision|visual|audio|image|encoder)\w*\.|_norm\.|layernorm\.", re.IGNORECASE
)
_FUSED_EXPERTS = re.compile(r"experts\.|_exps\.")
_MATRIX, _EXPERTS = 2, 3


@dataclass(frozen=True, kw_only=True)
class LayerZeros:
    """Zeros among the linear weights of one decoder layer, all its experts included."""

    layer: int
    zeros: int
    elements: int


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """Zeros among the decoder's linear weights; `problem` says why they cannot be counted, and then both are None.

    `layers` has them layer by layer, by the number in the tensors' names; empty where that is not known.
    """

    zeros: int | None = None
    elements: int | None = None
    problem: str | None = None
    layers: tuple[LayerZeros, ...] = ()

    @property
    def share(self) -> Fraction | None:
        """Zeros over elements; None where they cannot be counted."""
        return Fraction(self.zeros, self.elements) if self.zeros is not None and self.elements else None


def is_decoder_linear(name: str, shape: Sequence[int]) -> bool:
    """Whether a tensor is a linear weight of a decoder layer: a matrix, or a stack of them for fused experts."""
    if not _IN_A_LAYER.search(name) or _OTHER_PARTS.search(name) or name.endswith("bias"):
        return False
    if len(shape) == _MATRIX:
        return name.endswith(".weight") or bool(_FUSED_EXPERTS.search(name))
    return len(shape) == _EXPERTS and bool(_FUSED_EXPERTS.search(name))


def can_count(tensor: StoredTensor) -> bool:
    """Whether a tensor's zeros can be told from its bytes: plain floating point numbers."""
    return tensor.dtype in _WORDS


def count_zeros(piece: memoryview, dtype: str) -> int:
    """Zeros in a piece of a tensor's bytes, which holds whole numbers; -0.0 counts."""
    import numpy as np

    width, mask = _WORDS[dtype]
    words = np.frombuffer(piece, dtype=width)
    return int(words.size - np.count_nonzero(words & words.dtype.type(mask)))


def sparsity(tensors: Sequence[StoredTensor], zeros: Sequence[int | None], packed: str | None) -> Sparsity:
    """Sparsity of a checkpoint.

    Args:
        tensors: all tensors of its files.
        zeros: of each of them, where it was counted.
        packed: the name of a packed or quantised format that the checkpoint is in.
    """
    if packed:
        return Sparsity(problem=f"the weights are packed or quantised ({packed})")
    counted = [
        (tensor, zero) for tensor, zero in zip(tensors, zeros, strict=True) if is_decoder_linear(tensor.name, tensor.shape)
    ]  # fmt: skip
    if not counted:
        return Sparsity(problem="no linear weights of decoder layers were found in safetensors or GGUF files")
    odd = sorted({tensor.dtype for tensor, _ in counted if not can_count(tensor)})
    if odd:
        return Sparsity(problem=f"weights are stored as {', '.join(odd)}")
    layers = _by_layer([(tensor, zero or 0) for tensor, zero in counted])
    return Sparsity(
        zeros=sum(layer.zeros for layer in layers), elements=sum(layer.elements for layer in layers), layers=layers
    )


def _by_layer(counted: Sequence[tuple[StoredTensor, int]]) -> tuple[LayerZeros, ...]:
    sums: dict[int, tuple[int, int]] = {}
    for tensor, zero in counted:
        found = _IN_A_LAYER.search(tensor.name)
        assert found is not None, "a decoder's linear weight is in a layer"
        zeros, elements = sums.get(int(found[1]), (0, 0))
        sums[int(found[1])] = (zeros + zero, elements + tensor.elements)
    return tuple(
        LayerZeros(layer=layer, zeros=zeros, elements=elements) for layer, (zeros, elements) in sorted(sums.items())
    )


def packed_format(config: dict[str, Any]) -> str | None:
    """The quantised or packed format that a configuration declares; None where weights are stored as plain numbers."""
    declared = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(declared, dict):
        return None
    method = str(declared.get("quant_method") or "no method named")
    if method == "compressed-tensors":
        compressed = (declared.get("sparsity_config") or {}).get("format", "dense")
        if compressed == "dense" and not declared.get("config_groups"):
            return None
        return f"{method}, {declared.get('format') or compressed}"
    if declared.get("load_in_4bit") or declared.get("load_in_8bit"):
        method += ", 4 bits" if declared.get("load_in_4bit") else ", 8 bits"
    return method
