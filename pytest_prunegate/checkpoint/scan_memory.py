"""What scans of weight files found, kept in the cache directory, so that an unchanged file is not read twice."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = 2  # raise it when what a scan finds, or how it is written down, changes
_SETTLED = (
    2 * 10**9
)  # nanoseconds: the coarsest time stamps of file systems in use; a younger file may change unnoticed
_DIGEST = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class FileScan:
    """What one weight file holds: digest and zeros (None: not counted) of each tensor, and the whole file's digest if asked."""

    tensors: Mapping[str, tuple[str, int | None]]
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
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # not there, or not written by this code
        return None

    def keep(self, ticket: Ticket, scan: FileScan) -> None:
        """Remember a scan, unless the file is so young that a change would leave no trace."""
        if self._folder is None or not ticket.settled:
            return
        entry = self._entry(ticket)
        text = json.dumps({**ticket.record, "whole": scan.whole, "tensors": scan.tensors})
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
    tensors = {name: (digest, zeros) for name, (digest, zeros) in kept["tensors"].items()}
    digests = [digest for digest, _ in tensors.values()] + [kept["whole"]] * (kept["whole"] is not None)
    is_whole = all(_DIGEST.fullmatch(digest) for digest in digests)
    is_counted = all(zeros is None or (type(zeros) is int and zeros >= 0) for _, zeros in tensors.values())
    return FileScan(tensors=tensors, whole=kept["whole"]) if is_whole and is_counted else None
