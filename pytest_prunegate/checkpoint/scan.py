"""One pass over a model's weight files: digests for the fingerprint, and what is counted in each tensor.

What it found is kept in the cache directory, so that an unchanged file is not read twice.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash

from pytest_prunegate.checkpoint.hashing import hash_file, hash_range
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.checkpoint.structure import WORDS, TensorCounts
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_prunegate.checkpoint.safetensors_header import StoredTensor


_VERSION = 3  # raise it when what a scan finds, or how it is written down, changes
_SETTLED = (
    2 * 10**9
)  # nanoseconds: the coarsest time stamps of file systems in use; a younger file may change unnoticed
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class FileScan:
    """What one weight file holds: digest and counts (None: not counted) of each tensor, and the whole file's digest if asked."""

    tensors: dict[str, tuple[str, TensorCounts | None]]
    whole: str | None


class ScanMemory:
    """Keeps scans by path and file system's record of the file: its size, times, inode and device.

    An entry that is damaged, foreign or of another version is not used, and a folder that cannot be written keeps nothing.

    Args:
        folder: takes one small file for each scanned one; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def begin(self, path: Path) -> Ticket:
        """Look at a file before it is read.

        Raises:
            OSError: there is no such file.
        """
        now, real = time.time_ns(), path.resolve()
        found = real.stat()
        record = {
            "version": _VERSION, "path": str(real), "size": found.st_size, "mtime_ns": found.st_mtime_ns,
            "ctime_ns": found.st_ctime_ns, "inode": found.st_ino, "device": found.st_dev,
        }  # fmt: skip
        return Ticket(record=record, settled=now - found.st_mtime_ns >= _SETTLED)

    def recall(self, ticket: Ticket) -> FileScan | None:
        """What an earlier scan of that very file found; None where nothing is known."""
        if self._folder is None:
            return None
        try:
            kept = json.loads(self._entry(ticket).read_text(encoding="utf-8"))
            if {key: kept[key] for key in ticket.record} == ticket.record:
                return _checked(kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.ValidationError):
            pass  # not there, or not written by this code
        return None

    def keep(self, ticket: Ticket, scan: FileScan) -> None:
        """Remember a scan, unless the file is so young that a change would leave no trace."""
        if self._folder is None or not ticket.settled:
            return
        entry = self._entry(ticket)
        text = msgspec.json.encode({**ticket.record, "scan": scan}).decode()
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            entry.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=entry.parent, suffix=".tmp", delete=False, encoding="utf-8"
            ) as file:
                file.write(text)
            Path(file.name).replace(entry)

    def _entry(self, ticket: Ticket) -> Path:
        assert self._folder is not None
        return (
            self._folder
            / f"{xxhash.xxh3_128_hexdigest(str(ticket.record['path']).encode('utf-8', 'surrogateescape'))}.json"
        )


NO_MEMORY = ScanMemory(None)


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A file as it was before it was read, and whether that was long enough after its last change."""

    record: Mapping[str, Any]
    settled: bool


def _checked(kept: Mapping[str, Any]) -> FileScan | None:
    """An entry's content; None where it is not what a scan finds."""
    found = msgspec.convert(kept["scan"], FileScan, str_keys=True)
    digests = [digest for digest, _ in found.tensors.values()] + [found.whole] * (found.whole is not None)
    counts = [counts for _, counts in found.tensors.values() if counts is not None]
    is_whole = all(_DIGEST.fullmatch(str(digest)) for digest in digests)
    return found if is_whole and all(one.zeros >= 0 and one.not_finite >= 0 for one in counts) else None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One pass over a checkpoint's weights: their digest, their tensors, the digest of each, and counts where there are any."""

    digest: str
    tensors: tuple[StoredTensor, ...]
    digests: tuple[str, ...]
    counts: tuple[TensorCounts | None, ...]


def scan_files(files: Iterable[Path], memory: ScanMemory = NO_MEMORY) -> Scan:
    """Read safetensors files tensor by tensor, and others, which hold none that can be told without unpickling, as a whole.

    What was read before is not read again.

    Raises:
        ModelError: a file is damaged, holds a tensor that another one holds, or changes while it is read.
    """
    parts: list[list[Any]] = []
    tensors: list[StoredTensor] = []
    told: list[tuple[str, TensorCounts | None]] = []
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


def _found(digest: str, tensors: Sequence[StoredTensor], told: Sequence[tuple[str, TensorCounts | None]]) -> Scan:
    digests, counts = tuple(one for one, _ in told), tuple(counts for _, counts in told)
    return Scan(digest=digest, tensors=tuple(tensors), digests=digests, counts=counts)


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
        tensors={tensor.name: scan_tensor(tensor) for tensor in tensors}, whole=hash_file(path) if whole else None
    )
    if memory.begin(path).record != ticket.record:
        raise ModelError(f"{path}: this file changed while it was read. Run again when nothing writes to it.")
    memory.keep(ticket, found)
    return found


def scan_tensor(tensor: StoredTensor) -> tuple[str, TensorCounts | None]:
    """Digest of a tensor, and what is counted in it; None where its numbers are packed.

    Raises:
        ModelError: the file's header does not fit its bytes.
    """
    if tensor.dtype not in WORDS:
        return hash_range(tensor.file, tensor.start, tensor.stop), None
    from pytest_prunegate.checkpoint.counting import TensorCounter

    size = tensor.stop - tensor.start
    if size != WORDS[tensor.dtype].size * tensor.elements:
        what = f"{tensor.name} has {size} bytes, which are not the numbers of its shape {list(tensor.shape)} in {tensor.dtype}"
        raise ModelError(f"{tensor.file}: the header is damaged: {what}. Copy the file again.")
    counter = TensorCounter(tensor.dtype, tensor.shape)
    return hash_range(tensor.file, tensor.start, tensor.stop, counter=counter), counter.counts()
