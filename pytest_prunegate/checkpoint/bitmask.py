"""Weights that compressed-tensors stored as a bitmask beside the numbers that it marks: counted as the matrices that they stand for.

Formats sparse-24-bitmask and sparse-bitmask (compressed_tensors.compressors.sparse_compressors, until 0.12): ``NAME.bitmask`` has a bit for
each number, the lowest bit of a byte first, rows filled up to whole bytes; ``NAME.compressed`` the marked numbers row by row;
``NAME.shape`` the matrix's shape.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_prunegate.checkpoint.counting import TensorCounter
from pytest_prunegate.checkpoint.hashing import pieces
from pytest_prunegate.checkpoint.layout import Counted
from pytest_prunegate.checkpoint.safetensors_header import StoredTensor, TensorInfo
from pytest_prunegate.checkpoint.structure import WORDS
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from pytest_prunegate.checkpoint.structure import TensorCounts

_ENDS = (".bitmask", ".compressed", ".shape", ".row_offsets")
_WEIGHT = ".weight"


def with_bitmasks(counted: Counted) -> Counted:
    """The tensors with each that is stored as a bitmask in place of its parts; as they are where there is none.

    Raises:
        ModelError: the parts of one do not fit together.
    """
    stored = {tensor.name: tensor for tensor in counted.tensors if isinstance(tensor, StoredTensor)}
    packed = [name.removesuffix(_ENDS[0]) for name in stored if name.endswith(_ENDS[0])]
    parts = {name + end for name in packed for end in _ENDS}
    plain = [(tensor, counts) for tensor, counts in zip(counted.tensors, counted.counts, strict=True) if tensor.name not in parts]  # fmt: skip
    found: list[tuple[TensorInfo, TensorCounts | None]] = [*plain, *(_matrix(name, stored) for name in packed)]
    return Counted(tensors=tuple(tensor for tensor, _ in found), counts=tuple(counts for _, counts in found))


def _matrix(name: str, stored: Mapping[str, StoredTensor]) -> tuple[TensorInfo, TensorCounts]:
    """The matrix that a bitmask and its numbers stand for."""
    bitmask, numbers, shape = (stored.get(name + end) for end in _ENDS[:3])
    if bitmask is None or numbers is None or shape is None or numbers.dtype not in WORDS:
        raise ModelError(
            f"{name}: is stored as a bitmask, and its numbers or its shape are missing. Copy the checkpoint again."
        )
    rows, columns = _shape(shape)
    width = math.ceil(columns / 8)
    is_marked = bitmask.dtype == "U8" and bitmask.elements == rows * width
    if not is_marked or numbers.stop - numbers.start != numbers.elements * WORDS[numbers.dtype].size:
        raise ModelError(f"{name}: its bitmask does not fit the shape {[rows, columns]}. Copy the checkpoint again.")
    tensor = TensorInfo(
        name=name if name.endswith(_WEIGHT) else name + _WEIGHT, dtype=numbers.dtype, shape=(rows, columns)
    )
    counter = TensorCounter(tensor.dtype, tensor.shape)
    for piece in _filled(bitmask, numbers, columns, width, counter.piece_size):
        counter.add(piece.data.cast("B"))
    return tensor, counter.counts()


def _shape(tensor: StoredTensor) -> tuple[int, int]:
    with tensor.file.open("rb") as file:
        file.seek(tensor.start)
        found = np.frombuffer(file.read(tensor.stop - tensor.start), dtype="<i8" if tensor.dtype == "I64" else "<i4")
    if found.size != 2 or min(found) < 1:  # noqa: PLR2004 - a matrix
        raise ModelError(f"{tensor.file}: {tensor.name} is no shape of a matrix: {found.tolist()}.")
    return int(found[0]), int(found[1])


def _filled(
    bitmask: StoredTensor, numbers: StoredTensor, columns: int, width: int, piece_size: int
) -> Iterator[NDArray[np.unsignedinteger]]:
    """The matrix, some rows at a time, with zeros where nothing is marked."""
    word = WORDS[numbers.dtype].size
    rows = max(1, piece_size // (columns * word))
    position = numbers.start
    for bits in pieces(bitmask.file, bitmask.start, bitmask.stop, rows * width):
        marked = np.unpackbits(np.frombuffer(bits, np.uint8).reshape(-1, width), axis=1, bitorder="little")[:, :columns]
        is_marked = marked.astype(bool)
        size = int(np.count_nonzero(is_marked)) * word
        if position + size > numbers.stop:
            raise ModelError(f"{numbers.name}: has fewer numbers than its bitmask marks. Copy the checkpoint again.")
        matrix = np.zeros(is_marked.shape, dtype=f"<u{word}")
        with numbers.file.open("rb") as file:
            file.seek(position)
            matrix[is_marked] = np.frombuffer(file.read(size), dtype=f"<u{word}")
        position += size
        yield matrix
