"""What the counts of single tensors say of a model as a whole: which patterns its matrices have, zeros by part, and how full blocks are."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.layout import Role
from pytest_prunegate.checkpoint.structure import DENSE, TIERS, pattern_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.checkpoint.layout import Place
    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
    from pytest_prunegate.checkpoint.structure import TensorCounts

# By the names that transformers gives them; the first that fits.
_PARTS = (
    ("experts", re.compile(r"expert|block_sparse_moe")),
    ("attention", re.compile(r"attn|attention|[qkvo]_proj|qkv|Wqkv|query|key|value")),
    (
        "MLP",
        re.compile(
            r"mlp|ffn|feed_forward|fc\d|fc_(in|out)|(gate|up|down)_proj|dense_h_to_4h|dense_4h_to_h|wi_?\d?|wo\b"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class CountedTensor:
    """A parameter of the model in its files: where it goes, and what was counted in it."""

    tensor: TensorInfo
    place: Place
    counts: TensorCounts

    @property
    def name(self) -> str:
        """Its name in the files."""
        return self.tensor.name

    @property
    def share(self) -> Fraction:
        """Zeros over elements."""
        return Fraction(self.counts.zeros, max(1, self.tensor.elements))

    @property
    def is_linear(self) -> bool:
        """Whether the model multiplies with it."""
        return self.place.role is Role.LINEAR


BINS = 12
"""Of the histogram: no zero at all, ten of equal width between, nothing but zeros."""


@dataclass(frozen=True, kw_only=True)
class PatternShare:
    """A pattern of zeros, and how many of the matrices have it, with how many weights."""

    name: str
    matrices: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class PartZeros:
    """Zeros among the linear weights of a part of the layers: attention, MLP, experts, or what is neither."""

    part: str
    zeros: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class Overview:
    """What is told of a model's matrices.

    `patterns` begins with the one that most weights have. `blocks` counts blocks of `TIERS` by `TIERS` by their share of zeros: with none, in
    tenths between, with nothing else; empty where all matrices are dense or too small.
    """

    patterns: tuple[PatternShare, ...]
    parts: tuple[PartZeros, ...]
    blocks: tuple[int, ...]


NOTHING = Overview(patterns=(), parts=(), blocks=())
"""Where nothing was counted."""


def overview_of(tensors: Sequence[CountedTensor]) -> Overview:
    """Sum up the matrices that a model multiplies with.

    Args:
        tensors: all that were counted.
    """
    linear = [one for one in tensors if one.is_linear]
    return Overview(patterns=tuple(_patterns(linear)), parts=tuple(_parts(linear)), blocks=_blocks(linear))


def part_of(name: str) -> str:
    """The part that a matrix belongs to, by its name."""
    return next((part for part, names in _PARTS if names.search(name)), "other")


def _patterns(linear: Sequence[CountedTensor]) -> Iterator[PatternShare]:
    matrices: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for one in linear:
        name = pattern_of(one.counts, one.tensor.elements).name
        matrices[name] += 1
        weights[name] += one.tensor.elements
    for name, count in weights.most_common():
        yield PatternShare(name=name, matrices=matrices[name], weights=count)


def _parts(linear: Sequence[CountedTensor]) -> Iterator[PartZeros]:
    zeros: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    for one in linear:
        part = part_of(one.name)
        zeros[part] += one.counts.zeros
        weights[part] += one.tensor.elements
    for part in (*(part for part, _ in _PARTS), "other"):
        if weights[part]:
            yield PartZeros(part=part, zeros=zeros[part], weights=weights[part])


def _blocks(linear: Sequence[CountedTensor]) -> tuple[int, ...]:
    if all(pattern_of(one.counts, one.tensor.elements) == DENSE for one in linear):
        return ()
    bins = [0] * BINS
    for one in linear:
        for zeros, count in (one.counts.blocks.levels if one.counts.blocks else {}).items():
            bins[_bin(zeros)] += count
    return tuple(bins) if any(bins) else ()


def _bin(zeros: int) -> int:
    size = TIERS * TIERS
    if zeros in {0, size}:
        return 0 if zeros == 0 else BINS - 1
    return 1 + zeros * (BINS - 2) // size
