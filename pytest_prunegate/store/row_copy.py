"""Whole rows of one store put into another: to merge stores, and to salvage what a damaged one still holds.

No look of either becomes unknown. Rows of a file that SQLite can no longer read are read from its pages, each by itself, so that one that is
broken costs its own rows alone, even where it is the file's first; what is not whole is told by its checksum. The tables have no row ids:
their rows are cells of index pages, in leaves and above them.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, cast

from pytest_prunegate.store.schema import CHECKED, PAGE, as_text, checksum, is_whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_HEADERS = {0x0A: 8, 0x02: 12}  # bytes of a leaf's header, and of one above leaves, whose cells begin with a child
_LOG_HEADER, _FRAME_HEADER = 32, 24
_MOST_IN_PAGE = (PAGE - 12) * 64 // 255 - 23
_LEAST_IN_PAGE = (PAGE - 12) * 32 // 255 - 23
_WHOLE_NUMBERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes of a number by its type
_FLOAT, _ZERO, _ONE, _BLOB = 7, 8, 9, 12


def rows_in(path: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """All whole rows of a file and of its write-ahead log: table, and row with its checksum. Some may come twice."""
    with _Pages(path) as pages:
        for page in pages:
            for payload in _payloads(page, pages):
                try:
                    row = _columns(payload)
                except (IndexError, struct.error, ValueError):
                    continue
                yield from ((table, fitted) for table, fitted in _fits(row) if is_whole(table, fitted))


class _Pages:
    """The pages of a file and of its log; by number, the log's latest go first."""

    def __init__(self, path: Path) -> None:
        self._files = [found for found in (_map(path), _map(path.with_name(f"{path.name}-wal"))) if found is not None]
        self._main = self._files[0] if path.stat().st_size else b""
        log = self._files[-1] if len(self._files) > bool(self._main) else b""
        self.size = sum(map(len, self._files))
        self._starts = [(self._main, start) for start in range(0, len(self._main), PAGE)]
        self._logged: dict[int, tuple[bytes | mmap.mmap, int]] = {}
        for start in range(_LOG_HEADER, len(log) - PAGE - _FRAME_HEADER + 1, PAGE + _FRAME_HEADER):
            (number,) = struct.unpack_from(">I", log, start)
            self._logged[number] = (log, start + _FRAME_HEADER)
            self._starts.append((log, start + _FRAME_HEADER))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def __iter__(self) -> Iterator[bytes]:
        return (file[start : start + PAGE] for file, start in self._starts)

    def __getitem__(self, number: int) -> bytes:
        file, start = self._logged.get(number, (self._main, (number - 1) * PAGE))
        return file[start : start + PAGE] if start >= 0 else b""


def _map(path: Path) -> mmap.mmap | None:
    if not path.exists() or not path.stat().st_size:
        return None
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _payloads(page: bytes, pages: _Pages) -> Iterator[bytes]:
    """The records of a page, those that cannot be followed left out."""
    if len(page) < PAGE or page[0] not in _HEADERS:
        return
    header = _HEADERS[page[0]]
    (cells,) = struct.unpack_from(">H", page, 3)
    for place in range(header, min(header + 2 * cells, PAGE - 1), 2):
        (start,) = struct.unpack_from(">H", page, place)
        try:
            payload = _payload(page, start + header - 8, pages)
        except (IndexError, struct.error):
            continue
        if payload is not None:
            yield payload


def _payload(page: bytes, start: int, pages: _Pages) -> bytes | None:
    """A record, with what of it is on pages of its own; None where that chain is broken."""
    size, start = _number(page, start)
    if size <= _MOST_IN_PAGE:
        return page[start : start + size]
    if size > pages.size:
        return None
    here = _LEAST_IN_PAGE + (size - _LEAST_IN_PAGE) % (PAGE - 4)
    here = here if here <= _MOST_IN_PAGE else _LEAST_IN_PAGE
    found, length = [page[start : start + here]], here
    (following,) = struct.unpack_from(">I", page, start + here)
    while length < size:
        part = pages[following]
        if len(part) < PAGE:
            return None
        (following,) = struct.unpack_from(">I", part)
        found.append(part[4 : 4 + size - length])
        length += len(found[-1])
    return b"".join(found)


