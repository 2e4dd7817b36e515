"""How fast a checkpoint is fingerprinted, beside what the disk gives.

    python benchmarks/fingerprint.py [GIB]

A checkpoint of bf16 matrices (1 GiB unless said otherwise) is read in three ways: its bytes alone, hashed, and by the whole scan
that a run does (hashing, and counting zeros). Each is done cold (the system is asked to forget the file first) and warm, in turn,
several times; figures are medians. The ratio of the cold scan to the cold raw read is what "at the disk's speed" means; times
depend on the machine and decide nothing. The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID253 - a script of its own

from pytest_prunegate.checkpoint.files import weight_files
from pytest_prunegate.checkpoint.hashing import hash_file
from pytest_prunegate.checkpoint.scan import ScanMemory, scan_files

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
SIDE = 4096  # a matrix has 32 MiB
READ = 4 << 20


def write_weights(path: Path, gib: float) -> int:
    """A safetensors file of random bf16 matrices of decoder layers, half of the first pruned; its size in bytes."""
    matrices, size = max(1, round(gib * (1 << 30) / (2 * SIDE * SIDE))), 2 * SIDE * SIDE
    header = {
        f"model.layers.{number}.mlp.up_proj.weight": {
            "dtype": "BF16", "shape": [SIDE, SIDE], "data_offsets": [number * size, (number + 1) * size],
        } for number in range(matrices)
    }  # fmt: skip
    text = json.dumps(header).encode()
    rng = np.random.default_rng(7)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(matrices):
            words = rng.integers(1, 1 << 15, SIDE * SIDE, dtype=np.uint16)
            words[: SIDE * SIDE // 2] = 0
            file.write(words.tobytes())
        file.flush()
        os.fsync(file.fileno())
    return path.stat().st_size


def read_raw(path: Path) -> None:
    """Read a file, and do nothing with it."""
    buffer = bytearray(READ)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def forget(path: Path) -> bool:
    """Ask the system to drop a file from its memory; False where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def seconds(step: Callable[[], object]) -> float:
    """Wall time of a step."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    gib = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "model.safetensors"
        size = write_weights(path, gib)
        os.utime(path, ns=(10**18, 10**18))
        memory = ScanMemory(folder / "scans")
        scan_files(weight_files(folder, {}), memory)
        steps: dict[str, Callable[[], object]] = {
            "raw": lambda: read_raw(path),
            "hash": lambda: hash_file(path),
            "scan": lambda: scan_files(weight_files(folder, {})),
        }
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for step, work in steps.items():
                if forget(path):
                    times.setdefault(f"{step}_cold", []).append(seconds(work))
                times.setdefault(f"{step}_warm", []).append(min(seconds(work), seconds(work)))
            times.setdefault("remembered", []).append(seconds(lambda: scan_files(weight_files(folder, {}), memory)))
    speeds = {step: size / statistics.median(found) / 1e9 for step, found in times.items() if step != "remembered"}
    result = {f"{step}_gb_per_s": round(speed, 2) for step, speed in speeds.items()} | {
        "scan_over_raw_cold": round(speeds["scan_cold"] / speeds["raw_cold"], 2) if "raw_cold" in speeds else None,
        "scan_over_raw_warm": round(speeds["scan_warm"] / speeds["raw_warm"], 2),
        "scan_over_hash_warm": round(speeds["scan_warm"] / speeds["hash_warm"], 2),
        "remembered_ms": round(statistics.median(times["remembered"]) * 1000, 2),
        "gib": gib, "rounds": ROUNDS,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
