"""Whole rows of one store put into another: to merge stores, and to salvage what a damaged one still holds. No look of either becomes unknown."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from pytest_prunegate.store.records import CHECKED, as_text, checksum, is_whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping


TIMING = ("model", "task", "device", "requests", "seconds", "created")

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
