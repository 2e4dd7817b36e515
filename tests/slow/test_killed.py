"""An early-stopping run that is killed, resumed, and run again: one verdict, the same documents, one stopping point."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ, write_data
from support.tiny import write_tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
DOCUMENTS = 160
KILLER = """
import os, signal
from pytest_prunegate.store import Store

left = int(os.environ.get("KILL_AT", 0))
put = Store.put

def counted(self, *arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, *arguments)

Store.put = counted
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_tiny_llama(folder / "original", seed=1)
    write_tiny_llama(folder / "pruned", seed=2)
    write_data(folder / "data", DOCUMENTS)
    (folder / "conftest.py").write_text(KILLER)
    (folder / "thresholds.yaml").write_text(
        f"tasks:\n  boolq:\n    {BOOLQ}\n    decide: early\n    metrics: {{acc: 60%}}\n"
    )
    return folder


def run(project: Path, index_dir: Path, store: str, *, kill_at: int = 0) -> int:
    command = [
        sys.executable, "-m", "pytest", "--original=original", "--pruned=pruned", f"--prunegate-store={store}",
        f"--prunegate-cache-dir={index_dir}", "--prunegate-device=cpu", "-p", "no:cacheprovider",
    ]  # fmt: skip
    environment = {**os.environ, "KILL_AT": str(kill_at), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False).returncode


def verdict(project: Path) -> dict[str, Any]:
    check: dict[str, Any] = json.loads((project / "prunegate-results" / "comparison_results.json").read_text())[
        "checks"
    ][0]
    return {name: check[name] for name in ("outcome", "decision", "documents", "exact", "interval", "lost", "gained")}


def asked(project: Path, store: str) -> set[tuple[str, str]]:
    with sqlite3.connect(project / store / "responses.sqlite") as connection:
        found = set(connection.execute("SELECT model, request FROM responses"))
    connection.close()
    return found


def test_a_killed_run_ends_as_an_undisturbed_one(project: Path, index_dir: Path) -> None:
    assert run(project, index_dir, "undisturbed") in {0, 1}
    expected, documents = verdict(project), asked(project, "undisturbed")
    assert expected["decision"]["basis"] == "early"
    assert expected["documents"] < DOCUMENTS
    for kill in (3, 90, 50):  # before, and within, the first round; then in what the resumed run does
        assert run(project, index_dir, "killed", kill_at=kill) == -signal.SIGKILL
    assert run(project, index_dir, "killed") in {0, 1}
    assert verdict(project) == expected
    assert asked(project, "killed") == documents
    assert run(project, index_dir, "killed") in {0, 1}
    assert verdict(project) == expected, "a rerun on a full store"
