"""A pattern of zeros that is asked for, looked for in the files: how many groups or blocks keep it, and where the first that do not are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.checkpoint.counting import magnitudes
from pytest_prunegate.checkpoint.hashing import pieces
from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.checkpoint.structure import WORDS
from pytest_prunegate.errors import ModelError
from pytest_prunegate.input.file_rules import Groups, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
    from pytest_prunegate.input.file_rules import Blocks

_PIECE = 8 << 20  # bytes looked at at once
_STRAY = 0.01  # of a block's numbers may be zero although the block was not pruned


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A tensor with groups or blocks that do not keep the pattern: how many, and where the first of them begins."""

    tensor: str
    count: int
    place: str


@dataclass(frozen=True, kw_only=True)
class PatternCount:
    """Groups or blocks: all, those that keep the pattern, and the tensors with others, the most broken first."""

    total: int
    whole: int
    broken: tuple[Broken, ...]


@lru_cache(maxsize=8)  # a run asks when it plans, and when it judges
def look_for(text: str, tensors: tuple[TensorInfo, ...]) -> PatternCount:
    """Look for a pattern in tensors of safetensors files, piece by piece.

    Groups lie along the last dimension, which the kernels for N:M need; one that is cut short by the edge counts as filled up with zeros.

    Args:
        text: the pattern, as thresholds.yaml has it.
        tensors: of two dimensions or more, in files.

    Raises:
        ModelError: a tensor lies in no safetensors file, or its numbers are packed.
    """
    pattern = parse_pattern(text)
    total, broken = 0, []
    for tensor in tensors:
        if not isinstance(tensor, StoredTensor) or tensor.dtype not in WORDS:
            raise ModelError(f"{tensor.name} does not lie as plain numbers in a safetensors file. Save the model so")
        count, bad, first = _count(tensor, pattern)
        total += count
        if first is not None:
            broken.append(Broken(tensor=tensor.name, count=bad, place=_place(tensor, *first)))
    broken.sort(key=lambda one: -one.count)
    return PatternCount(total=total, whole=total - sum(one.count for one in broken), broken=tuple(broken))


def _count(tensor: StoredTensor, pattern: Groups | Blocks) -> tuple[int, int, tuple[int, int] | None]:
    """Groups or blocks of a tensor, those that break the pattern, and row and column where the first of them begins."""
    rows, columns = (1, pattern.size) if isinstance(pattern, Groups) else (pattern.rows, pattern.columns)
    total = bad = 0
    first: tuple[int, int] | None = None
    for begin, filled in _filled(tensor, rows, columns):
        wrong = filled > pattern.most if isinstance(pattern, Groups) else _partly(filled, rows * columns)
        total += wrong.size
        found = int(np.count_nonzero(wrong))
        if found and first is None:
            row, column = np.argwhere(wrong)[0]
            first = (begin + int(row) * rows, int(column) * columns)
        bad += found
    return total, bad, first


def _partly(filled: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
    """Blocks that are neither all zero nor, but for a stray number, without zeros."""
    return (filled > 0) & (filled < size * (1 - _STRAY))


def _filled(tensor: StoredTensor, rows: int, columns: int) -> Iterator[tuple[int, NDArray[np.integer]]]:
    """Numbers other than zero in each group or block, band by band, with the row that a band begins with."""
    width = tensor.shape[-1]
    if not tensor.elements:
        return
    band = rows * width * WORDS[tensor.dtype].size
    begin = 0
    for piece in pieces(tensor.file, tensor.start, tensor.stop, max(1, _PIECE // band) * band):
        is_filled = (magnitudes(piece, tensor.dtype) != 0).reshape(-1, width)
        height = len(is_filled)
        is_filled = np.pad(is_filled, ((0, -height % rows), (0, -width % columns)))
        blocks = is_filled.reshape(-1, rows, is_filled.shape[1] // columns, columns)
        yield begin, blocks.sum(axis=(1, 3), dtype=np.uint32)
        begin += height


def _place(tensor: StoredTensor, row: int, column: int) -> str:
    """A number's place; of a stack of matrices with the matrix it is in."""
    *stack, height, _ = tensor.shape
    before = [str(index) for index in np.unravel_index(row // height, stack)] if stack else []
    names = f"matrix {', '.join(before)}, " if before else ""
    return f"{names}row {row % height}, column {column}"
