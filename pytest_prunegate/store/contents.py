"""What is kept, read as a whole: models, their rows, and what does not verify."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from pytest_prunegate.store.row_copy import checked_rows
from pytest_prunegate.store.schema import CHECKED, KeptModel, KeptRow, KeptTogether, Response, as_text, is_whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


_SIZE = "LENGTH(CAST(response AS BLOB)) + LENGTH(CAST(provenance AS BLOB))"


def models(connection: sqlite3.Connection) -> list[KeptModel]:
    """A record for each model that has whole responses, the one that was asked last first."""
    columns = ", ".join(
        f"CAST({name} AS BLOB)" if name != "created" else name for name in (*CHECKED["responses"], "checksum")
    )
    connection.create_function("is_whole", -1, lambda *row: is_whole("responses", row))
    groups: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    query = (
        f"SELECT model, provenance, COUNT(*), SUM({_SIZE}), MIN(created), MAX(created) "  # noqa: S608 - our own names
        f"FROM responses WHERE is_whole({columns}) GROUP BY model, provenance"
    )
    for model, provenance, *figures in connection.execute(query):
        groups[model.decode()].append((json.loads(provenance), *figures))
    found = [_model(fingerprint, group) for fingerprint, group in groups.items()]
    return sorted(found, key=lambda model: (-model.last, model.fingerprint))


def rows(connection: sqlite3.Connection, model: str) -> Iterator[KeptRow]:
    """A model's responses, by request key; damaged ones are left out."""
    query = (
        "SELECT model, request, response, provenance, created, checksum FROM responses WHERE model=? ORDER BY request"
    )
    for row in connection.execute(query, (model,)):
        if is_whole("responses", row):
            _, key, response, provenance, created = as_text(row)
            yield KeptRow(
                key=str(key), response=Response(**json.loads(str(response))), provenance=json.loads(str(provenance)),
                created=float(str(created)),
            )  # fmt: skip


def provenances(connection: sqlite3.Connection, model: str, keys: list[str]) -> list[KeptTogether]:
    """Where those of a model's responses were made that have these keys. Checksums are left to those who read the answers."""
    query = (
        "SELECT provenance, COUNT(*), MIN(created), MAX(created) FROM responses "
        "WHERE model=? AND request IN (SELECT value FROM json_each(?)) GROUP BY provenance ORDER BY provenance"
    )
    found = connection.execute(query, (model, json.dumps(keys)))
    return [
        KeptTogether(provenance=json.loads(provenance), responses=responses, first=first, last=last)
        for provenance, responses, first, last in found
    ]


def damaged(connection: sqlite3.Connection) -> Counter[str]:
    """Rows whose checksum is wrong, by table."""
    return Counter(table for table, row in checked_rows(connection) if not is_whole(table, row))


def _model(fingerprint: str, group: list[tuple[Any, ...]]) -> KeptModel:
    tasks: Counter[str] = Counter()
    for provenance, count, *_ in group:
        tasks[str(provenance.get("task", "(unknown)"))] += count
    return KeptModel(
        fingerprint=fingerprint,
        responses=tasks.total(),
        size=sum(size for _, _, size, _, _ in group),
        first=min(first for *_, first, _ in group),
        last=max(last for *_, last in group),
        paths=tuple(sorted({str(provenance["path"]) for provenance, *_ in group if "path" in provenance})),
        tasks=dict(sorted(tasks.items())),
    )
