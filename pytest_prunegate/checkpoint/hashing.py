"""xxh3_128 of files and of parts of them, with the numbers in them counted in the same pass."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_prunegate.checkpoint.counting import TensorCounter

_CHUNK = 1 << 20  # bytes hashed at once: small enough for a core's cache, so that they are fetched once


def hash_file(path: Path) -> str:
    """xxh3_128 of a whole file."""
    return hash_range(path, 0, path.stat().st_size)


def hash_range(path: Path, start: int, stop: int, *, counter: TensorCounter | None = None) -> str:
    """xxh3_128 of a file's bytes from start to stop, which a counter sees in the same pass."""
    digest = xxhash.xxh3_128()
    for piece in pieces(path, start, stop, counter.piece_size if counter else _CHUNK):
        digest.update(piece)
        if counter:
            counter.add(piece)
    return digest.hexdigest()


def pieces(path: Path, start: int, stop: int, size: int) -> Iterator[memoryview]:
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
        for position in range(start, stop, size):
            with data[position : min(position + size, stop)] as piece:
                yield piece
