"""`python -m pytest_prunegate store`: what is kept, whether it is whole, stores put together, and one made smaller."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ, write_checkpoint, write_data

from pytest_prunegate.__main__ import main
from pytest_prunegate.store import Response, Store

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

YEAR = 365 * 86400
CHECKS = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: 90%}}
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["store", *arguments])
        return code, *capsys.readouterr()

    return run


def fill(
    folder: Path, *, model: str = "a" * 32, keys: range = range(3), text: str = "answer", age: float = 0.0
) -> None:
    now = time.time
    with pytest.MonkeyPatch.context() as patch, closing(Store(folder)) as store:
        patch.setattr(time, "time", lambda: now() - age)
        for number in keys:
            store.put(
                model,
                f"key-{number}",
                Response(text=f"{text} {number}"),
                {"task": "boolq", "path": f"/models/{model[0]}"},
            )
        store.add_failure(model, f"key-{keys[0]}", traceback=f"ValueError {text}", provenance={})
        store.add_timing(model, "boolq", "cpu", work=len(keys), seconds=1.0)


def texts(folder: Path, model: str = "a" * 32) -> dict[str, str | None]:
    with closing(Store(folder)) as store:
        return {row.key: row.response.text for row in store.rows(model)}


def damage(folder: Path, text: bytes) -> None:
    path = folder / "responses.sqlite"
    path.write_bytes(path.read_bytes().replace(text, text[:-1] + b"#"))


def test_list(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s", age=YEAR)
    fill(tmp_path / "s", model="b" * 32, keys=range(1))
    code, out, err = told("list", "s")
    assert (code, err) == (0, "")
    assert re.search(r"s/responses.sqlite: 2 models, 4 responses, 0\.\d MB\n", out)
    second = time.strftime("%Y-%m-%d", time.localtime(time.time() - YEAR))
    assert re.search(
        rf"aaaaaaaaaaaa  3 responses, 0.0 MB, {second} .* to {second} .*\n  path:  /models/a\n  tasks: boolq 3\n", out
    )
    assert out.index("bbbb") < out.index("aaaa"), "the latest first"


@pytest.mark.parametrize(
    "command", [["list", "gone"], ["verify", "gone"], ["merge", "s", "gone"], ["prune", "gone", "--keep", "a", "--yes"]]
)
def test_a_store_that_is_not_there_is_an_error_and_not_made(tmp_path: Path, told: Any, command: list[str]) -> None:
    code, _, err = told(*command)
    assert code == 2
    assert "gone: is no store: there is no file responses.sqlite in it." in err
    assert list(tmp_path.iterdir()) == []


def test_list_and_verify_change_nothing(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    path = tmp_path / "s" / "responses.sqlite"
    whole = path.read_bytes()
    assert told("verify", "s")[0] == told("list", "s")[0] == 0
    assert path.read_bytes() == whole
    damage(tmp_path / "s", b"SQLite format 3")
    damaged = path.read_bytes()
    assert told("verify", "s")[0] == told("list", "s")[0] == 2
    assert path.read_bytes() == damaged
    assert not list(path.parent.glob("*.damaged-*"))


def test_verify(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    code, out, _ = told("verify", "s")
    assert (code, out) == (0, "s/responses.sqlite: whole\n")
    damage(tmp_path / "s", b"answer 2")
    code, out, err = told("verify", "s")
    assert (code, out) == (2, "")
    assert "s/responses.sqlite: rows of responses whose checksum is wrong: 1\n" in err
    assert "python -m pytest_prunegate store merge NEW s" in err


def test_a_damaged_answer_is_not_listed(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    damage(tmp_path / "s", b"answer 2")
    assert "aaaaaaaaaaaa  2 responses" in told("list", "s")[1]


def test_merge(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "one", keys=range(3), text="one")
    fill(tmp_path / "two", keys=range(2, 5), text="two")
    fill(tmp_path / "two", model="b" * 32)
    code, out, err = told("merge", "all", "one", "two")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "one/responses.sqlite: 3 responses, 1 failures, 1 timings added",
        "two/responses.sqlite: 5 responses, 2 failures, 2 timings added",
    ]
    assert texts(tmp_path / "all") == {
        "key-0": "one 0", "key-1": "one 1", "key-2": "one 2", "key-3": "two 3", "key-4": "two 4"
    }  # fmt: skip
    assert len(texts(tmp_path / "all", "b" * 32)) == 3
    again = told("merge", "all", "two", "one")[1]
    assert again.count("0 responses, 0 failures, 0 timings added") == 2
    with closing(Store(tmp_path / "all")) as store:
        assert store.failures("a" * 32, ["key-0", "key-2"]) == {"key-0": "ValueError one", "key-2": "ValueError two"}


def test_merge_of_a_damaged_store_takes_what_is_whole_and_says_so(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "one")
    fill(tmp_path / "two", model="b" * 32)
    damage(tmp_path / "one", b"answer 1")
    damage(tmp_path / "two", b"SQLite format 3")
    before = (tmp_path / "two" / "responses.sqlite").read_bytes()
    code, _, err = told("merge", "all", "one", "two")
    assert code == 2
    assert "one/responses.sqlite: 1 of its rows have a wrong checksum; what is whole was merged." in err
    assert "two/responses.sqlite: it is damaged: file is not a database; what is whole was merged." in err
    assert texts(tmp_path / "all") == {"key-0": "answer 0", "key-2": "answer 2"}
    assert len(texts(tmp_path / "all", "b" * 32)) == 3
    assert (tmp_path / "two" / "responses.sqlite").read_bytes() == before


def test_a_store_is_not_merged_into_itself(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    code, _, err = told("merge", "s", "s")
    assert code == 2
    assert "s: is to be a folder, and none of the stores that are merged into it." in err


def test_prune_says_what_it_would_delete(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    fill(tmp_path / "s", model="b" * 32)
    code, out, _ = told("prune", "s", "--keep", "/models/b")
    assert code == 0
    assert "aaaaaaaaaaaa  3 responses" in out
    assert "bbbb" not in out
    assert out.endswith("This would be deleted. Add --yes to do it.\n")
    assert len(texts(tmp_path / "s")) == 3
    code, out, _ = told("prune", "s", "--keep", "bbbb", "--yes")
    assert (code, out) == (0, "s/responses.sqlite: 3 responses, 1 failures, 1 timings deleted\n")
    assert texts(tmp_path / "s") == {}
    assert len(texts(tmp_path / "s", "b" * 32)) == 3


def test_prune_by_age_frees_the_space(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s", keys=range(200), text="long " * 200, age=YEAR)
    fill(tmp_path / "s", keys=range(1000, 1002))
    size = (tmp_path / "s" / "responses.sqlite").stat().st_size
    code, out, _ = told("prune", "s", "--older-than", "90d")
    assert code == 0
    assert out.startswith("200 responses from before ")
    assert "200 responses, 1 failures, 1 timings deleted" in told("prune", "s", "--older-than", "90d", "--yes")[1]
    assert sorted(texts(tmp_path / "s")) == ["key-1000", "key-1001"]
    assert (tmp_path / "s" / "responses.sqlite").stat().st_size < size / 3


def test_prune_knows_the_models_that_it_keeps(tmp_path: Path, told: Any) -> None:
    fill(tmp_path / "s")
    code, _, err = told("prune", "s", "--keep", "aaaa", "zzz", "/models/q", "--yes")
    assert code == 2
    assert "--keep zzz, /models/q: no such model in this store. It has:\naaaaaaaaaaaa  3 responses" in err
    assert len(texts(tmp_path / "s")) == 3


@pytest.mark.parametrize("given", ["90", "-1d", "1.5d", "9999999999d", "d"])
def test_an_age_that_is_none(told: Any, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["store", "prune", "s", f"--older-than={given}"])
    assert "an age is a whole number of hours, days or weeks" in capsys.readouterr().err


@pytest.fixture
def project(bench: Bench) -> Bench:
    write_data(bench.path / "data", 60)
    for name in ("original", "pruned"):
        write_checkpoint(bench.path / name, seed=len(name))
    bench.thresholds(CHECKS)
    return bench


def test_a_run_on_a_merged_store_asks_nothing_and_counts_the_looks_of_both(project: Bench, told: Any) -> None:
    project.run("--prunegate-limit=20", "--prunegate-store=one")
    project.run("--prunegate-limit=30", "--prunegate-store=two", "--prunegate-seed=7")
    folder = project.path
    assert told("merge", f"{folder}/all", f"{folder}/one", f"{folder}/two")[0] == 0
    with closing(sqlite3.connect(folder / "all" / "responses.sqlite")) as connection:
        ((text,),) = connection.execute("SELECT protocol FROM protocols").fetchall()
    (rule,) = json.loads(text)["rules"].values()
    assert [look for look, _ in rule["looks"]] == ["20", "30, seed 7"]
    result = project.run("--prunegate-limit=20", "--prunegate-store=all")
    result.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    project.run("--prunegate-limit=30", "--prunegate-store=all", "--prunegate-seed=7")
    with closing(sqlite3.connect(folder / "all" / "responses.sqlite")) as connection:
        assert connection.execute("SELECT protocol FROM protocols").fetchall() == [(text,)], "both looks were known"


def test_a_run_says_that_its_store_was_set_aside(project: Bench) -> None:
    project.run("--prunegate-store=s")
    damage(project.path / "s", b"SQLite format 3")
    result = project.run("--prunegate-store=s")
    result.stdout.fnmatch_lines(
        ["*s/responses.sqlite: this store cannot be used: it is damaged*set aside as responses.sqlite.damaged-*"]
    )
    result.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    assert result.ret == 0


def test_a_store_that_cannot_be_written_is_said_before_a_model_is_loaded(project: Bench) -> None:
    (project.path / "s").mkdir()
    os.mkfifo(project.path / "s" / "responses.sqlite.lock")
    (project.path / "s" / "responses.sqlite").mkdir()
    result = project.run("--prunegate-store=s")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*s/responses.sqlite: the store cannot be*--prunegate-store*"])
