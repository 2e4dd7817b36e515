"""Several processes on one store, and processes that are killed: every answer whose `put` returned is there."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.errors import StoreError
from pytest_prunegate.store import Response, Store, locks
from pytest_prunegate.store import database_file as opening

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from pytest_prunegate.store import Response, Store

folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = Store(folder)
for number in range(count):
    store.put("m", f"own {name} {number}", Response(text=name), {})
    store.put("m", f"shared {number}", Response(text=name), {})
print(*(response.text for _, response in sorted(store.get("m", [f"shared {n}" for n in range(count)]).items())))
"""
KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from pytest_prunegate.store import database_file as opening
from pytest_prunegate.store import Response, Store

left = int(sys.argv[2])

def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

connect = opening.connect

def traced(path, **how):
    connection = connect(path, **how)
    connection.set_trace_callback(count)
    # also in the middle of a statement: after a few of SQLite's own steps
    connection.set_progress_handler(lambda: count("step"), 7)
    return connection

opening.connect = traced
store = Store(Path(sys.argv[1]))
print("open", flush=True)
for number in range(20):
    with store.transaction() as connection:
        pass
    store.put("m", f"k{number}", Response(text=f"{number} " * 2000), {})
    print(f"k{number}", flush=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from pytest_prunegate.store import database_file as opening
from pytest_prunegate.store import Response, Store, locks

opening.network_type = lambda folder: "nfs4"
locks.LEASE, locks.HEARTBEAT = 3.0, 0.2
if len(sys.argv) > 2:
    import filelock._identity, filelock._marker
    filelock._marker.host_name = lambda: sys.argv[2]
store = Store(Path(sys.argv[1]))
store.put("m", "k", Response(text="held"), {})
print("open", flush=True)
time.sleep(60)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_write_at_once_and_agree(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path, name, 300) for name in ("a", "b", "c")]
    said = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    assert len({out.splitlines()[-1].split()[0] for out, _ in said}) == 1
    with closing(Store(tmp_path)) as store:
        kept = {row.key: row.response.text for row in store.rows("m")}
    assert len(kept) == 4 * 300
    assert all(kept[f"own {name} {number}"] == name for name in "abc" for number in range(300))
    agreed = " ".join(str(text) for key, text in sorted(kept.items()) if key.startswith("shared"))
    assert [out.strip() for out, _ in said].count(agreed) >= 1, "the last one saw all"


