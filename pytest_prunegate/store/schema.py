"""What the store holds: its tables, in which format a file is, and the checksums by which a row that changed on the disk is noticed."""

from __future__ import annotations

import enum
import json
import sqlite3
import struct
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.store.trouble import is_damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


CHECKED = {
    "responses": ("model", "request", "response", "provenance", "created"),
    "protocols": ("pair", "protocol", "created"),
    "failures": ("model", "request", "created", "traceback", "provenance"),
    "facts": ("kind", "key", "content", "created"),
}
"""The tables whose rows carry a checksum, with the columns that it covers; it comes after them."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A model's answer to one request.

    Generation has `text`; log-likelihood has `loglikelihood` (natural log) and `greedy`. `cut` says whether the
    text ended at the token limit (None: the backend does not say), `truncated` whether the prompt lost its beginning.
    """

    text: str | None = None
    loglikelihood: float | None = None
    greedy: bool | None = None
    cut: bool | None = None
    truncated: bool = False

    def as_json(self) -> str:
        """As the store keeps it."""
        return json.dumps({name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class KeptRow:
    """A response as it is kept. `created` is in seconds since 1970."""

    key: str
    response: Response
    provenance: dict[str, Any]
    created: float


@dataclass(frozen=True, kw_only=True)
class KeptTogether:
    """Responses of one provenance: how many, and when the first and the last was kept, in seconds since 1970."""

    provenance: dict[str, Any]
    responses: int
    first: float
    last: float


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """What is kept of a model. `size` is in bytes of its rows; `first` and `last` are in seconds since 1970."""

    fingerprint: str
    responses: int
    size: int
    first: float
    last: float
    paths: tuple[str, ...]
    tasks: Mapping[str, int]
    """Responses by task."""


def checksum(table: str, values: Sequence[object]) -> bytes:
    """Eight bytes over a row; the same for text and for its UTF-8."""
    return xxhash.xxh3_64_digest(b"\0".join((table.encode(), *map(_as_bytes, values))))


def checked(table: str, values: Sequence[object]) -> tuple[object, ...]:
    """A row with its checksum, as it is inserted."""
    return (*values, checksum(table, values))


def is_whole(table: str, row: Sequence[object]) -> bool:
    """Whether a row, as it was read, is as it was written."""
    return len(row) == len(CHECKED[table]) + 1 and row[-1] == checksum(table, row[:-1])


def as_text(row: Sequence[object]) -> tuple[object, ...]:
    """A whole row's columns with their bytes as text again, but for the checksum."""
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row[:-1])


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else struct.pack(">d", value) if isinstance(value, float) else b"?"


VERSION = 2
PAGE = 4096  # bytes; salvaging relies on it where the file's header is broken
_MODES = slice(18, 20)  # bytes of a file: for writing and for reading, with a rollback journal or a write-ahead log
_KNOWN_MODES = b"\1\2"
_STATEMENTS = (
    """CREATE TABLE IF NOT EXISTS responses (
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    response TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created REAL NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (model, request)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS timings (
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    device TEXT NOT NULL,
    work INTEGER NOT NULL,
    seconds REAL NOT NULL,
    created REAL NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS protocols (
    pair TEXT PRIMARY KEY,
    protocol TEXT NOT NULL,
    created REAL NOT NULL,
    checksum BLOB NOT NULL
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS failures (
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    created REAL NOT NULL,
    traceback TEXT NOT NULL,
    provenance TEXT NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (model, request, created)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS facts (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    content TEXT NOT NULL,
    created REAL NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS timings_of_a_task ON timings (task, device, model)",
)


_ACTING = (b"trigger", b"view")  # what would run, or stand in a table's place


class Format(enum.Enum):
    """What a file is to this version."""

    EMPTY = "empty"
    CURRENT = "current"
    NEWER = "newer"


class DamagedError(Exception):
    """The file is no store, or a broken one; the message says how that was seen."""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, and alone in writing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def format_of(path: Path, connection: sqlite3.Connection) -> Format:
    """Which format a file has that is open, after a look at all of it.

    Raises:
        DamagedError: it is broken, or was never a store.
    """
    try:
        connection.execute("BEGIN")  # one state of the file: another process may be making its tables
        version, found = version_of(connection), set(_read_schema(connection))
        # Not quick_check: it does not notice that keys are out of order, and rows behind such a key are not found.
        (problem,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        connection.execute("COMMIT")
    except UnicodeDecodeError:  # Python reads SQLite's message, which cites the broken table
        raise DamagedError("its tables cannot be read") from None
    except sqlite3.Error as error:
        if is_damage(error):
            raise DamagedError(str(error)) from None
        raise
    _check_header(path)
    if problem != b"ok":
        raise DamagedError(problem.decode(errors="replace"))
    if version > VERSION:
        return Format.NEWER
    if version == 0 and not found:
        return Format.EMPTY
    foreign = sorted(name for kind, name, *_ in found if kind in _ACTING)
    if foreign:
        raise DamagedError(
            f"it holds {foreign[0].decode(errors='replace')}, a trigger or view that this package did not make"
        )
    if version == VERSION and found >= _expected():
        return Format.CURRENT
    raise DamagedError(f"its tables are not those of version {version}")


def version_of(connection: sqlite3.Connection) -> int:
    """The number of the format."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables that are not there, and write the version: at every opening, because it shows that one can write."""
    for statement in _STATEMENTS:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")


def _read_schema(connection: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes, bytes]]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()


def _check_header(path: Path) -> None:
    """Notice a flipped byte that SQLite takes for a read-only file, or one without a log."""
    with path.open("rb") as file:
        modes = file.read(_MODES.stop)[_MODES]
    if len(modes) == len(_KNOWN_MODES) and (modes[0] != modes[1] or modes[0] not in _KNOWN_MODES):
        raise DamagedError("its header is broken")


@cache
def _expected() -> frozenset[tuple[bytes, bytes, bytes, bytes]]:
    """The tables as SQLite describes them: a flipped byte there can make a column another one."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = bytes
        create(connection)
        return frozenset(_read_schema(connection))
