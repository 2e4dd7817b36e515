"""A part of the fault harness, for CI; ``make faults`` runs all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.every_fault import FAULTS

TESTS = Path(__file__).resolve().parents[1]

FREQUENT = {"out_of_memory"}  # many runs, and tests of its own in tests/execution/test_memory.py
NEED_A_DISK = {"disk_full", "output_disk_full"}


@pytest.mark.slow
def test_kills_and_faults_change_nothing(index_dir: Path, tmp_path: Path) -> None:
    """In a process of its own: the harness forks, which a process that ran other tests must not do."""
    names = [name for name in FAULTS if name not in FREQUENT]
    command = [
        sys.executable, "-m", "faults", "--kills=20", "--share=0.05", f"--faults={','.join(names)}", f"--cache={index_dir}",
    ]  # fmt: skip
    places = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == 0, ended.stderr
    assert found["kills"] >= 20
    assert found["kills_between_responses"] >= 0.6 * found["kills"]
    assert found["kills_in_transaction"] >= 2
    assert (found["lost"], found["chains_equal"]) == (0, found["chains"])
    assert found["max_recomputed_per_kill_at_batch_size_1"] <= 1
    seen = {name: fault["outcome"].partition(":")[0] for name, fault in found["faults"].items()}
    without_disk = {name for name in NEED_A_DISK if seen.get(name) == "skipped"}  # only root may mount one
    assert seen == {name: "skipped" if name in without_disk else "kept" for name in names}
