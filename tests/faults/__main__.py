"""Runs the harness and prints one JSON object on the last line; the exit code is 1 where a promise was broken."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faults.every_fault import FAULTS
from faults.injections import Fault
from faults.kills import Chain, Tally
from faults.processes import preload
from faults.project import ENGINE
from faults.workshop import Workshop, in_a_fork

_CHAIN = 8  # kills in a chain
_WHOLE = 200  # kills from which on a run of the harness has to show all that it is for


def main() -> int:
    """Run what the command line asks for."""
    arguments = _arguments()
    began = time.monotonic()
    preload()
    cache = arguments.cache.resolve()
    in_a_fork(lambda: _build_index(cache))
    with tempfile.TemporaryDirectory(prefix="prunegate-faults-") as folder:
        tally = _kill(Path(folder) / "killed", cache, arguments.kills, seed=arguments.seed)
        faults = _inject(Path(folder) / "injected", cache, arguments)
    if arguments.kills >= _WHOLE:
        tally.problems += tally.shortfalls
    for problem in [*tally.problems, *(line for fault in faults.values() for line in fault.problems)]:
        sys.stderr.write(f"{problem}\n")
    found: dict[str, Any] = tally.as_json()
    found["faults"] = {name: {"runs": fault.runs, "outcome": fault.outcome} for name, fault in faults.items()}
    found["seconds"] = round(time.monotonic() - began)
    if arguments.output:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        arguments.output.write_text(json.dumps({"commit": commit} | found, indent=1) + "\n")
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if tally.is_kept and not any(fault.problems for fault in faults.values()) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=216, help="SIGKILLs that are asked for; a few runs end before theirs"
    )
    parser.add_argument("--faults", default="all", help=f"all, none, or of: {', '.join(FAULTS)}")
    parser.add_argument("--share", type=float, default=1.0, help="of the points of each fault that are tried")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/faults-cache"), help="keeps the index of lm-eval's tasks"
    )
    parser.add_argument("--output", type=Path, help="writes the figures there too, with the commit they are of")
    return parser.parse_args()


def _build_index(cache: Path) -> None:
    from pytest_prunegate.tasks import index

    if index.load_index(cache) is None:
        cache.mkdir(parents=True, exist_ok=True)
        index.build_index(cache)


def _kill(folder: Path, cache: Path, kills: int, *, seed: int) -> Tally:
    """A chain at batch size 1, one on the default executor, one at batch size 4, and so on."""
    tally, number = Tally(), 0
    if not kills:
        return tally
    workshop = Workshop(folder, cache, documents=20, windows=12)
    while tally.kills < kills:
        batch_size = (1, ENGINE, 4)[number % 3]
        drawn = random.Random(f"{seed} {number}")  # noqa: S311 - points of a test
        Chain(workshop, batch_size, random=drawn, tally=tally).run(min(_CHAIN, kills - tally.kills))
        sys.stderr.write(
            f"{tally.kills} kills, {tally.chains_equal} of {tally.chains} chains equal, {tally.lost} lost\n"
        )
        number += 1
    return tally


def _inject(folder: Path, cache: Path, arguments: argparse.Namespace) -> dict[str, Fault]:
    asked = {"all": [*FAULTS], "none": []}.get(arguments.faults, arguments.faults.split(","))
    if not asked:
        return {}
    workshop = Workshop(folder, cache, documents=5, windows=3)
    found = {}
    for name in asked:
        drawn = random.Random(f"{arguments.seed} {name}")  # noqa: S311 - points of a test
        found[name] = Fault(workshop, random=drawn, share=arguments.share)
        FAULTS[name](found[name])
        sys.stderr.write(f"{name}: {found[name].runs} runs: {found[name].outcome}\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
