"""The store keeps responses by model and request, and says clearly when it cannot."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.errors import StoreError
from pytest_prunegate.store import Response, Store

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = Response(text="a\n\u00e9", cut=False, truncated=True)
SCORED = Response(loglikelihood=-1.25, greedy=False)


def test_a_response_comes_back_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    store.put("m", "g", GENERATED, {"device": "cpu"})
    store.put("m", "l", SCORED, {})
    store.put("m", "empty", Response(text="", cut=True), {})
    store.close()
    found = Store(tmp_path / "new" / "folder").get("m", ["g", "l", "empty", "absent"])
    assert found == {"g": GENERATED, "l": SCORED, "empty": Response(text="", cut=True)}


def test_another_models_responses_are_not_served(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("a", "k", GENERATED, {})
    assert store.get("b", ["k"]) == {}


def test_many_keys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [f"k{i}" for i in range(1234)]
    for key in keys:
        store.put("m", key, Response(text=key), {})
    assert {key: response.text for key, response in store.get("m", keys).items()} == {key: key for key in keys}


def test_a_response_is_there_for_other_processes_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("m", "k", GENERATED, {})
    with sqlite3.connect(store.path) as other:
        assert other.execute("SELECT COUNT(*) FROM responses").fetchone() == (1,)


def test_timings(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.seconds_per_request("t", "cpu", ("m",)) is None
    store.add_timing("m", "t", "cpu", requests=4, seconds=2.0)
    store.add_timing("m", "t", "cpu", requests=1, seconds=3.0)
    store.add_timing("m", "t", "cuda", requests=1, seconds=100.0)
    assert store.seconds_per_request("t", "cpu", ("m", "n")) == 1.0


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = Store(tmp_path).path
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match=r"has format 99.*--prunegate-store"):
        Store(tmp_path)


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "responses.sqlite").write_text("not a database, " * 100)
    with pytest.raises(StoreError, match="the store cannot be opened"):
        Store(tmp_path)
