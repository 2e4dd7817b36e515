"""How the gate's own work grows with the documents: whole runs on a model that answers at once by a script.

    PYTHONPATH=tests python benchmarks/scale.py [--most DOCUMENTS]

Runs of 1,000, 10,000 and 100,000 documents (boolq's two choices each), each in a process of its own: one candidate in full, one with early
stopping, a group of 57 members, six candidates. Where a run takes a + b N^p, the differences of three runs, each ten times the one
before, tell p without a. `--most` bounds the largest. The last line is one JSON object; its exponents are the largest of all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.scripted import ScriptedExecutor, answer_by_script, write_checkpoint, write_data

SMALLEST, STEPS, FACTOR = 1_000, 3, 10
MEMBERS, CANDIDATES = 57, 6
TASK = """
task: {name}
include: {boolq}
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {data}/{name}.jsonl}}}}
training_split: null
dataset_name: null
"""
DATASET = "{{path: json, data_files: {{validation: {data}/boolq.jsonl}}}}"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A way in which documents are asked."""

    name: str
    members: int = 1
    candidates: int = 1
    early: bool = False


SCENARIOS = (
    Scenario(name="full"), Scenario(name="early", early=True), Scenario(name="members", members=MEMBERS),
    Scenario(name="candidates", candidates=CANDIDATES),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run took: CPU seconds, and its largest memory in MiB."""

    seconds: float
    memory: float


def write_project(folder: Path, scenario: Scenario, documents: int) -> list[str]:
    """The files of a run; returns its command line."""
    data = folder / "data"
    write_data(data, documents)
    for name in ("original", *(f"pruned{n}" for n in range(scenario.candidates))):
        write_checkpoint(folder / name, wrong=[] if name == "original" else [1, 3, 5 + int(name[-1])])
    arguments = ["--original=original", *(f"--pruned=c{n}=pruned{n}" for n in range(scenario.candidates))]
    task, more = f"boolq: {{dataset: {DATASET.format(data=data)}, metrics: {{acc: 50%}}}}", ""
    if scenario.members > 1:
        task = "many: {metrics: {acc: 50%}}"
        _write_members(folder, data, scenario.members)
        arguments.append(f"--prunegate-include-path={folder}/tasks")
    if scenario.early:
        more = "defaults: {decide: early}\n"
    (folder / "thresholds.yaml").write_text(f"{more}tasks: {{{task}}}\n", encoding="utf-8")
    return [*arguments, "-p", "no:randomly", "-p", "no:hypothesispytest", "-q", "--prunegate-device=cpu"]


def _write_members(folder: Path, data: Path, members: int) -> None:
    import lm_eval

    boolq = Path(lm_eval.__file__).parent / "tasks" / "super_glue" / "boolq" / "default.yaml"
    rows = (data / "boolq.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "tasks").mkdir()
    names = [f"member{n}" for n in range(members)]
    for number, name in enumerate(names):
        (data / f"{name}.jsonl").write_text("".join(rows[number::members]), encoding="utf-8")
        (folder / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name, boolq=boolq, data=data), encoding="utf-8")
    group = {"group": "many", "task": names, "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}]}
    (folder / "tasks" / "many.yaml").write_text(json.dumps(group), encoding="utf-8")


def run(scenario: Scenario, documents: int) -> Cost:
    """A run in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = write_project(folder, scenario, documents)
        child = os.fork()
        if not child:
            os._exit(_gate(folder, arguments))
        _, status, used = os.wait4(child, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit((folder / "output.txt").read_text(encoding="utf-8")[-3000:])
    return Cost(seconds=used.ru_utime + used.ru_stime, memory=used.ru_maxrss / 1024)


def _gate(folder: Path, arguments: list[str]) -> int:
    import pytest

    os.chdir(folder)
    with (folder / "output.txt").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        answer_by_script(ScriptedExecutor())
        return int(pytest.main(arguments))


def exponent(costs: list[float]) -> float | None:
    """The power with which a cost grows; None where the first step costs less than what a run varies by."""
    small, large = costs[1] - costs[0], costs[2] - costs[1]
    return round(math.log(large / small, FACTOR), 3) if small > costs[0] / 100 and large > 0 else None


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--most", type=int, default=SMALLEST * FACTOR ** (STEPS - 1))
    largest = arguments.parse_args().most
    sizes = [largest // FACTOR**step for step in reversed(range(STEPS))]
    found: dict[str, Any] = {}
    for scenario in SCENARIOS:
        began = time.monotonic()
        costs = [run(scenario, size) for size in sizes]
        found[scenario.name] = {
            "cpu_seconds": [round(cost.seconds, 1) for cost in costs], "mib": [round(cost.memory) for cost in costs],
            "exponent_time": exponent([cost.seconds for cost in costs]), "exponent_memory": exponent([cost.memory for cost in costs]),
        }  # fmt: skip
        sys.stderr.write(f"{scenario.name}: {found[scenario.name]} in {time.monotonic() - began:.0f} s\n")
    told = {
        key: max((one[key] for one in found.values() if one[key] is not None), default=None)
        for key in ("exponent_time", "exponent_memory")
    }
    print(json.dumps({**told, "documents": sizes, "scenarios": found}))


if __name__ == "__main__":
    main()
