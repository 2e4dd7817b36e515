"""Whole rows of one store put into another: to merge stores, and to salvage what a damaged one still holds."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, cast

from pytest_prunegate.store.looks import joined
from pytest_prunegate.store.records import CHECKED, as_text, checksum, is_whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

TIMING = ("model", "task", "device", "requests", "seconds", "created")


def copy_rows(rows: Iterable[tuple[str, tuple[object, ...]]], into: sqlite3.Connection) -> Counter[str]:
    """Add rows that are not there yet, the first answer to a request winning. To be called in a transaction.

    Args:
        rows: of checked tables, each with its table and its checksum; those that are not whole are counted and left out.
        into: an open store.

    Returns:
        Rows added or changed, by table; and "damaged".
    """
    added: Counter[str] = Counter()
    for table, row in rows:
        if not is_whole(table, row):
            added["damaged"] += 1
        elif table == "protocols":
            added[table] += _join_protocol(into, row)
        else:
            marks = ", ".join("?" * len(row))
            query = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 - a table of ours, and question marks
            added[table] += into.execute(query, (*as_text(row), row[-1])).rowcount
    return added


def checked_rows(source: sqlite3.Connection) -> Iterator[tuple[str, tuple[object, ...]]]:
    """All rows of the tables that have checksums, each with its table and its checksum."""
    for table, names in CHECKED.items():
        columns = ", ".join((*names, "checksum"))
        yield from ((table, row) for row in source.execute(f"SELECT {columns} FROM {table}"))  # noqa: S608 - our own names


def copy_timings(source: sqlite3.Connection, into: sqlite3.Connection) -> int:
    """Add the timings that are not there yet."""
    columns, same = ", ".join(TIMING), " AND ".join(f"{name}=?" for name in TIMING)
    query = f"INSERT INTO timings SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM timings WHERE {same})"  # noqa: S608 - likewise
    rows = (
        [value.decode(errors="replace") if isinstance(value, bytes) else value for value in row]
        for row in source.execute(f"SELECT {columns} FROM timings")  # noqa: S608 - likewise
    )
    return sum(into.execute(query, (*row, *row)).rowcount for row in rows)


def _join_protocol(into: sqlite3.Connection, row: tuple[object, ...]) -> bool:
    """Put what was fixed for a pair beside what is known of it; whether that changed anything."""
    pair, text, created = as_text(row)
    found = into.execute("SELECT pair, protocol, created, checksum FROM protocols WHERE pair=?", (pair,)).fetchone()
    if found is not None and is_whole("protocols", found):
        _, kept, fixed = as_text(found)
        earlier, later = (kept, text) if cast("float", fixed) <= cast("float", created) else (text, kept)
        text = json.dumps(joined(json.loads(str(earlier)), json.loads(str(later))))
        created = min(cast("float", fixed), cast("float", created))
        if (text, created) == (kept, fixed):
            return False
    values = (pair, text, created)
    into.execute("INSERT OR REPLACE INTO protocols VALUES (?, ?, ?, ?)", (*values, checksum("protocols", values)))
    return True
