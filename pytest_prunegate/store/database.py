"""The store as a run uses it."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_prunegate.store import contents as reading
from pytest_prunegate.store.database_file import FILE, open_file
from pytest_prunegate.store.row_copy import copy_rows
from pytest_prunegate.store.schema import CHECKED, Response, as_text, checked, is_whole, transaction
from pytest_prunegate.store.trouble import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pytest_prunegate.store.schema import KeptModel, KeptRow, KeptTogether

_BATCH = 500  # keys per query; SQLite allows 999 parameters in its oldest builds
_COLUMNS = ", ".join((*CHECKED["responses"], "checksum"))
_OF_FAILURES = ", ".join((*CHECKED["failures"], "checksum"))


class Store:
    """Responses, timings, protocols and failures in one file.

    A file that is damaged, or from a newer version, is set aside at opening, and what it still holds is taken over.

    Raises:
        StoreError: from every method: the file cannot be opened, read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._damaged: dict[str, set[str]] = {"responses": set(), "protocols": set()}
        with self._explained():
            if not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            opened = open_file(self.path)
        self._connection, self._lock, self._notes = opened.connection, opened.lock, opened.notes

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user has to know of this store: what was set aside, and what was found to be damaged so far."""
        responses, protocols = len(self._damaged["responses"]), len(self._damaged["protocols"])
        notes = list(self._notes)
        if responses:
            notes.append(
                f"{self.path}: {responses} responses are damaged: their checksum is wrong. They are asked again."
            )
        if protocols:
            notes.append(
                f"{self.path}: what was fixed for {protocols} pairs of models is damaged: its checksum is wrong. "
                "Earlier looks at their documents are not known any more."
            )
        return tuple(notes)

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The responses that are kept whole, by request key; the others are left out."""
        return {key: Response(**json.loads(text)) for key, text in self._look_up(model, keys)}

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which a response is kept whole."""
        return {key for key, _ in self._look_up(model, keys)}

    def _look_up(self, model: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        wanted = list(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = {key.encode(): key for key in wanted[start : start + _BATCH]}
            query = f"SELECT {_COLUMNS} FROM responses WHERE model=? AND request IN ({_marks(batch)})"  # noqa: S608 - our own columns, and question marks
            for row in self._execute(query, (model, *batch.values())):
                is_asked = (
                    row[0] == model.encode() and row[1] in batch
                )  # a search among damaged keys may find another's
                if is_asked and is_whole("responses", row):
                    yield batch[row[1]], row[2]
                elif is_asked:
                    self._give_up(model, batch[row[1]], row[-1])

    def _give_up(self, model: str, key: str, checksum: object) -> None:
        """Forget a damaged response, so that it can be asked again; not one that another process has put there since."""
        self._execute("DELETE FROM responses WHERE model=? AND request=? AND checksum IS ?", (model, key, checksum))
        self._damaged["responses"].add(f"{model} {key}")

    def put(self, model: str, key: str, response: Response, provenance: dict[str, object]) -> None:
        """Keep one response, unless one is kept: it outlives this process from the return of this call on."""
        self._insert("responses", (model, key, response.as_json(), json.dumps(provenance), time.time()))

    def add_failure(self, model: str, key: str, *, traceback: str, provenance: dict[str, object]) -> None:
        """Remember that a request made a model or its scoring raise. It is never served as an answer."""
        text = traceback.encode(errors="backslashreplace").decode()  # lone surrogates cannot be kept
        self._insert("failures", (model, key, time.time(), text, json.dumps(provenance)))

    def failures(self, model: str, keys: Iterable[str]) -> dict[str, str]:
        """The latest traceback of each of the requests that has one, by request key."""
        wanted = list(keys)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            query = (
                f"SELECT {_OF_FAILURES} FROM failures WHERE model=? AND request IN ({_marks(batch)}) ORDER BY created"  # noqa: S608 - likewise
            )
            rows = self._execute(query, (model, *batch))
            found |= {row[1].decode(): row[3].decode() for row in rows if is_whole("failures", row)}
        return found

    def add_timing(self, model: str, task: str, device: str, *, work: int, seconds: float) -> None:
        """Remember how long a model took for some work of a task, in units of that task's."""
        values = (model, task, device, work, seconds, time.time())
        self._execute("INSERT INTO timings VALUES (?, ?, ?, ?, ?, ?)", values)

    def seconds_per_work(self, task: str, device: str, models: tuple[str, ...]) -> float | None:
        """Mean time of a unit of this task's work on this device by one of the models; None where none was timed."""
        query = f"SELECT SUM(seconds), SUM(work) FROM timings WHERE task=? AND device=? AND model IN ({_marks(models)})"  # noqa: S608 - likewise
        ((seconds, work),) = self._execute(query, (task, device, *models))
        return float(seconds) / int(work) if work else None

    def protocol(self, pair: str) -> dict[str, Any] | None:
        """What was fixed for a pair of models on a task before its first document; None where nothing was."""
        rows = self._execute("SELECT pair, protocol, created, checksum FROM protocols WHERE pair=?", (pair,))
        if not rows:
            return None
        if not is_whole("protocols", rows[0]):
            self._damaged["protocols"].add(pair)
            return None
        found: dict[str, Any] = json.loads(rows[0][1])
        return found

    def fix_protocol(self, pair: str, protocol: dict[str, Any]) -> None:
        """Fix it for this run and all later ones, which may add looks to it; those of a run at the same time are joined."""
        row = checked("protocols", (pair, json.dumps(protocol), time.time()))
        with self.transaction() as connection:
            copy_rows([("protocols", row)], connection)

    def keep_fact(self, kind: str, key: str, content: str) -> None:
        """Keep what is known besides answers: of a model, a tokenizer, a task."""
        row = checked("facts", (kind, key, content, time.time()))
        self._execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)", row)

    def facts(self, kind: str, keys: str = "*") -> list[tuple[str, str, float]]:
        """What is known of a kind: key, content, and since when, where it is whole. `keys` is a pattern, as SQLite's GLOB takes it."""
        query = "SELECT kind, key, content, created, checksum FROM facts WHERE kind=? AND key GLOB ? ORDER BY key"
        whole = (as_text(row) for row in self._execute(query, (kind, keys)) if is_whole("facts", row))
        return [(str(key), str(content), float(str(created))) for _, key, content, created in whole]

    def models(self) -> list[KeptModel]:
        """The models that have responses, the one that was asked last first."""
        with self._explained():
            return reading.models(self._connection)

    def rows(self, model: str) -> Iterator[KeptRow]:
        """A model's responses, by request key; damaged ones are left out."""
        with self._explained():
            yield from reading.rows(self._connection, model)

    def provenances(self, model: str, keys: Iterable[str]) -> list[KeptTogether]:
        """Where those of a model's responses were made that have these keys."""
        with self._explained():
            return reading.provenances(self._connection, model, list(keys))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done with the connection or nothing, while nobody else writes."""
        self._lock.verify()
        with self._explained(), transaction(self._connection):
            yield self._connection

    def compact(self) -> None:
        """Give the space of deleted rows back to the disk."""
        self._execute("VACUUM", ())
        self._execute("PRAGMA wal_checkpoint(TRUNCATE)", ())

    def close(self) -> None:
        """Close the file."""
        with self._explained():
            self._connection.close()
        self._lock.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise explain(self.path, error) from error

    def _insert(self, table: str, values: tuple[object, ...]) -> None:
        row = checked(table, values)
        self._execute(f"INSERT OR IGNORE INTO {table} VALUES ({_marks(row)})", row)  # noqa: S608 - a table of ours

    def _execute(self, query: str, parameters: tuple[object, ...]) -> list[Any]:
        self._lock.verify()
        with self._explained():
            return self._connection.execute(query, parameters).fetchall()


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)
