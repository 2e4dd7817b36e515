"""What counting in a checkpoint's bytes costs, beside reading them.

    python benchmarks/scan.py [MIB]

A matrix of so many MiB (256 unless said otherwise) in fp32 and in bf16, half of it pruned without structure, is read, has its zeros counted
alone, and is scanned as a run does (digest, zeros, numbers that are none, groups, blocks). Single-thread CPU seconds with the file in the
system's memory, in turn, the least of several rounds. `anonymous_over_tensor` is the memory that the scan takes at its peak besides the file's
own pages, over the tensor's size. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import sys
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID253 - a script of its own

from pytest_prunegate.checkpoint.counting import magnitudes
from pytest_prunegate.checkpoint.hashing import pieces
from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.checkpoint.scan import scan_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
COLUMNS = 4096
DTYPES = {"F32": 4, "BF16": 2}
READ = 1 << 20


def write_matrix(path: Path, dtype: str, mib: int) -> StoredTensor:
    """Random numbers, half of them zero, as the only bytes of a file."""
    rows = (mib << 20) // (COLUMNS * DTYPES[dtype])
    rng = np.random.default_rng(7)
    words = rng.integers(1, 1 << 14, (rows, COLUMNS)).astype(f"<u{DTYPES[dtype]}")
    words[rng.random((rows, COLUMNS)) < 0.5] = 0  # noqa: PLR2004
    words.tofile(path)
    return StoredTensor(name="matrix", dtype=dtype, shape=(rows, COLUMNS), file=path, start=0, stop=words.nbytes)


def read(tensor: StoredTensor) -> None:
    """Read the bytes, and do nothing with them."""
    buffer = bytearray(READ)
    with tensor.file.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def zeros(matrix: StoredTensor) -> int:
    """Count zeros alone."""
    found = (magnitudes(piece, matrix.dtype) for piece in pieces(matrix.file, matrix.start, matrix.stop, READ))
    return sum(one.size - int(np.count_nonzero(one)) for one in found)


def least_seconds(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """CPU seconds of each step, the least of several rounds in which they take turns."""
    found = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            began = time.process_time()
            step()
            found[name] = min(found[name], time.process_time() - began)
    return found


def peak_memory(step: Callable[[], object]) -> int:
    """Bytes that a step allocates at its peak; numpy's are among them."""
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def main() -> None:
    """Measure, and say so."""
    mib = int(sys.argv[1]) if sys.argv[1:] else 256
    by_dtype, memory = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for dtype in DTYPES:
            matrix = write_matrix(Path(folder) / dtype, dtype, mib)
            steps = {
                "read": partial(read, matrix),
                "zeros": partial(zeros, matrix),
                "full": partial(scan_tensor, matrix),
            }
            taken = least_seconds(steps)
            by_dtype[dtype] = {name: round(taken[name] / taken["read"], 2) for name in ("zeros", "full")}
            memory = max(memory, peak_memory(steps["full"]) / (matrix.stop - matrix.start))
            print(dtype, by_dtype[dtype])
    worst = {f"{name}_over_read": max(one[name] for one in by_dtype.values()) for name in ("zeros", "full")}
    print(json.dumps({**worst, "anonymous_over_tensor": round(memory, 3), "by_dtype": by_dtype, "mib": mib}))


if __name__ == "__main__":
    main()
