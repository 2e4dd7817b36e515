"""How many of the weights that a model multiplies with are zero, counted in the files as they lie.

Which they are is the layout's to say: the matrices of linear layers and of experts, without embeddings, output head, norms and
biases, as pruning papers count them (``check_sparsity`` of https://github.com/locuslab/wanda). Routers, which pruners leave dense, are
counted apart. -0.0 is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.layout import Role
from pytest_prunegate.checkpoint.overview import NOTHING, CountedTensor, Overview, overview_of
from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
from pytest_prunegate.checkpoint.structure import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_prunegate.checkpoint.layout import Counted, Layout
    from pytest_prunegate.checkpoint.packed import PackedFormat
    from pytest_prunegate.checkpoint.structure import TensorCounts

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
    `overview` is what is told of all matrices. `tensors` are all parameters that were counted, in the files' order; none where a baseline's
    file takes the model's place.
    """

    zeros: int | None = None
    elements: int | None = None
    problem: str | None = None
    layers: tuple[LayerZeros, ...] = ()
    router_zeros: int = 0
    router_elements: int = 0
    overview: Overview = NOTHING
    tensors: tuple[CountedTensor, ...] = field(default=(), compare=False, repr=False)

    @property
    def share(self) -> Fraction | None:
        """Zeros over elements; None where they cannot be counted."""
        return Fraction(self.zeros, self.elements) if self.zeros is not None and self.elements else None


def sparsity(counted: Counted, layout: Layout | str, packed: PackedFormat | None = None) -> Sparsity:
    """Sparsity of a checkpoint.

    Args:
        counted: all tensors of its files.
        layout: where they go in the model, or why that is not known.
        packed: the packed or quantised format that the checkpoint is in.
    """
    if isinstance(layout, str):
        return Sparsity(problem=f"which of its tensors the model multiplies with is not known: {layout}")
    again = layout.again()
    once = [tensor for tensor in counted.tensors if tensor.name not in again and tensor.name in layout.places]
    linear = [tensor for tensor in once if layout.places[tensor.name].role is Role.LINEAR]
    if problem := _problem(counted.tensors, linear, layout, packed):
        return Sparsity(problem=problem)
    counts = dict(zip(counted.tensors, counted.counts, strict=True))
    tensors = (
        CountedTensor(tensor=tensor, place=layout.places[tensor.name], counts=found)
        for tensor in once
        if (found := counts[tensor]) is not None
    )
    return _summed(tuple(tensors))


def with_merged(base: Sparsity, merged: Mapping[str, TensorCounts]) -> Sparsity:
    """Sparsity of a base with an adapter merged into some of its tensors."""
    return _summed(tuple(_merged(one, merged[one.name]) if one.name in merged else one for one in base.tensors))


def _merged(base: CountedTensor, counts: TensorCounts) -> CountedTensor:
    """What a file holds of it is the base's alone, and says nothing of it any more."""
    tensor = TensorInfo(name=base.name, dtype=base.tensor.dtype, shape=base.tensor.shape)
    return replace(base, tensor=tensor, counts=counts)


def _summed(tensors: tuple[CountedTensor, ...]) -> Sparsity:
    linear = [one for one in tensors if one.is_linear]
    routers = [one for one in tensors if one.place.role is Role.ROUTER]
    return Sparsity(
        zeros=_zeros(linear), elements=_elements(linear), layers=_by_layer(linear), router_zeros=_zeros(routers),
        router_elements=_elements(routers), overview=overview_of(tensors), tensors=tensors,
    )  # fmt: skip


def _zeros(tensors: Iterable[CountedTensor]) -> int:
    return sum(one.counts.zeros for one in tensors)


def _elements(tensors: Iterable[CountedTensor]) -> int:
    return sum(one.tensor.elements for one in tensors)


def _problem(
    found: Iterable[TensorInfo], linear: Sequence[TensorInfo], layout: Layout, packed: PackedFormat | None
) -> str | None:
    """Why the zeros of matrices cannot be told from their bytes."""
    if not layout.linear:
        return f"{layout.architecture} has no linear layers"
    odd = sorted({tensor.dtype for tensor in linear if tensor.dtype not in WORDS})
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


def _by_layer(linear: Iterable[CountedTensor]) -> tuple[LayerZeros, ...]:
    layers: dict[int, list[CountedTensor]] = {}
    for one in linear:
        if one.place.layer is not None:
            layers.setdefault(one.place.layer, []).append(one)
    return tuple(
        LayerZeros(layer=layer, zeros=_zeros(own), elements=_elements(own)) for layer, own in sorted(layers.items())
    )
