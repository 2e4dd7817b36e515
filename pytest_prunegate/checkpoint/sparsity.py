"""How many of the weights that a model multiplies with are zero, counted in the files as they lie.

Which they are is the layout's to say: the matrices of linear layers and of experts, without embeddings, output head, norms and
biases, as pruning papers count them (``check_sparsity`` of https://github.com/locuslab/wanda). Routers, which pruners leave dense, are
counted apart. -0.0 is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.layout import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_prunegate.checkpoint.layout import Layout, MergedZeros
    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo

# Unsigned integers of the same width, and a mask that drops the sign: -0.0 has no other bit set. A scale keeps zeros zero.
_WORDS = {
    "F64": ("<u8", 0x7FFF_FFFF_FFFF_FFFF), "F32": ("<u4", 0x7FFF_FFFF), "F16": ("<u2", 0x7FFF), "BF16": ("<u2", 0x7FFF),
    "F8_E4M3": ("u1", 0x7F), "F8_E5M2": ("u1", 0x7F), "I8": ("u1", 0xFF),
}  # fmt: skip
_SHIFTS = ("_zero_point", ".zero_point")  # beside a quantised weight whose zero is another integer


@dataclass(frozen=True, kw_only=True)
class LayerZeros:
    """Zeros among the linear weights of one decoder layer, all its experts included."""

    layer: int
    zeros: int
    elements: int


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """Zeros among the weights that the model multiplies with; `problem` says why they cannot be counted, and then both are None.

    `layers` has those of the decoder, layer by layer. `router_zeros` and `router_elements` are of the routers, and not in the others.
    """

    zeros: int | None = None
    elements: int | None = None
    problem: str | None = None
    layers: tuple[LayerZeros, ...] = ()
    router_zeros: int = 0
    router_elements: int = 0

    @property
    def share(self) -> Fraction | None:
        """Zeros over elements; None where they cannot be counted."""
        return Fraction(self.zeros, self.elements) if self.zeros is not None and self.elements else None


def can_count(tensor: TensorInfo) -> bool:
    """Whether a tensor's zeros can be told from its bytes: plain numbers."""
    return tensor.dtype in _WORDS


def count_zeros(piece: memoryview, dtype: str) -> int:
    """Zeros in a piece of a tensor's bytes, which holds whole numbers; -0.0 counts."""
    import numpy as np

    width, mask = _WORDS[dtype]
    words = np.frombuffer(piece, dtype=width)
    return int(words.size - np.count_nonzero(words & words.dtype.type(mask)))


def sparsity(
    tensors: Sequence[TensorInfo], zeros: Sequence[int | None], layout: Layout | str, packed: str | None = None
) -> Sparsity:
    """Sparsity of a checkpoint.

    Args:
        tensors: all tensors of its files.
        zeros: of each of them, where it was counted.
        layout: where they go in the model, or why that is not known.
        packed: the name of a packed or quantised format that the checkpoint is in.
    """
    if isinstance(layout, str):
        return Sparsity(problem=f"which of its tensors the model multiplies with is not known: {layout}")
    again, found = layout.again(), dict(zip(tensors, zeros, strict=True))
    once = {tensor: zero for tensor, zero in found.items() if tensor.name not in again and tensor.name in layout.places}
    linear = {tensor: zero for tensor, zero in once.items() if layout.places[tensor.name].role is Role.LINEAR}
    if problem := _problem(found, linear, layout, packed):
        return Sparsity(problem=problem)
    routers = [(tensor, zero or 0) for tensor, zero in once.items() if layout.places[tensor.name].role is Role.ROUTER]
    return Sparsity(
        zeros=sum(zero or 0 for zero in linear.values()), elements=layout.linear,
        layers=_by_layer(((tensor, zero or 0) for tensor, zero in linear.items()), layout),
        router_zeros=sum(zero for _, zero in routers), router_elements=sum(tensor.elements for tensor, _ in routers),
    )  # fmt: skip


def with_merged(base: Sparsity, merged: Sequence[MergedZeros]) -> Sparsity:
    """Sparsity of a base with an adapter merged into it."""
    changes: dict[int | None, int] = {}
    for one in merged:
        changes[one.layer] = changes.get(one.layer, 0) + one.after - one.before
    layers = tuple(replace(layer, zeros=layer.zeros + changes.get(layer.layer, 0)) for layer in base.layers)
    return replace(base, zeros=(base.zeros or 0) + sum(changes.values()), layers=layers)


def _problem(
    found: Iterable[TensorInfo], linear: dict[TensorInfo, int | None], layout: Layout, packed: str | None
) -> str | None:
    """Why the zeros of matrices cannot be told from their bytes."""
    if not layout.linear:
        return f"{layout.architecture} has no linear layers"
    odd = sorted({tensor.dtype for tensor in linear if not can_count(tensor)})
    names = {tensor.name for tensor in found}
    is_shifted = any(
        f"{tensor.name}{end}" in names or f"{tensor.name.removesuffix('.weight')}{end}" in names
        for tensor in linear
        for end in _SHIFTS
    )
    is_whole = sum(tensor.elements for tensor in linear) == layout.linear
    if packed and (odd or is_shifted or not is_whole):
        return f"the weights are packed or quantised ({packed})"
    if odd:
        return f"weights are stored as {', '.join(odd)}"
    return None if is_whole else "the files do not hold all of the weights that the model multiplies with"


def _by_layer(counted: Iterable[tuple[TensorInfo, int]], layout: Layout) -> tuple[LayerZeros, ...]:
    sums: dict[int, tuple[int, int]] = {}
    for tensor, zero in counted:
        layer = layout.places[tensor.name].layer
        if layer is not None:
            zeros, elements = sums.get(layer, (0, 0))
            sums[layer] = (zeros + zero, elements + tensor.elements)
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
