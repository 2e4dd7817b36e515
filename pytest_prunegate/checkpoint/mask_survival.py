"""What became of the zeros that pruning left, after fine-tuning: which of them are numbers again, and where others came up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.checkpoint.counting import magnitudes
from pytest_prunegate.checkpoint.hashing import pieces
from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.checkpoint.structure import WORDS
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pytest_prunegate.checkpoint.overview import CountedTensor

_NUMBERS = 1 << 20  # compared at once


@dataclass(frozen=True, kw_only=True)
class TensorSurvival:
    """A matrix: its layer of the decoder, its `zeros` after pruning, how many of them are `regrown`, and zeros that are `new`."""

    name: str
    layer: int | None
    zeros: int
    regrown: int
    new: int


@dataclass(frozen=True, kw_only=True)
class Survival:
    """All matrices that a model multiplies with, in the files' order."""

    tensors: tuple[TensorSurvival, ...]

    @property
    def zeros(self) -> int:
        """Of all of them, after pruning."""
        return sum(one.zeros for one in self.tensors)

    @property
    def regrown(self) -> int:
        """Those of them that are numbers again."""
        return sum(one.regrown for one in self.tensors)

    @property
    def new(self) -> int:
        """Zeros that were none after pruning."""
        return sum(one.new for one in self.tensors)

    def by_layer(self) -> Iterator[tuple[int, int, int]]:
        """Layer, zeros and those that are regrown, for each layer of the decoder."""
        found: dict[int, tuple[int, int]] = {}
        for one in self.tensors:
            if one.layer is not None:
                zeros, regrown = found.get(one.layer, (0, 0))
                found[one.layer] = (zeros + one.zeros, regrown + one.regrown)
        yield from ((layer, *counts) for layer, counts in sorted(found.items()))


def survival_of(before: Sequence[CountedTensor], after: Sequence[CountedTensor]) -> Survival:
    """Compare the zeros of two checkpoints of one model, number by number.

    Args:
        before: parameters of the model right after pruning.
        after: of what became of it.

    Raises:
        ModelError: there are no matrices, they are not the same, or they lie in no safetensors files.
    """
    known = {one.name: one for one in after}
    linear = [one for one in before if one.is_linear]
    if not linear:
        raise ModelError("there are no matrices whose zeros could be looked at")
    return Survival(tensors=tuple(_compared(one, known.get(one.name)) for one in linear))


def _compared(before: CountedTensor, after: CountedTensor | None) -> TensorSurvival:
    if after is None:
        raise ModelError(f"it has no {before.name}")
    one, other = before.tensor, after.tensor
    if one.shape != other.shape:
        raise ModelError(f"{before.name} was {list(one.shape)} right after pruning, and is {list(other.shape)}")
    regrown = new = 0
    for was, now in zip(_filled(one), _filled(other), strict=True):
        regrown += int(np.count_nonzero(now & ~was))
        new += int(np.count_nonzero(was & ~now))
    return TensorSurvival(
        name=before.name, layer=before.place.layer, zeros=before.counts.zeros, regrown=regrown, new=new,
    )  # fmt: skip


def _filled(tensor: object) -> Iterator[NDArray[np.bool_]]:
    """Which numbers of a tensor are other than zero, so many at a time."""
    if not isinstance(tensor, StoredTensor):
        raise ModelError("their tensors lie in no safetensors files. Save both models so")
    for piece in pieces(tensor.file, tensor.start, tensor.stop, _NUMBERS * WORDS[tensor.dtype].size):
        yield magnitudes(piece, tensor.dtype) != 0
