"""Rules on what is counted in the pruned model's files: zeros, their pattern, parameters, bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from pytest_prunegate.input.rule import OfPruned


class OfFiles(OfPruned):
    """A rule on what is counted in the pruned model's files; written below ``sparsity:``."""

    is_of_metrics = False


class MinSparsity(OfFiles):
    """The share of zeros among the pruned model's weights."""

    key = "min"
    figure = "sparsity"
    at_least = True


class MaxSparsity(OfFiles):
    """The same share from above: more zeros than were wanted are a mistake too."""

    key = "max"
    figure = "sparsity"


class MinLayerSparsity(OfFiles):
    """The share of zeros of the matrix that has the smallest."""

    key = "per_layer_min"
    figure = "sparsity of each matrix"
    at_least = True


class ZeroPattern(OfFiles):
    """The share of groups or blocks that keep a pattern of zeros: all of them have to."""

    key = "pattern"
    figure = "pattern"
    at_least = True
    takes_text = True

    @property
    def words(self) -> str:
        return self.figure

    def read_text(self, text: str) -> Decimal:
        parse_pattern(text)
        return Decimal(1)


class MinParameterReduction(OfFiles):
    """By how much fewer parameters the pruned model has, as a share of the original's."""

    key = "min_parameter_reduction"
    figure = "parameter reduction"
    at_least = True


class MaxSize(OfFiles):
    """Bytes of the pruned model's weight files."""

    key = "max_size"
    figure = "size on disk"
    is_share = False
    takes_text = True

    def read_text(self, text: str) -> Decimal:
        found = _SIZE.fullmatch(text)
        if not found:
            raise ValueError(f"{self} is {text}: expected a size such as 4 GiB, 900 MiB or 3.5 GB.")
        return Decimal(found["number"]) * _BYTES[found["unit"].lower()]

    def holds_always(self, value: Decimal, *, within_one: bool) -> bool:
        return False


class MaxRegrown(OfFiles):
    """The share of the zeros that pruning left that are numbers again; written as mask.max_regrown."""

    key = "max_regrown"
    figure = "regrown zeros"


@dataclass(frozen=True, kw_only=True)
class Groups:
    """At most `most` numbers other than zero in each group of `size` neighbours in a row."""

    most: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of so many rows and columns, each of them all zero or without zeros."""

    rows: int
    columns: int


def parse_pattern(text: str) -> Groups | Blocks:
    """A pattern of zeros as thresholds.yaml has it.

    Raises:
        ValueError: it is none, and why.
    """
    if found := _GROUPS.fullmatch(text.strip()):
        most, size = int(found[1]), int(found[2])
        if most >= size:
            raise ValueError(
                f"pattern is {text}: of N:M, N numbers other than zero are left in each group of M, and N is smaller than M."
            )
        return Groups(most=most, size=size)
    if found := _BLOCK.fullmatch(text.strip()):
        return Blocks(rows=int(found[1]), columns=int(found[2]))
    raise ValueError(f'pattern is {text}: expected N:M such as "2:4", or "block:16x16".')


_GROUPS = re.compile(r"([1-9]\d?):([1-9]\d{0,2})")
_BLOCK = re.compile(r"block:([1-9]\d{0,3})x([1-9]\d{0,3})")
_SIZE = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>[kmgt]i?b|b)", re.IGNORECASE)
_BYTES: dict[str, int] = {"b": 1} | {
    f"{letter}{i}b": base**power
    for power, letter in enumerate("kmgt", start=1)
    for i, base in (("", 1000), ("i", 1024))
}

MIN_SPARSITY = MinSparsity()
MAX_SPARSITY = MaxSparsity()
MIN_LAYER_SPARSITY = MinLayerSparsity()
ZERO_PATTERN = ZeroPattern()
MIN_PARAMETER_REDUCTION = MinParameterReduction()
MAX_SIZE = MaxSize()
MAX_REGROWN = MaxRegrown()
