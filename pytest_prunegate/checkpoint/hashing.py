"""xxh3_128 of files and of parts of them, with the zeros among their numbers counted in the same pass."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import xxhash

from pytest_prunegate.checkpoint.sparsity import count_zeros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20  # bytes hashed and counted at once: small enough for a core's cache, so that they are fetched once


def hash_file(path: Path) -> str:
    """xxh3_128 of a whole file."""
    return hash_range(path, 0, path.stat().st_size)[0]


def hash_range(path: Path, start: int, stop: int, *, count: str | None = None) -> tuple[str, int | None]:
    """xxh3_128 of a file's bytes from start to stop, and the zeros among its numbers where a dtype to count is given."""
    digest = xxhash.xxh3_128()
    zeros = None if count is None else 0
    for piece in _pieces(path, start, stop):
        digest.update(piece)
        if count is not None and zeros is not None:
            zeros += count_zeros(piece, count)
    return digest.hexdigest(), zeros


def _pieces(path: Path, start: int, stop: int) -> Iterator[memoryview]:
    """A file's bytes through a memory map, in bounded pieces; each is gone when the next one comes."""
    if stop <= start:
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        memoryview(view) as data,
    ):
        if hasattr(mmap, "MADV_SEQUENTIAL"):  # the system then reads ahead, and drops what was read
            view.madvise(mmap.MADV_SEQUENTIAL)
        for position in range(start, stop, _CHUNK):
            with data[position : min(position + _CHUNK, stop)] as piece:
                yield piece
