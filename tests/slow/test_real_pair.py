"""The gate on a real model: SmolLM2-135M-Instruct and pruned copies of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Bench

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "demo"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def models() -> Path:
    """The demo's models, made once."""
    folder = DEMO / "models"
    subprocess.run([sys.executable, str(DEMO / "models.py"), str(folder)], check=True)
    return folder


def test_the_verdicts_and_the_rerun(real_bench: Bench, models: Path) -> None:
    arguments = (f"--thresholds={DEMO / 'thresholds.yaml'}", "--prunegate-limit=12", "-m", "squadv2")
    pair = (f"--original={models / 'smollm2'}", f"--pruned=harsh={models / 'wanda-harsh'}")
    first = real_bench.run(*arguments, models=pair)
    assert first.ret == 1
    assert "errors" not in first.parseoutcomes()
    again = real_bench.run(*arguments, models=pair)
    assert again.parseoutcomes() == first.parseoutcomes()
    again.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    summary = json.loads((real_bench.results / "comparison_results.json").read_text())
    assert summary["tasks"][0]["executed"] == {"original": 0, "pruned": 0}
    mild = real_bench.run(*arguments, models=(pair[0], f"--pruned=mild={models / 'wanda-mild'}"))
    assert mild.ret == 0
    summary = json.loads((real_bench.results / "comparison_results.json").read_text())
    assert summary["tasks"][0]["executed"] == {"original": 0, "pruned": 12}, "the original was not asked again"


def test_measures_what_lm_eval_measures(models: Path, shared_data: Path, tmp_path: Path) -> None:
    """A small part of `make evidence-identity`."""
    command = [
        sys.executable,
        str(PROJECT / "evidence" / "identity.py"),
        str(shared_data),
        str(models),
        str(tmp_path / "out.json"),
        "3",
        "1",
    ]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    counts = json.loads((tmp_path / "out.json").read_text())["documents_and_equal"]["pruned"]
    assert counts["squadv2"]["prompts_equal"] == counts["squadv2"]["texts_equal"] == 3
    assert counts["gsm8k"]["scores_equal"] == 2
