"""What is put into a run: a journal of what it does, and the faults that it meets. All of it is called in the run's own process.

The seams are public: `sqlite3.connect`, and the forward pass of transformers' Llama. Only the probe of a freshly loaded
model is told by the gate's own function, because it must not be taken for a request.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.points import Point, Where

if TYPE_CHECKING:
    from collections.abc import Callable

_connect = sqlite3.connect


class Watch:
    """The journal of one run, its counters, and the point at which it kills itself.

    Args:
        journal: file that takes a line for each event, before what it tells of happens.
        point: where the run kills itself; None for nowhere.
        on_call: called with the number of a model call before it runs, from 1; may raise what the model shall raise.
        on_rows: likewise, with the keys of the rows that are about to run.
    """

    def __init__(
        self, journal: Path, *, point: Point | None = None, on_call: Callable[[int], None] | None = None,
        on_rows: Callable[[list[str]], None] | None = None,
    ) -> None:  # fmt: skip
        self._path = journal
        self._point = point
        self._on_call = on_call
        self._on_rows = on_rows
        self._statements = self._reports = self.calls = self.inserts = 0
        self._probing = False
        self._file = -1

    def install(self) -> None:
        """Begin to watch this process."""
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        watch = self

        class Watched(_Watched):
            _watch = watch

        sqlite3.connect = lambda *args, **kwargs: _connect(*args, **kwargs | {"factory": Watched})
        self._watch_model()
        self._watch_reports()

    def note(self, event: str, **what: Any) -> None:
        """Write a line to the journal; it is with the kernel when this returns."""
        os.write(self._file, (json.dumps({"event": event, "at": time.monotonic(), **what}) + "\n").encode())

    def kill(self, connection: sqlite3.Connection | None, **what: Any) -> None:
        """End this process as kill -9 would."""
        inside = bool(connection and connection.in_transaction)
        self.note("killed", point=str(self._point), in_transaction=inside, **what)
        os.kill(os.getpid(), signal.SIGKILL)

    def is_at(self, where: Where, number: int) -> bool:
        """Whether the run is to be killed here."""
        return self._point is not None and (self._point.where, self._point.number) == (where, number)

    def statement(self, connection: sqlite3.Connection, path: str, text: str) -> None:
        """SQLite begins with a statement."""
        self._statements += 1
        if self.is_at(Where.STATEMENT, self._statements):
            self.kill(connection)
        if self.is_at(Where.INSIDE_STATEMENT, self._statements):
            self.kill_within(connection, path)

    def kill_within(self, connection: sqlite3.Connection, path: str) -> None:
        """From the next statement on, end this process as soon as the connection holds the lock for writing."""
        connection.set_progress_handler(lambda: self._kill_where_locked(connection, path), 1)

    def _kill_where_locked(self, connection: sqlite3.Connection, path: str) -> int:
        """SQLite is within a statement: another connection tells whether this one holds the lock for writing."""
        other = _connect(path, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                self.kill(connection, locked=True)
        other.close()
        return 0

    def _watch_model(self) -> None:
        from transformers.models.llama.modeling_llama import LlamaModel

        from pytest_prunegate.execution import lm_eval_model

        forward, probe = LlamaModel.forward, lm_eval_model._probe

        def watched(model: Any, *args: Any, **kwargs: Any) -> Any:
            ids = args[0] if args else kwargs.get("input_ids")
            past = kwargs.get("past_key_values")
            is_first = past is None or past.get_seq_length() == 0  # later passes of a generation are part of its call
            if is_first:
                self._called(model, ids)
            return forward(model, *args, **kwargs)

        def probed(*args: Any, **kwargs: Any) -> Any:
            self._probing = True
            try:
                return probe(*args, **kwargs)
            finally:
                self._probing = False

        LlamaModel.forward = watched
        lm_eval_model._probe = probed

    def _watch_reports(self) -> None:
        replace, results = os.replace, self._path.parent / "prunegate-results"

        def watched(source: Any, target: Any, **kwargs: Any) -> None:
            if Path(target).resolve().parent == results.resolve():
                self._reports += 1
                if self.is_at(Where.REPORT, self._reports):
                    self.kill(None)
            replace(source, target, **kwargs)

        os.replace = watched  # type: ignore[assignment]

    def _called(self, model: Any, ids: Any) -> None:
        self.calls += 1
        rows = [_row_key(model.config._name_or_path, row) for row in ids.tolist()]
        if self._probing:
            self.note("probed")
        else:
            self.note("called", rows=rows)
        if self.is_at(Where.CALL, self.calls):
            self.kill(None)
        if self._on_call:
            self._on_call(self.calls)
        if self._on_rows and not self._probing:
            self._on_rows(rows)


class _Watched(sqlite3.Connection):
    """A connection that tells what it does."""

    _watch: Watch

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(database, *args, **kwargs)
        self._path = path = str(database)
        if path != ":memory:":
            self.set_trace_callback(lambda text: self._watch.statement(self, path, text))

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return self._told(sql, lambda: sqlite3.Connection.execute(self, sql, parameters))

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        return self._told(sql, lambda: sqlite3.Connection.executemany(self, sql, parameters))

    def _told(self, sql: str, execute: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        watch = self._watch
        if not (is_insert(sql) and watch.calls):  # before the first call it is an old file that is copied
            return execute()
        number = watch.inserts + 1
        before_commit = watch.is_at(Where.BEFORE_COMMIT, number)
        if before_commit and not self.in_transaction:
            super().execute("BEGIN IMMEDIATE")  # what SQLite does by itself around a single statement
        if watch.is_at(Where.INSIDE_INSERT, number):
            watch.kill_within(self, self._path)
        cursor = execute()
        watch.inserts = number
        if before_commit:
            watch.kill(self)
        watch.note("answered")
        if watch.is_at(Where.ANSWER, number):
            watch.kill(self)
        return cursor


def is_insert(text: str) -> bool:
    """Whether a statement keeps a response."""
    words = text.upper().split()
    return words[:1] in (["INSERT"], ["REPLACE"]) and any(word.split("(")[0] == "RESPONSES" for word in words[:6])


def _row_key(model: str, ids: list[int]) -> str:
    """A row without its padding: token 0 is padding, and begins or ends no prompt in any other way than all of its kind."""
    start, stop = 0, len(ids)
    while start < stop and ids[start] == 0:
        start += 1
    while stop > start and ids[stop - 1] == 0:
        stop -= 1
    return hashlib.sha256(json.dumps([model, ids[start:stop]]).encode()).hexdigest()[:16]
