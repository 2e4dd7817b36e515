"""What a user may do with stores between runs: look at one, check it, put several together, make one smaller."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError, StoreError
from pytest_prunegate.store import contents as reading
from pytest_prunegate.store import schema
from pytest_prunegate.store.database_file import FILE, connect_to_read
from pytest_prunegate.store.row_copy import checked_rows, copy_rows, copy_timings, rows_in
from pytest_prunegate.store.schema import DamagedError, Format
from pytest_prunegate.store.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_prunegate.store.database import Store
    from pytest_prunegate.store.schema import KeptModel


_OF_MODELS = ("responses", "failures", "timings")
_Row = tuple[str, tuple[object, ...]]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a store got from another: rows added by table, and why the other could not be taken as a whole."""

    added: Counter[str]
    problem: str | None


def file_of(given: Path) -> Path:
    """The file of a store that is there: of its folder, or a file that was set aside.

    Raises:
        InputError: there is none.
    """
    path = given / FILE if given.is_dir() else given
    if not path.is_file():
        raise InputError(
            f"{given}: is no store: there is no file {FILE} in it. Name a folder that a run had as its --prunegate-store."
        )
    return path


def kept_models(path: Path) -> list[KeptModel]:
    """The models of a store, which is not changed.

    Raises:
        StoreError: it cannot be read, or is damaged.
    """
    with _reading(path) as connection, _explained(path):
        return reading.models(connection) if _usable(path, connection) is not Format.EMPTY else []


def problems(path: Path) -> list[str]:
    """What is damaged in a store, by every page and every checksum; it is not changed.

    Raises:
        StoreError: it cannot be read, or is from a newer version.
    """
    with _reading(path) as connection, _explained(path):
        try:
            found = _format(path, connection)
        except DamagedError as error:
            return [f"the file is damaged: {error}"]
        wrong = reading.damaged(connection) if found is Format.CURRENT else Counter[str]()
        return [f"rows of {table} whose checksum is wrong: {count}" for table, count in wrong.items()]


def merge(store: Store, path: Path) -> Merged:
    """Add to a store what another holds, all of it or nothing; the other is not changed.

    Args:
        store: that gets it.
        path: the other's file. What is whole in a damaged one is taken.

    Raises:
        StoreError: the other cannot be read, or the store cannot be written.
    """
    with _reading(path) as source:
        found, damage = None, None
        with _explained(path):
            try:
                found = _format(path, source)
            except DamagedError as error:
                damage = f"it is damaged: {error}"
        with store.transaction() as into:
            if found is Format.EMPTY:
                return Merged(added=Counter(), problem=None)
            rows = rows_in(path) if damage else checked_rows(source)
            added = copy_rows(_guarded(path, rows), into)
            if damage:
                return Merged(added=added, problem=damage)
            added["timings"] = copy_timings(source, into)
    wrong = added["damaged"]
    return Merged(added=added, problem=f"{wrong} of its rows have a wrong checksum" if wrong else None)


def prune(store: Store, *, models: Iterable[str] = (), before: float = 0.0) -> Counter[str]:
    """Delete what some models said, and what was said before a time; the protocols stay.

    Args:
        store: to delete from.
        models: fingerprints.
        before: in seconds since 1970.

    Returns:
        Rows deleted, by table.
    """
    deleted: Counter[str] = Counter()
    with store.transaction() as connection:
        for table in _OF_MODELS:
            for model in models:
                deleted[table] += connection.execute(f"DELETE FROM {table} WHERE model=?", (model,)).rowcount  # noqa: S608 - our own names
            deleted[table] += connection.execute(f"DELETE FROM {table} WHERE created<?", (before,)).rowcount  # noqa: S608 - likewise
    store.compact()
    return deleted


def count_before(path: Path, before: float) -> int:
    """How many responses are older than a time, in seconds since 1970.

    Raises:
        StoreError: the store cannot be read, or is damaged.
    """
    with _reading(path) as connection, _explained(path):
        if _usable(path, connection) is Format.EMPTY:
            return 0
        (count,) = connection.execute("SELECT COUNT(*) FROM responses WHERE created<?", (before,)).fetchone()
        return int(count)


def _format(path: Path, connection: sqlite3.Connection) -> Format:
    """The format of a file, which this version knows."""
    found = schema.format_of(path, connection)
    if found is Format.NEWER:
        raise StoreError(
            f"{path}: has format {schema.version_of(connection)}, and this version of pytest-prunegate knows {schema.VERSION}. Upgrade."
        )
    return found


def _usable(path: Path, connection: sqlite3.Connection) -> Format:
    """The format of a file that is whole."""
    try:
        return _format(path, connection)
    except DamagedError as error:
        raise StoreError(
            f"{path}: the store is damaged: {error}. The next run sets it aside and salvages what is whole; "
            f"so does: python -m pytest_prunegate store merge NEW {path.parent}"
        ) from None


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with _explained(path):
        connection = connect_to_read(path)
    with closing(connection):
        yield connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise explain(path, error) from error


def _guarded(path: Path, rows: Iterable[_Row]) -> Iterator[_Row]:
    """The same rows; an error of this file is told as such, and not as one of the file that they go to."""
    with _explained(path):
        yield from rows
