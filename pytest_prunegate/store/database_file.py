"""How a store's file is opened: what is damaged or newer is set aside first, and what it still holds is salvaged.

Killed at any instant, the next opening goes on: until the file of what was salvaged has its final name, nothing has happened
to the damaged one; from then on it only has to be put in its place.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.store import schema
from pytest_prunegate.store.locks import LocalLock, NetworkLock, network_type
from pytest_prunegate.store.row_copy import copy_rows, rows_in
from pytest_prunegate.store.schema import DamagedError, Format, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_prunegate.store.locks import UseLock


FILE = "responses.sqlite"
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file
_WAIT = 60  # seconds for another process's transaction


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open store, and what its user has to be told."""

    connection: sqlite3.Connection
    lock: UseLock
    notes: tuple[str, ...]


def open_file(path: Path) -> Opened:
    """Open a store for writing, and write to it once.

    Raises:
        StoreError: another process has it to itself.
        OSError, sqlite3.Error: it cannot be read or written.
    """
    kind = network_type(path.parent)
    lock = NetworkLock(path, kind) if kind else LocalLock(path)
    try:
        lock.together()
        notes = tuple(_set_right(path, lock, is_alone=kind is not None))
        return Opened(connection=_open_right(path, is_alone=kind is not None), lock=lock, notes=notes)
    except BaseException:
        lock.release()
        raise


def connect(path: Path, *, is_alone: bool = False) -> sqlite3.Connection:
    """A connection that commits each statement by itself, and gives texts as bytes: damaged ones may not be UTF-8."""
    path.touch(mode=0o600)  # SQLite gives what it keeps beside a file the file's permissions
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.text_factory = bytes
    if is_alone:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # a log that is left over is read without shared memory
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing."""
    can_share = os.access(path.parent, os.W_OK)  # a log cannot be shared where no file can be made beside it
    how = "mode=ro" if can_share else "immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_WAIT, isolation_level=None)
    connection.text_factory = bytes
    return connection


def _open_right(path: Path, *, is_alone: bool) -> sqlite3.Connection:
    connection = connect(path, is_alone=is_alone)
    try:
        connection.execute(f"PRAGMA page_size={schema.PAGE}")
        if is_alone:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA locking_mode=NORMAL")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if is_alone else 'NORMAL'}")
        with transaction(connection):
            schema.create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_right(path: Path, lock: UseLock, *, is_alone: bool) -> Iterator[str]:
    """Set a file aside that cannot be used, and say so."""
    if _problem(path, is_alone=is_alone) is None:
        return
    lock.alone()
    _finish(path)
    problem = _problem(path, is_alone=is_alone)  # another process may have been first
    if problem is not None:
        yield _set_aside(path, problem)
    lock.together()


def _problem(path: Path, *, is_alone: bool) -> str | None:
    """Why a file cannot be used as it is; None where it can, or is not there yet."""
    if _salvaged(path).exists():
        return "an earlier run set it aside, and was ended before it was done"
    if not path.exists():
        return None
    log = path.with_name(f"{path.name}-wal")
    if not path.stat().st_size:
        return "it is empty, and its write-ahead log is not" if log.exists() and log.stat().st_size else None
    try:
        with closing(connect(path, is_alone=is_alone)) as connection:
            found = schema.format_of(path, connection)
            version = schema.version_of(connection)
    except DamagedError as error:
        return f"it is damaged: {error}"
    if found is Format.NEWER:
        return f"it has format {version}, and this version of pytest-prunegate knows {schema.VERSION}"
    return None


def _set_aside(path: Path, problem: str) -> str:
    """Keep the file under another name, and put in its place a store of what it still holds."""
    aside = _keep(path)
    building = path.with_name(f"{path.name}.salvaging")
    for left_over in (building, *(building.with_name(building.name + suffix) for suffix in _BESIDE)):
        left_over.unlink(missing_ok=True)
    with closing(connect(building)) as connection:
        connection.execute(f"PRAGMA page_size={schema.PAGE}")
        connection.execute("PRAGMA synchronous=FULL")
        with transaction(connection):
            schema.create(connection)
            added = copy_rows(rows_in(aside), connection)
    building.replace(_salvaged(path))
    _sync(path.parent)
    _finish(path)
    return (
        f"{path}: this store cannot be used: {problem}. It was set aside as {aside.name}. "
        f"{added['responses']} responses, {added['failures']} failures and what was fixed for {added['protocols']} pairs of models could "
        "be salvaged from it; what is missing is asked again, and looks at the documents that are not among these are no longer known."
    )


def _finish(path: Path) -> None:
    """Put what was salvaged in the place of a file that is kept under another name."""
    if not _salvaged(path).exists():
        return
    for suffix in _BESIDE:  # first: SQLite would play an old log into the new file
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _sync(path.parent)
    _salvaged(path).replace(path)
    _sync(path.parent)


def _salvaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.salvaged")


def _keep(path: Path) -> Path:
    """Give a file, and what SQLite keeps beside it, a second name that nothing has yet; or find the one it has."""
    aside = next((other for other in path.parent.glob(f"{path.name}.damaged-*") if other.samefile(path)), None)
    aside = aside or _second_name(path)
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            with suppress(FileExistsError):
                _link(beside, aside.with_name(aside.name + suffix))
    _sync(path.parent)
    return aside


def _second_name(path: Path) -> Path:
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    number = 1
    while True:
        aside = path.with_name(stem if number == 1 else f"{stem}-{number}")
        try:
            _link(path, aside)
        except FileExistsError:
            number += 1
        else:
            return aside


def _link(path: Path, name: Path) -> None:
    """A second name for a file; a copy, where the file system has one name for each."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        with name.open("xb") as copy, path.open("rb") as file:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(copy.fileno())


def _sync(folder: Path) -> None:
    """Make names last; Windows does not open folders."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
