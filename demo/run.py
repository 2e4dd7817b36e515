"""The demo: a small real model, two pruned versions made on the spot, and the gate on both.

    python demo/run.py MODELS_DIR

The mild version should pass every check and the harsh one fail some, without an error. Exits 0 where both ended so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Candidate:
    """A pruned version, and the exit code that its gate should end with."""

    name: str
    expected_exit: int


CANDIDATES = (Candidate("wanda-mild", 0), Candidate("wanda-harsh", 1))


def run_gate(models: Path, candidate: Candidate) -> Path:
    """Run the gate on one candidate, and check that it ended as it should.

    Returns:
        The HTML report.

    Raises:
        SystemExit: it ended otherwise; the message says how.
    """
    results = HERE / "results" / candidate.name
    print(
        f"\n##### {candidate.name}: the gate should {'pass' if candidate.expected_exit == 0 else 'fail'} #####\n",
        flush=True,
    )
    arguments = [
        f"--original=smollm2={models / 'smollm2'}", f"--pruned={candidate.name}={models / candidate.name}",
        f"--prunegate-output={results}", f"--prunegate-store={HERE / 'store'}", "--prunegate-device=cpu",
        "--prunegate-batch-size=5",  # short prompts of like length: twice as fast as one by one
    ]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=HERE, check=False)
    summary = (
        json.loads((results / "comparison_results.json").read_text(encoding="utf-8"))
        if results.exists()
        else {"checks": []}
    )
    outcomes = {check["outcome"] for check in summary["checks"]}
    if done.returncode != candidate.expected_exit or not outcomes <= {"pass", "fail"}:
        sys.exit(
            f"demo: {candidate.name} ended with exit code {done.returncode} and {outcomes or 'no result'}; expected {candidate.expected_exit}."
        )
    return results / "comparison_report.html"


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Make the demo's models and run the gate on them.")
    parser.add_argument("models", type=Path, metavar="MODELS_DIR", help="where the models are, or are made")
    models = parser.parse_args().models.resolve()
    subprocess.run([sys.executable, str(HERE / "models.py"), str(models)], check=True)
    reports = {candidate.name: run_gate(models, candidate) for candidate in CANDIDATES}
    print("\nBoth ended as they should: the mild version passed, the harsh one failed. The reports:")
    for name, report in reports.items():
        print(f"  {name}: {report}")


if __name__ == "__main__":
    main()
