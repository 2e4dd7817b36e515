"""One pass over a model's weight files: digests for the fingerprint, and the zeros."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.files import weight_files
from pytest_prunegate.checkpoint.hashing import hash_file, hash_range
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.checkpoint.scan_memory import NO_MEMORY, FileScan, ScanMemory
from pytest_prunegate.checkpoint.sparsity import can_count, is_decoder_linear
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.safetensors_header import StoredTensor


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One pass over a checkpoint's weights: their digest, their tensors, and zeros where they could be counted."""

    digest: str
    tensors: tuple[StoredTensor, ...]
    zeros: tuple[int | None, ...]


def scan_checkpoint(folder: Path, memory: ScanMemory = NO_MEMORY) -> Scan:
    """Read all weights of a checkpoint once, and those that were read before not at all.

    Raises:
        ModelError: weights are missing, damaged, or change while they are read.
    """
    return scan_files(weight_files(folder), memory)


def scan_files(files: Iterable[Path], memory: ScanMemory) -> Scan:
    """Read safetensors files tensor by tensor, and others, which hold none that can be told without unpickling, as a whole.

    Raises:
        ModelError: a file is damaged, or changes while it is read.
    """
    parts: list[list[Any]] = []
    tensors: list[StoredTensor] = []
    zeros: list[int | None] = []
    for path in files:
        held = read_header(path) if path.suffix == ".safetensors" else []
        found = _scan(path, held, whole=path.suffix != ".safetensors", memory=memory)
        parts += [
            ["tensor", tensor.name, tensor.dtype, list(tensor.shape), found.tensors[tensor.name][0]] for tensor in held
        ]
        parts += [["file", path.name, found.whole]] * (found.whole is not None)
        tensors += held
        zeros += [found.tensors[tensor.name][1] for tensor in held]
    return Scan(digest=digest_of(sorted(parts, key=lambda part: (part[0], part[1]))), tensors=tuple(tensors), zeros=tuple(zeros))  # fmt: skip


def scan_gguf(path: Path, tensors: Sequence[StoredTensor], memory: ScanMemory) -> Scan:
    """Read a GGUF file once: the digest is the whole file's.

    Raises:
        ModelError: it changes while it is read.
    """
    found = _scan(path, tensors, whole=True, memory=memory)
    assert found.whole is not None
    return Scan(
        digest=found.whole,
        tensors=tuple(tensors),
        zeros=tuple(found.tensors[tensor.name][1] for tensor in tensors),
    )


def digest_of(parts: list[Any]) -> str:
    """xxh3_128 of values in their order, each as JSON."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def _scan(path: Path, tensors: Sequence[StoredTensor], *, whole: bool, memory: ScanMemory) -> FileScan:
    ticket = memory.begin(path)
    known = memory.recall(ticket)
    if known is not None and set(known.tensors) == {tensor.name for tensor in tensors} and (known.whole is not None) == whole:  # fmt: skip
        return known
    found = FileScan(
        tensors={tensor.name: _scan_tensor(tensor) for tensor in tensors}, whole=hash_file(path) if whole else None
    )
    if memory.begin(path).record != ticket.record:
        raise ModelError(f"{path}: this file changed while it was read. Run again when nothing writes to it.")
    memory.keep(ticket, found)
    return found


def _scan_tensor(tensor: StoredTensor) -> tuple[str, int | None]:
    counts = can_count(tensor) and is_decoder_linear(tensor.name, tensor.shape)
    return hash_range(tensor.file, tensor.start, tensor.stop, count=tensor.dtype if counts else None)
