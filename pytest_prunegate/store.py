"""The store: every response under (model fingerprint, request), in one SQLite file.

A response is committed as soon as it exists. There is nothing to invalidate: another model, prompt, dtype or
version has another key.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_VERSION = 1
_BATCH = 500  # keys per query; SQLite allows 999 parameters in its oldest builds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    response TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (model, request)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS timings (
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    device TEXT NOT NULL,
    requests INTEGER NOT NULL,
    seconds REAL NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS protocols (
    pair TEXT PRIMARY KEY,
    protocol TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    traceback TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS timings_of_a_task ON timings (task, device, model);
"""


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


class Store:
    """Responses and timings in one file.

    Raises:
        StoreError: from every method: the file cannot be opened, read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "responses.sqlite"
        try:
            if not folder.exists():
                folder.mkdir(parents=True)
                (folder / ".gitignore").write_text("*\n", encoding="utf-8")
            self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self.path}: the store cannot be opened: {error}. Name another folder with --prunegate-store."
            ) from error

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise StoreError(
                f"{self.path}: this store has format {version}, this version of pytest-prunegate knows {_VERSION}. "
                "Name another folder with --prunegate-store, or upgrade."
            )
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version={_VERSION}")

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The responses that are kept, by request key; those that are not are left out."""
        rows = self._look_up("request, response", model, keys)
        return {key: Response(**json.loads(text)) for key, text in rows}

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which a response is kept."""
        return {key for (key,) in self._look_up("request", model, keys)}

    def _look_up(self, columns: str, model: str, keys: Iterable[str]) -> Iterator[Any]:
        wanted = list(keys)
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            query = f"SELECT {columns} FROM responses WHERE model=? AND request IN ({marks})"  # noqa: S608 - our own columns, and question marks
            yield from self._execute(query, (model, *batch))

    def put(self, model: str, key: str, response: Response, provenance: dict[str, object]) -> None:
        """Keep one response; it is on its way to the disk when this returns."""
        kept = {name: value for name, value in asdict(response).items() if value is not None}
        row = (model, key, json.dumps(kept), json.dumps(provenance), time.time())
        self._execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?)", row)

    def add_failure(self, model: str, key: str, *, traceback: str, provenance: dict[str, object]) -> None:
        """Record what a model raised on a request; it is never served as a response."""
        row = (model, key, traceback, json.dumps(provenance), time.time())
        self._execute("INSERT INTO failures VALUES (?, ?, ?, ?, ?)", row)

    def add_timing(self, model: str, task: str, device: str, *, requests: int, seconds: float) -> None:
        """Remember how long a model took for some requests of a task."""
        self._execute(
            "INSERT INTO timings VALUES (?, ?, ?, ?, ?, ?)",
            (model, task, device, requests, seconds, time.time()),
        )

    def seconds_per_request(self, task: str, device: str, models: tuple[str, ...]) -> float | None:
        """Mean time of a request of this task on this device by one of the models; None where none was timed."""
        marks = ",".join("?" * len(models))
        query = f"SELECT SUM(seconds), SUM(requests) FROM timings WHERE task=? AND device=? AND model IN ({marks})"  # noqa: S608 - only question marks are put in
        ((seconds, requests),) = self._execute(query, (task, device, *models))
        return float(seconds) / int(requests) if requests else None

    def protocol(self, pair: str) -> dict[str, Any] | None:
        """What was fixed for a pair of models on a task before its first document; None where nothing was."""
        rows = self._execute("SELECT protocol FROM protocols WHERE pair=?", (pair,))
        return json.loads(rows[0][0]) if rows else None

    def fix_protocol(self, pair: str, protocol: dict[str, Any]) -> None:
        """Fix it for this run and all later ones, which may add looks to it."""
        self._execute("INSERT OR REPLACE INTO protocols VALUES (?, ?, ?)", (pair, json.dumps(protocol), time.time()))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _execute(self, query: str, parameters: tuple[object, ...]) -> list[Any]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: the store cannot be read or written: {error}.") from error
