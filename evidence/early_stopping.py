"""Evidence that stopping early gives the full run's verdict, on real models and real questions.

    python evidence/early_stopping.py DATA_DIR MODELS_DIR OUTPUT.json

DATA_DIR holds squad_v2/, MODELS_DIR is made by demo/models.py. Both pruned models are gated in full on SQuAD v2's questions
and on the demo's problems; then the same command runs with --prunegate-decide=early and twenty seeds, each on a copy of the
full run's store without what that fixed beforehand, so that no model is asked again and every seed is a first look. Exits
with 1 where an early verdict differs from the full run's.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

SEEDS = 20
CANDIDATES = ("wanda-mild", "wanda-harsh")
DEMO = Path(__file__).resolve().parents[1] / "demo"
THRESHOLDS = """
tasks:
  squadv2:
    apply_chat_template: false
    max_gen_toks: 16
    dataset: {{path: json, data_files: {{validation: {squad}}}}}
    metrics: {{f1: 25%, exact_match: 25%, HasAns_f1: 25%}}
  gsm8k:
    apply_chat_template: false
    num_fewshot: 4
    max_gen_toks: 32
    dataset: {{path: json, data_files: {{train: {demo}/data/gsm8k/train.jsonl, test: {demo}/data/gsm8k/test.jsonl}}}}
    metrics: {{"accuracy,flexible-extract": 40%}}
"""


def run_gate(work: Path, models: Path, candidate: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """Run the gate in a folder, and return its checks by name.

    Raises:
        RuntimeError: it ended otherwise than with verdicts.
    """
    command = [
        sys.executable, "-m", "pytest", f"--original={models / 'smollm2'}", f"--pruned={models / candidate}", "--prunegate-device=cpu",
        "--prunegate-batch-size=5", "-p", "no:cacheprovider", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-2000:])
    found = json.loads((work / "prunegate-results" / "comparison_results.json").read_text(encoding="utf-8"))
    return {f"{check['task']}.{check['name']}": check for check in found["checks"]}


def fresh_look(full: Path, copy: Path) -> Path:
    """A copy of a store with all of its answers, and nothing fixed beforehand."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(full, copy)
    with sqlite3.connect(copy / "responses.sqlite") as connection:
        connection.execute("DELETE FROM protocols")
    connection.close()
    return copy


def gate_candidate(work: Path, models: Path, candidate: str) -> dict[str, dict[str, Any]]:
    """The full run's verdicts of a candidate, and how twenty early ones compare."""
    full = run_gate(work, models, candidate, "--prunegate-store=full")
    shares, agreed, seconds = defaultdict(list), defaultdict(int), []
    for seed in range(1, SEEDS + 1):
        store = fresh_look(work / "full", work / "copy")
        began = time.monotonic()
        early = run_gate(work, models, candidate, f"--prunegate-store={store}", "--prunegate-decide=early", f"--prunegate-seed={seed}")  # fmt: skip
        seconds.append(time.monotonic() - began)
        for name, check in early.items():
            agreed[name] += check["outcome"] == full[name]["outcome"]
            shares[name].append(check["decision"]["documents"] / check["decision"]["of"])
        drawn = ", ".join(f"{name} {found[-1]:.2f}" for name, found in shares.items())
        print(f"{candidate}, seed {seed}: {drawn}", file=sys.stderr, flush=True)
    return {
        name: {
            "full_verdict": full[name]["outcome"], "relative": full[name]["relative"], "documents": full[name]["documents"],
            "seeds": SEEDS, "agreed": agreed[name], "mean_fraction": round(sum(shares[name]) / SEEDS, 3),
            "largest_fraction": round(max(shares[name]), 3),
        } for name in full
    }  # fmt: skip


def main() -> None:
    """Measure, and write the outcome as JSON; the last line of the output says it too."""
    data, models, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = THRESHOLDS.format(squad=data / "squad_v2" / "validation.jsonl", demo=DEMO)
        (work / "thresholds.yaml").write_text(text, encoding="utf-8")
        candidates = {candidate: gate_candidate(work, models, candidate) for candidate in CANDIDATES}
    checks = [check for found in candidates.values() for check in found.values()]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    result = {
        "commit": commit, "candidates": candidates, "verdicts": SEEDS * len(checks),
        "agreed": sum(check["agreed"] for check in checks),
        "mean_fraction": round(sum(check["mean_fraction"] for check in checks) / len(checks), 3),
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))
    sys.exit(0 if result["agreed"] == result["verdicts"] else 1)


if __name__ == "__main__":
    main()
