"""A store that cannot be written: a full disk, a read-only folder or file. Said at opening, with what to do."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.errors import StoreError
from pytest_prunegate.store import Response, Store
from pytest_prunegate.store.maintenance import kept_models, problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = r"the disk of the store is full .*What is kept stays\. Free some space there .*--prunegate-store"
READ_ONLY = r"the store cannot be written .*Make the folder and the file writable, or name another folder with --prunegate-store"
LONG = Response(text="answer " * 1000)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("a small file system cannot be mounted here: that takes root")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 300 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount(folder, "size=300k")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(store: Store) -> list[str]:
    """Keep answers until there is no room, and return their keys."""
    keys = [f"k{number}" for number in range(5000)]
    with pytest.raises(StoreError, match=FULL):
        deque((store.put("m", key, LONG, {}) for key in keys), maxlen=0)  # type: ignore[func-returns-value]
    return sorted(store.known("m", keys))


def test_a_disk_that_fills_up_loses_nothing(small: Path) -> None:
    with closing(Store(small / "store")) as store:
        kept = fill(store)
        assert len(kept) > 2
        assert set(store.get("m", kept)) == set(kept), "what is kept can still be read"
        subprocess.run(["mount", "-o", "remount,size=3m", str(small)], check=True)
        store.put("m", "later", LONG, {})
    with closing(Store(small / "store")) as store:
        assert store.get("m", [*kept, "later"]) == dict.fromkeys([*kept, "later"], LONG)
        assert store.notes == ()


def test_a_killed_run_on_a_full_disk_goes_on_when_there_is_room(small: Path, tmp_path: Path) -> None:
    with closing(Store(small / "store")) as store:
        kept = fill(store)
        shutil.copytree(small / "store", tmp_path / "as-killed")
    with closing(Store(tmp_path / "as-killed")) as store:
        assert set(store.get("m", kept)) == set(kept)
        assert store.notes == ()


def test_a_disk_that_is_full_is_told_at_opening(small: Path) -> None:
    with pytest.raises(OSError, match="No space"), (small / "ballast").open("wb", buffering=0) as file:
        file.writelines(itertools.repeat(b"0" * 1000))
    with pytest.raises(StoreError, match=FULL):
        Store(small / "store")


def test_the_largest_size_of_a_file(tmp_path: Path) -> None:
    """As a full disk, where nothing can be mounted."""
    with closing(Store(tmp_path)) as store:
        store._connection.execute("PRAGMA max_page_count=40")
        kept = fill(store)
        assert set(store.get("m", kept)) == set(kept)
    with closing(Store(tmp_path)) as store:
        store.put("m", "later", LONG, {})
        assert set(store.get("m", [*kept, "later"])) == {*kept, "later"}


def test_a_read_only_file_system(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    mount(folder, "size=300k")
    try:
        Store(folder).close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(StoreError, match=READ_ONLY):
            Store(folder)
        with pytest.raises(StoreError, match=READ_ONLY):
            Store(folder / "new")
        path = folder / "responses.sqlite"
        assert problems(path) == [], "it can still be looked at"
        assert kept_models(path) == []
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_read_only_folder_or_file(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "store"
    Store(folder).close()
    place = folder if what == "folder" else folder / "responses.sqlite"
    place.chmod(0o500 if what == "folder" else 0o400)
    try:
        if os.access(place, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(StoreError, match=READ_ONLY):
            Store(folder)
    finally:
        place.chmod(0o700)
