"""One pass over a model's weight files: digests for the fingerprint, and the zeros."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.hashing import hash_file, hash_range
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.checkpoint.scan_memory import NO_MEMORY, FileScan, ScanMemory
from pytest_prunegate.checkpoint.sparsity import can_count
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.safetensors_header import StoredTensor


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One pass over a checkpoint's weights: their digest, their tensors, the digest of each, and zeros where they can be counted."""

    digest: str
    tensors: tuple[StoredTensor, ...]
    digests: tuple[str, ...]
    zeros: tuple[int | None, ...]


def scan_files(files: Iterable[Path], memory: ScanMemory = NO_MEMORY) -> Scan:
    """Read safetensors files tensor by tensor, and others, which hold none that can be told without unpickling, as a whole.

    What was read before is not read again.

    Raises:
        ModelError: a file is damaged, holds a tensor that another one holds, or changes while it is read.
    """
    parts: list[list[Any]] = []
    tensors: list[StoredTensor] = []
    told: list[tuple[str, int | None]] = []
    for path in files:
        held = read_header(path) if path.suffix == ".safetensors" else []
        found = _scan(path, held, whole=path.suffix != ".safetensors", memory=memory)
        parts += [
            ["tensor", tensor.name, tensor.dtype, list(tensor.shape), found.tensors[tensor.name][0]] for tensor in held
        ]
        parts += [["file", path.name, found.whole]] * (found.whole is not None)
        _refuse_twice(path, tensors, held)
        tensors += held
        told += [found.tensors[tensor.name] for tensor in held]
    digest = digest_of(sorted(parts, key=lambda part: (part[0], part[1])))
    return _found(digest, tensors, told)


def _refuse_twice(path: Path, before: Sequence[StoredTensor], held: Sequence[StoredTensor]) -> None:
    names = {tensor.name: tensor.file for tensor in before}
    twice = [tensor.name for tensor in held if tensor.name in names]
    if twice:
        raise ModelError(
            f"{path}: holds {twice[0]}, and so does {names[twice[0]].name}: which of them is loaded is chance. Save the model again."
        )


def scan_gguf(path: Path, tensors: Sequence[StoredTensor], memory: ScanMemory) -> Scan:
    """Read a GGUF file once: the digest is the whole file's.

    Raises:
        ModelError: it changes while it is read.
    """
    found = _scan(path, tensors, whole=True, memory=memory)
    assert found.whole is not None
    return _found(found.whole, tensors, [found.tensors[tensor.name] for tensor in tensors])


def _found(digest: str, tensors: Sequence[StoredTensor], told: Sequence[tuple[str, int | None]]) -> Scan:
    digests, zeros = tuple(one for one, _ in told), tuple(zeros for _, zeros in told)
    return Scan(digest=digest, tensors=tuple(tensors), digests=digests, zeros=zeros)


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
    return hash_range(tensor.file, tensor.start, tensor.stop, count=tensor.dtype if can_count(tensor) else None)
