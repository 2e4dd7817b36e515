"""The graphics card's evidence runs here on tiny models, so that it runs where a card is lent for minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "evidence" / "gpu.py"


@pytest.mark.slow
def test_it_runs_whole_on_tiny_models(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    ended = subprocess.run([sys.executable, SCRIPT, output, "--small"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(output.read_text())
    assert json.loads(ended.stdout.splitlines()[-1]) == found
    for model in found["models"]:
        assert model["answered"] == [12, 24]
        assert model["texts_of_lm_eval"] == [8, 8]
        assert model["remarks"] == [], "the engine answered"
        assert [(part["texts"], part["slots_left"]) for part in model["without_room"]] == [(6, 2)] * 3
