"""What the plugin costs: idle, and for collecting a gate with the index of lm-eval's tasks kept.

    python benchmarks/overhead.py

Times are medians of several whole processes, with and without the plugin in turn. The last line is one JSON object.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.scripted import BOOLQ, GSM8K, SQUAD, write_checkpoint, write_data

RUNS = 9
THRESHOLDS = f"""
defaults: {{max_relative_drop: 5%}}
tasks:
  squadv2: {{metrics: [f1, exact_match], {SQUAD}}}
  gsm8k: {{metrics: ["accuracy,flexible-extract"], {GSM8K}}}
  boolq: {{metrics: [acc], {BOOLQ}}}
"""


def seconds(arguments: list[str], cwd: Path) -> float:
    """Wall time of one pytest process."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:randomly", *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def import_microseconds(cwd: Path) -> int:
    """Time to import the plugin and what it brings, by Python's own account (-X importtime), in an idle pytest."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "pytest",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:randomly",
        "--markers",
    ]
    lines = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stderr
    own = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+pytest_prunegate", lines)
    return sum(map(int, own))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        cwd = Path(folder)
        write_data(cwd / "data")
        write_checkpoint(cwd / "original")
        write_checkpoint(cwd / "pruned", wrong=[1])
        (cwd / "thresholds.yaml").write_text(THRESHOLDS)
        gate = ["--original=original", "--pruned=pruned", "--collect-only"]
        seconds(gate, cwd)  # builds the index, where there is none yet
        pairs = [(seconds(["--version"], cwd), seconds(["--version", "-p", "no:prunegate"], cwd)) for _ in range(RUNS)]
        collecting = [seconds(gate, cwd) for _ in range(RUNS)]
        result = {
            "idle_import_ms": round(statistics.median(import_microseconds(cwd) for _ in range(RUNS)) / 1000, 2),
            "version_with_ms": round(statistics.median(with_it for with_it, _ in pairs) * 1000, 1),
            "version_without_ms": round(statistics.median(without for _, without in pairs) * 1000, 1),
            "version_ratio": round(statistics.median(a / b for a, b in pairs), 3),
            "collect_only_s": round(statistics.median(collecting), 2),
            "runs": RUNS,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