def test_two_processes_find_one_damaged_file(tmp_path: Path) -> None:
    with closing(Store(tmp_path)) as store:
        for number in range(200):
            store.put("m", f"k{number}", Response(text="kept"), {})
    with store.path.open("r+b") as file:
        file.write(b"\xaa" * 4096)
    writers = [start(WRITER, tmp_path, name, 20) for name in ("a", "b", "c", "d")]
    said = [writer.communicate(timeout=60) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, said
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    with closing(Store(tmp_path)) as again:
        assert again.notes == ()
        assert len(list(again.rows("m"))) == 200 + 5 * 20


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.slow
def test_killed_at_any_call_a_store_opens_and_has_every_answer(tmp_path: Path) -> None:
    ends = set()
    for number in range(1, 120, 7):
        folder = tmp_path / str(number)
        process = start(KILLED, folder, number)
        out, err = process.communicate(timeout=60)
        ends.add(process.returncode)
        assert process.returncode in {0, -signal.SIGKILL}, err
        promised = [line for line in out.split() if line != "open"]
        with closing(Store(folder)) as store:
            assert store.notes == ()
            kept = {row.key: row.response.text for row in store.rows("m")}
        assert set(promised) <= set(kept)
        assert len(kept) <= len(promised) + 1
        assert all(text == f"{key[1:]} " * 2000 for key, text in kept.items())
    assert -signal.SIGKILL in ends


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.slow
def test_killed_while_a_file_is_set_aside_nothing_is_lost(tmp_path: Path) -> None:
    original = tmp_path / "original"
    with closing(Store(original)) as store:
        for number in range(30):
            store.put("m", f"old{number}", Response(text=f"{number} " * 500), {})
    with store.path.open("r+b") as file:
        file.write(b"\xaa" * 4096)
    killed = 0
    for number in range(1, 90, 8):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        out, _ = start(KILLED, folder, number).communicate(timeout=60)
        killed += "open" not in out
        with closing(Store(folder)) as store:
            kept = {row.key: row.response.text for row in store.rows("m") if row.key.startswith("old")}
        assert kept == {f"old{number}": f"{number} " * 500 for number in range(30)}
        assert len(list(folder.glob("*.damaged-*"))) == 1
        assert not list(folder.glob("*.salvag*"))
    assert killed > 3, "killed before it was open"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is taken for one on a network."""
    monkeypatch.setattr(opening, "network_type", lambda _folder: "nfs4")
    monkeypatch.setattr(locks, "LEASE", 3.0)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.2)
    return tmp_path


def journal_mode(store: Store) -> object:
    return store._connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_a_store_on_a_network_has_a_rollback_journal(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(opening, "network_type", lambda _folder: None)
        with closing(Store(shared)) as local:
            local.put("m", "k", Response(text="a"), {})
            assert journal_mode(local) == b"wal"
            killed = {part.name: part.read_bytes() for part in shared.glob("responses.sqlite*")}
    for name, content in killed.items():
        (shared / name).write_bytes(content)
    with closing(Store(shared)) as store:
        assert journal_mode(store) == b"delete"
        assert store.get("m", ["k"]) == {"k": Response(text="a")}, "that was in the log"
        with closing(sqlite3.connect(store.path, timeout=1)) as other:
            assert other.execute("SELECT COUNT(*) FROM responses").fetchone() == (1,), "others may look at it"
    assert not list(shared.glob("*-wal"))


def test_a_second_writer_on_a_network_is_refused(shared: Path) -> None:
    holder = start(HOLDER, shared)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        message = rf"process {holder.pid} on .* is writing this store, .*\(nfs4\).*store merge {shared} DIR"
        with pytest.raises(StoreError, match=message):
            Store(shared)
    finally:
        holder.kill()
        holder.communicate()
    with closing(Store(shared)) as store:
        assert store.get("m", ["k"]) == {"k": Response(text="held")}


@pytest.mark.slow
def test_a_dead_writer_on_another_machine_blocks_for_a_while_only(shared: Path) -> None:
    holder = start(HOLDER, shared, "elsewhere")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=rf"process {holder.pid} on elsewhere is writing"):
            Store(shared)
    finally:
        holder.kill()
        holder.communicate()
    began = time.monotonic()
    with closing(Store(shared)) as store:
        assert store.get("m", ["k"]) == {"k": Response(text="held")}
    assert 1 < time.monotonic() - began < 30


def test_a_run_that_was_taken_for_dead_writes_no_more(shared: Path) -> None:
    with closing(Store(shared)) as store:
        (shared / "responses.sqlite.writer").unlink()
        time.sleep(5 * locks.HEARTBEAT)
        with pytest.raises(StoreError, match="lost the lock of its store on a network file system"):
            store.put("m", "k", Response(text="a"), {})


def test_the_type_of_a_network_file_system_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    from pytest_prunegate.store.locks import network_type

    mount = namedtuple("mount", "mountpoint fstype")  # noqa: PYI024 - as psutil's
    mounts = [mount("/", "ext4"), mount(str(tmp_path), "ext4"), mount(str(tmp_path / "a"), "nfs4")]
    monkeypatch.setattr("psutil.disk_partitions", lambda *, all: mounts)  # noqa: A006 - psutil's word
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    assert network_type(tmp_path / "ab") is None
    assert network_type(tmp_path / "a" / "b") == network_type(tmp_path / "link") == "nfs4"
    mounts.append(mount(str(tmp_path / "a"), "xfs"))
    assert network_type(tmp_path / "a" / "b") is None, "mounted over it"
    for kind, expected in (("fuse.sshfs", True), ("lustre", True), ("CIFS", True), ("fuse.fuse-overlayfs", False)):
        mounts[-1] = mount(str(tmp_path / "a"), kind)
        assert bool(network_type(tmp_path / "a")) is expected