def _columns(payload: bytes) -> list[object]:
    """The values of a record: numbers, and bytes for text and blobs."""
    end, place = _number(payload, 0)
    values: list[object] = []
    start = end
    while place < end:
        kind, place = _number(payload, place)
        value, size = _value(payload, kind, start)
        values.append(value)
        start += size
    return values


def _value(payload: bytes, kind: int, start: int) -> tuple[object, int]:
    if kind >= _BLOB:
        size = (kind - _BLOB) // 2
        return payload[start : start + size], size
    if kind == _FLOAT:
        return struct.unpack_from(">d", payload, start)[0], 8
    if kind in {_ZERO, _ONE}:
        return kind - _ZERO, 0
    size = _WHOLE_NUMBERS.get(kind, 0)
    return (int.from_bytes(payload[start : start + size], "big", signed=True) if size else None), size


def _fits(row: Sequence[object]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """The tables that a row may be of. A whole number is how SQLite keeps a float without a fraction."""
    fitted = tuple(float(value) if isinstance(value, int) else value for value in row)
    yield from ((table, fitted) for table, names in CHECKED.items() if len(names) + 1 == len(row))


def _number(data: bytes, start: int) -> tuple[int, int]:
    """A variable-length number, and where it ends."""
    if start < 0:
        raise IndexError(start)
    value = 0
    for place in range(start, start + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, place + 1
    return value << 8 | data[start + 8], start + 9


TIMING = ("model", "task", "device", "work", "seconds", "created")

DRAW = ", draw "  # before the number of a draw that is not the first, at the end of a look's name


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


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol that holds after both.

    The first one's draw holds, and the stricter rates of both. The other's looks come after the first one's, so that a look that is
    repeated is judged as strictly as its place asks for; those at another draw keep its seed, as if a run had asked for that seed, and
    the number of that draw among those of both.

    Args:
        first: the protocol that was fixed earlier.
        second: the other.
    """
    draws = list(dict.fromkeys([*first.get("draws", ()), *second.get("draws", ())]))
    rules = {key: {**rule, "looks": list(rule["looks"])} for key, rule in first["rules"].items()}
    for key, rule in second["rules"].items():
        own = rules.setdefault(key, {**rule, "looks": []})
        own |= {name: min(own[name], rule[name], key=Decimal) for name in ("error_rate", "indifference")}
        known = {at for at, _ in own["looks"]}
        told = [[_seen_from(first, second, draws, at), by] for at, by in rule["looks"]]
        own["looks"] += [[at, by] for at, by in told if at not in known]
    candidates = max(found.get("candidates", 1) for found in (first, second))
    several = {"candidates": candidates} if candidates > 1 else {}
    drawn = {"bases": first.get("bases") or second.get("bases"), "draws": draws} if draws else {}
    return {"seed": first["seed"], "checks": max(first["checks"], second["checks"]), **several, **drawn, "rules": rules}


def _seen_from(first: Mapping[str, Any], second: Mapping[str, Any], draws: list[str], look: str) -> str:
    """A look in the words of one protocol, in those of another with this list of draws."""
    label, _, number = look.partition(DRAW)
    sample, _, seed = label.partition(", seed ")
    if sample[:1].isdigit():
        asked = int(seed) if seed else second["seed"]
        label = sample if asked == first["seed"] else f"{sample}, seed {asked}"
        if asked != first["seed"]:  # the seed says that it is another draw
            return label
    own = second.get("draws", ())
    place = draws.index(own[int(number or 0)]) if own else int(number or 0)
    return f"{label}{DRAW}{place}" if place else label
