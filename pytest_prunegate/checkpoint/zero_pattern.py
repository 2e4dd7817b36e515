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
def look_for(text: str, tensors: tuple[TensorInfo, ...], fingerprint: str) -> PatternCount:
    """Look for a pattern in tensors of safetensors files, piece by piece.

    Groups lie along the last dimension, which the kernels for N:M need; one that is cut short by the edge counts as filled up with zeros.
    Blocks that are cut short are judged by what they have.

    Args:
        text: the pattern, as thresholds.yaml has it.
        tensors: of two dimensions or more, in files.
        fingerprint: of the model whose files they are in: what is found holds for it alone.

    Raises:
        ModelError: a tensor lies in no safetensors file, its numbers are packed, or its rows are shorter than a group.
    """
    del fingerprint
    pattern = parse_pattern(text)
    total = empty = 0
    broken = []
    for tensor in tensors:
        if not isinstance(tensor, StoredTensor) or tensor.dtype not in WORDS:
            raise ModelError(
                f"{tensor.name} does not lie as plain numbers in a safetensors file. Save the whole model so"
            )
        if isinstance(pattern, Groups) and tensor.shape[-1] < pattern.size:
            raise ModelError(
                f"the rows of {tensor.name} have {tensor.shape[-1]} numbers, and a group of {text} has {pattern.size}"
            )
        found = _count(tensor, pattern)
        total, empty = total + found.total, empty + found.empty
        if found.first is not None:
            broken.append(Broken(tensor=tensor.name, count=found.broken, place=_place(tensor, *found.first)))
    broken.sort(key=lambda one: -one.count)
    whole = total - sum(one.count for one in broken) if empty or isinstance(pattern, Groups) else 0
    return PatternCount(total=total, whole=whole, broken=tuple(broken))


@dataclass
class _Found:
    """Groups or blocks of a tensor: all, those that are all zero, those that break the pattern, and where the first of these begins."""

    total: int = 0
    empty: int = 0
    broken: int = 0
    first: tuple[int, int] | None = None


def _count(tensor: StoredTensor, pattern: Groups | Blocks) -> _Found:
    rows, columns = (1, pattern.size) if isinstance(pattern, Groups) else (pattern.rows, pattern.columns)
    found = _Found()
    for begin, marks in _marks(tensor, rows):
        filled = _summed(marks, rows, columns)
        wrong = filled > pattern.most if isinstance(pattern, Groups) else _partly(filled, marks, pattern)
        found.total += wrong.size
        found.empty += int(np.count_nonzero(filled == 0))
        count = int(np.count_nonzero(wrong))
        if count and found.first is None:
            row, column = np.argwhere(wrong)[0]
            found.first = (begin + int(row) * rows, int(column) * columns)
        found.broken += count
    return found


def _partly(filled: NDArray[np.integer], marks: NDArray[np.bool_], pattern: Blocks) -> NDArray[np.bool_]:
    """Blocks that are neither all zero nor, but for a stray number, without zeros; one that an edge cuts short is smaller."""
    sizes = _summed(np.ones_like(marks), pattern.rows, pattern.columns)
    return (filled > 0) & (filled < sizes * (1 - _STRAY))


def _marks(tensor: StoredTensor, rows: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Which numbers are other than zero, some bands of so many rows at a time, with the row that they begin with.

    No band reaches from one matrix of a stack into the next.
    """
    height, width = tensor.shape[-2:]
    row = width * WORDS[tensor.dtype].size
    if not tensor.elements:
        return
    for begin in range(0, tensor.elements // width, height if rows > 1 else tensor.elements // width):
        start = tensor.start + begin * row
        stop = start + height * row if rows > 1 else tensor.stop
        at = begin
        for piece in pieces(tensor.file, start, stop, max(1, _PIECE // (row * rows)) * row * rows):
            marks = (magnitudes(piece, tensor.dtype) != 0).reshape(-1, width)
            yield at, marks
            at += len(marks)


def _summed(marks: NDArray[np.bool_], rows: int, columns: int) -> NDArray[np.integer]:
    padded = np.pad(marks, ((0, -len(marks) % rows), (0, -marks.shape[1] % columns)))
    found: NDArray[np.integer] = padded.reshape(-1, rows, padded.shape[1] // columns, columns).sum(
        axis=(1, 3), dtype=np.uint32
    )
    return found


def _place(tensor: StoredTensor, row: int, column: int) -> str:
    """A number's place; of a stack of matrices with the matrix it is in."""
    *stack, height, _ = tensor.shape
    before = [str(index) for index in np.unravel_index(row // height, stack)] if stack else []
    names = f"matrix {', '.join(before)}, " if before else ""
    return f"{names}row {row % height}, column {column}"
