"""The store keeps responses by model and request, and says clearly when it cannot."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

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
    assert store.seconds_per_work("t", "cpu", ("m",)) is None
    store.add_timing("m", "t", "cpu", work=4, seconds=2.0)
    store.add_timing("m", "t", "cpu", work=1, seconds=3.0)
    store.add_timing("m", "t", "cuda", work=1, seconds=100.0)
    assert store.seconds_per_work("t", "cpu", ("m", "n")) == 1.0


def test_the_first_answer_to_a_request_is_kept(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    one.put("m", "k", GENERATED, {})
    other.put("m", "k", Response(text="another"), {})
    assert one.get("m", ["k"]) == other.get("m", ["k"]) == {"k": GENERATED}


def test_a_failure_is_remembered_and_is_no_answer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add_failure("m", "k", traceback="old", provenance={})
    store.add_failure("m", "k", traceback="ValueError: \udcff", provenance={"task": "t"})
    store.close()
    again = Store(tmp_path)
    assert again.failures("m", ["k", "other"]) == {"k": "ValueError: \\udcff"}
    assert again.failures("n", ["k"]) == {}
    assert again.known("m", ["k"]) == set()


def test_what_is_kept_of_a_model(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("m", "b", SCORED, {"task": "boolq", "path": "/models/a"})
    store.put("m", "a", GENERATED, {"task": "gsm8k", "path": "/models/a"})
    store.put("m", "c", GENERATED, {"task": "gsm8k", "path": "/models/moved"})
    store.put("n", "a", GENERATED, {})
    n, m = store.models()
    assert (n.fingerprint, n.responses, n.paths) == ("n", 1, ())
    assert (m.fingerprint, m.responses, dict(m.tasks)) == ("m", 3, {"boolq": 1, "gsm8k": 2})
    assert m.paths == ("/models/a", "/models/moved")
    assert m.first <= m.last <= n.first
    rows = list(store.rows("m"))
    assert [(row.key, row.response) for row in rows] == [("a", GENERATED), ("b", SCORED), ("c", GENERATED)]
    assert rows[0].provenance == {"task": "gsm8k", "path": "/models/a"}
    assert rows[1].created == m.first


def test_what_two_runs_fix_for_a_pair_at_the_same_time_is_joined(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    rule = {"error_rate": "0.05", "indifference": "0.02"}
    one.fix_protocol("p", {"seed": 1, "checks": 2, "rules": {"acc": {**rule, "looks": [["40", "sample"]]}}})
    other.fix_protocol("p", {"seed": 1, "checks": 3, "rules": {"acc": {**rule, "looks": [["60", "sample"]]}}})
    looks = [["40", "sample"], ["60", "sample"]]
    assert one.protocol("p") == {"seed": 1, "checks": 3, "rules": {"acc": {**rule, "looks": looks}}}
