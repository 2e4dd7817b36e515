"""What went wrong with a store's file, and what to do about it."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from typing import TYPE_CHECKING

from pytest_prunegate.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
_LEAST = 1 << 20  # bytes free; with less, a failed write is a full disk, whatever SQLite calls it


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, and not its surroundings."""
    return _code(error) in _DAMAGED


def explain(path: Path, error: OSError | sqlite3.Error) -> StoreError:
    """The error as the user is told it."""
    return StoreError(f"{path}: {_reason(path, error)}")


def _reason(path: Path, error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        is_full, is_forbidden, is_busy = error.errno in _FULL, error.errno in _FORBIDDEN, False
        detail = error.strerror or str(error)
    else:
        code, detail = _code(error), str(error)
        is_full = code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _free(path) < _LEAST)
        is_forbidden, is_busy = code in _READ_ONLY, code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
        if is_damage(error):
            return (
                f"the store is damaged ({detail}). Run the same command again: it sets the file aside under another name and goes on "
                "with the answers that can be salvaged."
            )
    if is_full:
        return (
            f"the disk of the store is full ({detail}). What is kept stays. Free some space there and run the same command again, "
            "or name a folder on another disk with --prunegate-store."
        )
    if is_forbidden:
        return (
            f"the store cannot be written ({detail}). Make the folder and the file writable, or name another folder with "
            "--prunegate-store."
        )
    if is_busy:
        return f"another process keeps the store locked ({detail}). Wait until it has ended, and run the same command again."
    return f"the store cannot be opened, read or written: {detail}. Name another folder with --prunegate-store."


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary code; its extended ones have it in their lowest byte."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if code is not None else None


def _free(path: Path) -> int:
    return next((shutil.disk_usage(folder).free for folder in path.parents if folder.exists()), 0)
