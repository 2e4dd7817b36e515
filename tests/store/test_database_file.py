"""A store's file that is damaged, newer or no store: nothing wrong is served, and nothing whole is lost."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.errors import StoreError
from pytest_prunegate.store import Response, Store
from pytest_prunegate.store import database_file as opening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096
RULES = {"acc": {"error_rate": "0.05", "indifference": "0.02", "looks": [["40", "sample"]]}}
PROTOCOL = {"seed": 1, "checks": 2, "rules": RULES}


def answer(number: int) -> Response:
    """Long enough, now and then, to take pages of its own."""
    return Response(text=f"answer {number} " * (900 if number % 40 == 0 else 8))


ANSWERS = {f"{number:032x}": answer(number) for number in range(600)}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    store = Store(folder)
    for key, response in ANSWERS.items():
        store.put("m", key, response, {"task": "t", "path": "/m"})
    store.add_timing("m", "t", "cpu", work=4, seconds=2.0)
    store.fix_protocol("p", PROTOCOL)
    store.add_failure("m", "bad", traceback="ValueError", provenance={})
    store.close()
    return store.path


@pytest.fixture
def path(pristine: Path, tmp_path: Path) -> Path:
    shutil.copy(pristine, tmp_path)
    return tmp_path / pristine.name


def flip(path: Path, place: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))


def pages_of(path: Path, keys: list[str]) -> dict[str, set[int]]:
    """The pages that a key, or a long answer, is found on."""
    data = path.read_bytes()
    found = {}
    for key in keys:
        texts = [key.encode(), f"answer {int(key, 16)} ".encode()]
        found[key] = {place // PAGE for text in texts for place in _places(data, text)}
    return found


def _places(data: bytes, text: bytes) -> Iterator[int]:
    place = data.find(text)
    while place >= 0:
        yield place
        place = data.find(text, place + 1)


def asides(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.damaged-*"))


@pytest.mark.slow
def test_a_flipped_byte_gives_no_wrong_answer_and_costs_its_own_page_alone(pristine: Path, tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - the same flips in every run
    pages = pages_of(pristine, list(ANSWERS))
    size = pristine.stat().st_size
    places = [*range(16, 28), *chance.sample(range(100, PAGE), 8), *(chance.randrange(size) for _ in range(50))]
    set_aside = noticed = 0
    for place in places:
        folder = tmp_path / f"{place}"
        folder.mkdir(exist_ok=True)
        path = folder / pristine.name
        shutil.copy(pristine, path)
        flip(path, place, 1 << chance.randrange(8))
        before = path.read_bytes()
        with closing(Store(folder)) as store:
            found = store.get("m", ANSWERS)
            assert found.items() <= ANSWERS.items(), place
            assert set(found) >= {key for key in ANSWERS if place // PAGE not in pages[key]}, place
            assert store.protocol("p") in ({**PROTOCOL}, None)
            set_aside += len(asides(folder))
            noticed += bool(store.notes)
            assert len(store.notes) == len(asides(folder)) + (len(found) < len(ANSWERS) and not asides(folder)), place
            for aside in asides(folder):
                assert aside.read_bytes() == before
            for key in ANSWERS.keys() - found:  # and what was lost can be asked again
                store.put("m", key, ANSWERS[key], {})
            assert store.get("m", ANSWERS) == ANSWERS
    assert set_aside > 10
    assert noticed - set_aside > 10


def test_a_flipped_byte_in_a_key_hides_no_other_answer(pristine: Path, tmp_path: Path) -> None:
    data = pristine.read_bytes()
    for number, key in enumerate(list(ANSWERS)[::30]):
        path = tmp_path / str(number) / pristine.name
        path.parent.mkdir()
        shutil.copy(pristine, path)
        flip(path, data.index(key.encode()) + 28, 0xC0)
        with closing(Store(path.parent)) as store:
            assert set(ANSWERS) - set(store.get("m", ANSWERS)) == {key}


def test_a_damaged_answer_is_asked_again_and_counted(path: Path) -> None:
    key = f"{3:032x}"
    flip(path, path.read_bytes().index(b"answer 3 ") + 40, 1)
    with closing(Store(path.parent)) as store:
        assert set(ANSWERS) - store.known("m", ANSWERS) == {key}
        (note,) = store.notes
        assert "1 responses are damaged: their checksum is wrong. They are asked again." in note
        store.put("m", key, ANSWERS[key], {})
    with closing(Store(path.parent)) as store:
        assert store.get("m", ANSWERS) == ANSWERS
        assert store.notes == ()


def test_a_damaged_protocol_is_not_known_and_said_to_be(path: Path) -> None:
    flip(path, path.read_bytes().index(b'"indifference": "0.02"') + 18, 1)
    with closing(Store(path.parent)) as store:
        assert store.protocol("p") is None
        assert "what was fixed for 1 pairs of models is damaged" in store.notes[0]
        store.fix_protocol("p", PROTOCOL)
    with closing(Store(path.parent)) as store:
        assert store.protocol("p") == PROTOCOL
        assert store.notes == ()


def test_everything_behind_a_broken_first_page_is_salvaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xaa" * PAGE)
    with closing(Store(path.parent)) as store:
        assert store.get("m", ANSWERS) == ANSWERS
        assert store.protocol("p") == PROTOCOL
        assert store.failures("m", ["bad"]) == {"bad": "ValueError"}
        (note,) = store.notes
    (aside,) = asides(path.parent)
    assert f"It was set aside as {aside.name}. 600 responses, 1 failures" in note
    assert "file is not a database" in note
    assert aside.read_bytes()[:PAGE] == b"\xaa" * PAGE
    with closing(Store(path.parent)) as store:
        assert store.notes == ()


def test_what_only_the_log_has_is_salvaged_too(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as keeps_the_log:
        keeps_the_log.execute("SELECT COUNT(*) FROM responses").fetchone()
        with closing(Store(path.parent)) as store:
            store.put("m", "new", Response(text="only in the log"), {})
            (tmp_path / "killed").mkdir()
            for part in path.parent.glob("responses.sqlite*"):
                shutil.copy(part, tmp_path / "killed")
    killed = tmp_path / "killed" / path.name
    assert b"only in the log" not in killed.read_bytes()
    with killed.open("r+b") as file:
        file.write(b"\xaa" * PAGE)
    with closing(Store(killed.parent)) as store:
        assert store.get("m", ["new"]) == {"new": Response(text="only in the log")}
    assert [aside.name[len("responses.sqlite.damaged-20261124T193000") :] for aside in asides(killed.parent)] != [""]


def test_a_cut_off_file_gives_what_it_has(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with closing(Store(path.parent)) as store:
        found = store.get("m", ANSWERS)
        assert found.items() < ANSWERS.items()
        assert len(found) > 200
        assert len(store.notes) == 1


def test_a_newer_store_is_set_aside(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    with closing(Store(path.parent)) as store:
        assert "it has format 99, and this version of pytest-prunegate knows 2. It was set aside as" in store.notes[0]
        assert store.get("m", ANSWERS) == ANSWERS, "rows that this version knows"
    (aside,) = asides(path.parent)
    with closing(sqlite3.connect(aside)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)


def test_a_file_that_is_no_store_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "responses.sqlite").write_text("not a database, " * 100)
    with closing(Store(tmp_path)) as store:
        assert "file is not a database. It was set aside as" in store.notes[0]
        store.put("m", "k", Response(text="a"), {})
    assert [aside.read_text() for aside in asides(tmp_path)] == ["not a database, " * 100]


def test_two_damaged_files_in_one_second_are_both_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _format: "20261124T193000")
    for text in ("first, " * 100, "second, " * 100):
        (tmp_path / "responses.sqlite").write_text(text)
        Store(tmp_path).close()
    assert [aside.read_text()[:6] for aside in asides(tmp_path)] == ["first,", "second"]


def test_a_damaged_file_that_another_run_uses_is_left_to_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_prunegate.store.locks.PATIENCE", 0.3)
    with closing(Store(path.parent)):
        with path.open("r+b") as file:
            file.write(b"\xaa" * path.stat().st_size)
        with pytest.raises(StoreError, match=r"another run still uses it\. Wait until that run has ended"):
            Store(path.parent)
    assert asides(path.parent) == []


def test_damage_in_the_middle_of_a_run_says_what_to_do(path: Path) -> None:
    store = Store(path.parent)
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xaa" * (path.stat().st_size - PAGE))
    with pytest.raises(StoreError, match=r"the store is damaged .*Run the same command again: it sets the file aside"):
        store.get("m", ANSWERS)
    store.close()
    with closing(Store(path.parent)) as again:
        assert "It was set aside as" in again.notes[0]


@pytest.mark.parametrize("has_links", [True, False])
def test_an_interrupted_set_aside_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:  # noqa: FBT001
    """Interrupted after each of its steps in turn, on file systems with and without hard links."""
    with path.open("r+b") as file:
        file.write(b"\xaa" * PAGE)
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    for step, when in itertools.product(("_sync", "copy_rows", "rows_in", "_finish"), (1, 2, 3, 4)):
        with monkeypatch.context() as patch, suppress(_Killed):
            _stop_at(patch, step, when)
            Store(path.parent).close()
    with closing(Store(path.parent)) as store:
        assert store.get("m", ANSWERS) == ANSWERS
    assert any(aside.read_bytes()[:PAGE] == b"\xaa" * PAGE for aside in asides(path.parent))
    assert not list(path.parent.glob("*.salvag*"))


class _Killed(BaseException):
    """As if the process ended here."""


def _stop_at(patch: pytest.MonkeyPatch, name: str, when: int) -> None:
    original, left = getattr(opening, name), [when]

    def stopping(*arguments: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise _Killed
        return original(*arguments)

    patch.setattr(opening, name, stopping)
