"""What the bytes of a tensor say of its structure, counted piece by piece: zeros, numbers that are none, groups of neighbours, blocks.

One pass, in pieces of whole rows, so that nothing as large as the tensor is held. A tensor is looked at as a matrix whose rows run
along its last dimension; stacks of matrices (experts) are one below the other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.checkpoint.structure import BLOCK_SIZES, GROUPS, NEARLY, TIERS, WORDS, BlockCounts, TensorCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_PIECE = 1 << 20  # bytes counted at once: small enough for a core's cache, so that they are fetched once
_BYTE = 8  # the numbers that one byte of packed bits is about
_UNIT = BLOCK_SIZES[0]  # larger blocks are put together from the smallest


def magnitudes(piece: memoryview, dtype: str) -> NDArray[np.unsignedinteger]:
    """The numbers of a piece of a tensor's bytes without their signs, as whole numbers in their order."""
    word = WORDS[dtype]
    words = np.frombuffer(piece, dtype=f"<u{word.size}")
    found: NDArray[np.unsignedinteger] = words & words.dtype.type(word.magnitude)
    return found


class TensorCounter:
    """Counts a tensor whose bytes come in pieces, each of `piece_size` but the last.

    Args:
        dtype: by safetensors' name; one that can be counted.
        shape: of the tensor.
    """

    def __init__(self, dtype: str, shape: Sequence[int]) -> None:
        self._dtype = dtype
        self._columns = shape[-1] if len(shape) > 1 else 0
        self._zeros = self._not_finite = 0
        self._has_groups = self._columns > 0 and self._columns % _BYTE == 0
        inner = shape[-2] if self._has_groups else 0
        self._has_blocks = inner >= _UNIT and (inner % _UNIT == 0 or len(shape) == 2)  # noqa: PLR2004 - a matrix has no neighbour below
        self._across = dict.fromkeys(GROUPS, 0) if self._has_groups else {}
        self._overfull = dict.fromkeys(GROUPS, 0) if self._has_groups else {}
        self._enough = {size: int(NEARLY * math.prod(shape) / size) + 1 for size in GROUPS}
        self._down = dict.fromkeys(GROUPS, 0) if self._has_blocks else {}
        self._units: list[NDArray[np.uint8]] = []
        row = self._columns * WORDS[dtype].size
        self.piece_size = max(1, round(_PIECE / (row * _UNIT))) * row * _UNIT if self._has_groups else _PIECE

    def add(self, piece: memoryview) -> None:
        """Count the next piece."""
        found = magnitudes(piece, self._dtype)
        limit = WORDS[self._dtype].first_not_finite
        if found.size and int(found.max()) >= limit:
            self._not_finite += int(np.count_nonzero(found >= limit))
        if not self._has_groups:
            self._zeros += int(found.size - np.count_nonzero(found))
            return
        packed = np.packbits(found != 0)
        filled = np.bitwise_count(packed)
        for size in GROUPS:
            if self._across[size] < size or self._overfull[size] < self._enough[size]:
                self._look_across(size, filled if size == _BYTE else np.bitwise_count(_halves(packed)))
        band = self._columns // _BYTE * _UNIT
        bands = len(packed) // band * band if self._has_blocks else 0
        in_bands = self._add_bands(packed[:bands], filled[:bands]) if bands else 0
        self._zeros += int(found.size - in_bands - filled[bands:].sum(dtype=np.int64))

    def _add_bands(self, packed: NDArray[np.uint8], filled: NDArray[np.uint8]) -> int:
        """Count in blocks, and down the columns as long as no group without a zero was met; returns the numbers other than zero."""
        width = self._columns // _BYTE
        units = filled.reshape(-1, _UNIT, width).sum(axis=1, dtype=np.uint8)
        self._units.append(units)
        for size in [size for size, most in self._down.items() if most < size]:
            bits = np.unpackbits(packed).reshape(-1, size, self._columns)
            self._down[size] = max(self._down[size], int(bits.sum(axis=1, dtype=np.uint8).max()))
        return int(units.sum(dtype=np.int64))

    def _look_across(self, size: int, filled: NDArray[np.uint8]) -> None:
        """Count along the rows; done as long as no group without a zero was met, or few are more than half full."""
        self._across[size] = max(self._across[size], int(filled.max(initial=0)))
        overfull = self._overfull[size] + int(np.count_nonzero(filled > size // 2))
        self._overfull[size] = min(self._enough[size], overfull)

    def counts(self) -> TensorCounts:
        """What was counted of the whole tensor."""
        units = np.concatenate(self._units) if self._units else None
        return TensorCounts(
            zeros=self._zeros, not_finite=self._not_finite, fullest_across=tuple(self._across.values()),
            overfull=tuple(self._overfull.values()), fullest_down=tuple(self._down.values()) if self._units else (),
            blocks=None if units is None else _blocks(units),
        )  # fmt: skip


def _halves(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The two groups of four in each byte, one after the other."""
    return np.concatenate((packed & 0x0F, packed >> (_BYTE // 2)))


def _blocks(units: NDArray[np.uint8]) -> BlockCounts:
    """Blocks of each size without a number other than zero, and how full those of the usual size are."""
    empty = {size: int(np.count_nonzero(filled == 0)) for size, filled in _by_size(units)}
    side = TIERS // _UNIT
    usual = _merged(units, side) if min(units.shape) >= side else None
    histogram = np.zeros(TIERS * TIERS + 1, np.int64) if usual is None else np.bincount(usual.ravel(), minlength=TIERS * TIERS + 1)  # fmt: skip
    levels = {TIERS * TIERS - int(filled): int(histogram[filled]) for filled in np.flatnonzero(histogram)}
    return BlockCounts(empty=empty, levels=dict(sorted(levels.items())))


def _by_size(units: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.integer]]]:
    for size in BLOCK_SIZES:
        side = size // _UNIT
        if min(units.shape) >= side:
            yield size, _merged(units, side)


def _merged(units: NDArray[np.uint8], side: int) -> NDArray[np.integer]:
    """Numbers other than zero in blocks of `side` by `side` units; what is left over at the edges is in none."""
    rows, columns = (length // side for length in units.shape)
    whole = units[: rows * side, : columns * side].reshape(rows, side, columns, side)
    filled: NDArray[np.uint32] = whole.sum(axis=(1, 3), dtype=np.uint32)
    return filled
