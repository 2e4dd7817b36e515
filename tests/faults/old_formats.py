"""A store of the first format, whose opening is killed while it is brought to today's."""

from __future__ import annotations

import importlib.metadata
import json
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from faults.points import Point, Where
from pytest_prunegate.evaluation.devices import hardware_name

if TYPE_CHECKING:
    from faults.injections import Fault
    from faults.project import Responses

# As version 0.1 wrote it, to the letter: a store's tables are told by their text.
_FIRST = """
PRAGMA journal_mode=WAL;
CREATE TABLE responses (
    model TEXT NOT NULL,
    request TEXT NOT NULL,
    response TEXT NOT NULL,
    provenance TEXT NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (model, request)
) WITHOUT ROWID;
CREATE TABLE timings (
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    device TEXT NOT NULL,
    requests INTEGER NOT NULL,
    seconds REAL NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE protocols (
    pair TEXT PRIMARY KEY,
    protocol TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX timings_of_a_task ON timings (task, device, model);
PRAGMA user_version=1;
"""
_STATEMENTS = 16  # of an opening, about


def opening_killed(fault: Fault) -> None:
    """At any statement, and killed again: every answer of the old file is there, and no model is asked."""
    expected = fault.workshop.undisturbed(1)
    for number in fault.points(14):
        fault.project.forget()
        _write_first_format(fault, expected.responses)
        where = Where.INSIDE_STATEMENT if number % 2 else Where.STATEMENT
        for _ in range(2):
            ended = fault.run(point=Point(where=where, number=fault.random.randint(1, _STATEMENTS)))
        lost = len(expected.responses) - len(fault.project.responses())
        problems = [f"{lost} responses were lost"] if lost else []
        problems += fault.resumed()
        asked = sum(event["event"] == "called" for event in fault.project.events())
        problems += [f"the model was asked {asked} times"] if asked else []
        what = "was killed" if ended.signal == signal.SIGKILL else "came to its end"
        fault.judge(f"every answer is there, although it {what}", problems, ended)


def _write_first_format(fault: Fault, responses: Responses) -> None:
    fault.project.store.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(fault.project.store)) as connection, connection:
        connection.executescript(_FIRST)
        beside = json.dumps(_provenance())
        rows = [(model, request, json.dumps(response), beside, 1.0) for (model, request), response in responses.items()]
        connection.executemany("INSERT INTO responses VALUES (?, ?, ?, ?, ?)", rows)


def _provenance() -> dict[str, Any]:
    """What stands beside an answer that this machine made: a report tells where its answers come from."""
    libraries = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    return {"hardware": hardware_name("cpu"), "batch_size": "1", "libraries": libraries}
