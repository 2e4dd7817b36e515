"""Evidence that the error rates and the confidences that the gate states hold, by simulation.

    python evidence/validity.py OUTPUT.json

Four parts, on the synthetic populations of tests/support/populations.py:

- rule U where it is hardest: the true drop equals the threshold to within one document, on either side of it. The wrong
  verdict comes at most as often as the error rate says; the cell with most errors is run again, since the largest of many
  is large by chance; on some of the runs `EarlyStopping` itself is fed one document at
  a time, and has to stop at the same document with the same verdict as the side-by-side runs;
- the 95% interval of a relative drop from a fixed number of documents, for other documents like these and for a full set;
- the 95% interval from where rule U stopped;
- what follows a sample (clustered.py): passages that are lost as a whole, few documents that only lose, and looks that are repeated.

Each bound is held to three standard errors of the simulation, cell by cell. Exits with 1 where one is broken. The
figures belong to the sources whose digests stand beside them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pytest_prunegate.stats
from pytest_prunegate.stats.early_stopping import EarlyStopping
from pytest_prunegate.stats.intervals import relative_drop_interval
from pytest_prunegate.stats.margins import relative_margin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from clustered import LOOK_DOCUMENTS, clustered, few, repeated
from support.populations import (
    Population,
    f1_like,
    f1_like_at,
    random_orders,
    stops,
    usual_gain,
    zero_one,
    zero_one_at,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

SEED = 20250
SIZES = (300, 1319)
KINDS = ("0/1", "f1")
ERROR_RATES = (0.01, 0.05)
CONFIDENCE = 0.95
LINE = 500  # characters of the JSON

BOUNDARY_RUNS, AGAIN_RUNS, CHUNK = 20_000, 100_000, 5_000  # a cell; of the cell with most errors, afresh; at a time
BOUNDARY_ACCURACIES, BOUNDARY_GAINS, THRESHOLDS = (0.15, 0.45, 0.8), (0.01, 0.08), (0.05, 0.1, 0.2)
COMPARED_EVERY, COMPARED_RUNS = 13, 10  # cells, and runs of each, on which EarlyStopping is fed too

COVERAGE_RUNS = 5_000
COVERAGE_ACCURACIES, COVERAGE_DROPS, DOCUMENTS = (
    (0.05, 0.15, 0.45, 0.8),
    (0.0, 0.05, 0.1, 0.2, 0.35),
    (50, 100, 200, 500),
)
ENDLESS, FULL_SET = 20_000, 1319  # documents that others are drawn from with replacement; a full set's

STOPPED_RUNS = 300
STOPPED_CELLS = (  # size, kind, accuracy, drop, threshold
    (300, "0/1", 0.8, 0.15, 0.05), (300, "0/1", 0.8, 0.0, 0.05), (300, "f1", 0.45, 0.2, 0.05), (300, "f1", 0.15, 0.35, 0.1),
    (1319, "0/1", 0.45, 0.05, 0.1), (1319, "0/1", 0.8, 0.2, 0.1), (1319, "f1", 0.45, 0.0, 0.1), (1319, "f1", 0.8, 0.1, 0.2),
)  # fmt: skip


def standard_error(probability: float, runs: int) -> float:
    """Of a share that is that probability."""
    return math.sqrt(probability * (1 - probability) / runs)


def boundary(rng: Generator) -> dict[str, Any]:
    """Errors of rule U next to its threshold, cell by cell."""
    cells: list[dict[str, Any]] = []
    sums: list[NDArray[np.float64]] = []
    compared = different = 0
    grid = product(SIZES, KINDS, BOUNDARY_ACCURACIES, BOUNDARY_GAINS, THRESHOLDS, (True, False))
    for position, (size, kind, accuracy, gained, threshold, is_met) in enumerate(grid):
        at = {"accuracy": accuracy, "gained": gained, "is_met": is_met}
        population = zero_one_at(threshold, size, **at) if kind == "0/1" else f1_like_at(threshold, size, rng=rng, **at)
        contributions = relative_margin(threshold).of(population.original, population.pruned)
        errors, used = errors_of(contributions, threshold, BOUNDARY_RUNS, is_met=is_met, rng=rng)
        if position % COMPARED_EVERY == 0:
            compared += COMPARED_RUNS * len(ERROR_RATES)
            different += count_different(population, threshold, rng)
        cell = {
            "documents": size, "scores": kind, "accuracy": accuracy, "gained": gained, "threshold": threshold,
            "is_met": is_met, "original_mean": round(float(population.original.mean()), 4),
            "flips": round(population.flips, 4), "sum": round(float(contributions.sum()), 4) + 0.0,
            "error": errors, "mean_share_used": used,
        }  # fmt: skip
        cells.append(cell)
        sums.append(contributions)
        print(f"boundary {position + 1}: {cell}", file=sys.stderr, flush=True)
    summary = {}
    for rate in ERROR_RATES:
        shares = [cell["error"][str(rate)] for cell in cells]
        worst = int(np.argmax(shares))
        of_worst = cells[worst]
        afresh, _ = errors_of(sums[worst], of_worst["threshold"], AGAIN_RUNS, is_met=of_worst["is_met"], rng=rng)
        again = afresh[str(rate)]
        bound, again_bound = (rate + 3 * standard_error(rate, runs) for runs in (BOUNDARY_RUNS, AGAIN_RUNS))
        summary[str(rate)] = {
            "mean": round(float(np.mean(shares)), 5), "largest": shares[worst], "bound": round(bound, 5),
            "largest_cell_again": again, "again_bound": round(again_bound, 5),
            "broken": sum(share > bound for share in shares) + (again > again_bound),
        }  # fmt: skip
    return {
        "runs_a_cell": BOUNDARY_RUNS, "runs_again": AGAIN_RUNS, "summary": summary,
        "compared_with_feed": compared, "different_from_feed": different, "cells": cells,
    }  # fmt: skip


def errors_of(
    contributions: NDArray[np.float64], threshold: float, runs: int, *, is_met: bool, rng: Generator
) -> tuple[dict[str, float], dict[str, float]]:
    """The share of runs with the wrong verdict, and the mean share of documents used, by error rate."""
    margin = relative_margin(threshold)
    wrong, used = np.zeros(len(ERROR_RATES)), np.zeros(len(ERROR_RATES))
    for _ in range(runs // CHUNK):
        found = stops(random_orders(contributions, CHUNK, rng), margin, ERROR_RATES)
        wrong += [(one.passed != is_met).sum() for one in found]
        used += [one.used.sum() for one in found]
    rates = [str(rate) for rate in ERROR_RATES]
    shares = (used / runs / len(contributions)).round(4)
    return dict(zip(rates, (wrong / runs).tolist(), strict=True)), dict(zip(rates, shares.tolist(), strict=True))


def count_different(population: Population, threshold: float, rng: Generator) -> int:
    """On how many random orders `EarlyStopping` says something else than the runs side by side."""
    margin = relative_margin(threshold)
    size, different = len(population), 0
    orders = [rng.permutation(size) for _ in range(COMPARED_RUNS)]
    drawn = [(population.original[order], population.pruned[order]) for order in orders]
    together = stops(np.stack([margin.of(*pair) for pair in drawn], axis=1), margin, ERROR_RATES)
    for rate, found in zip(ERROR_RATES, together, strict=True):
        for run, (original, pruned) in enumerate(drawn):
            alone = EarlyStopping([margin], total=size, error_rate=rate)
            step = alone.feed(original.tolist(), pruned.tolist())
            different += (step, alone.used) != (found.step(run), int(found.used[run]))
    return different


def drop_populations(size: int, rng: Generator) -> Iterator[tuple[dict[str, Any], Population]]:
    """The cells of the coverage simulation: two kinds of scores, few gains and the usual ones."""
    for kind, accuracy, is_few, drop in product(KINDS, COVERAGE_ACCURACIES, (True, False), COVERAGE_DROPS):
        shape = {"accuracy": accuracy, "drop": drop, "gained": 0.005 if is_few else round(usual_gain(accuracy), 4)}
        population = zero_one(size, **shape) if kind == "0/1" else f1_like(size, rng=rng, **shape)
        yield {"scores": kind, **shape}, population


def fixed_coverage(rng: Generator) -> dict[str, Any]:
    """How often the interval from n documents holds the truth."""
    found: dict[str, Any] = {"runs_a_cell": COVERAGE_RUNS}
    for question, size in (("others_like_these", ENDLESS), ("full_set", FULL_SET)):
        of = size if question == "full_set" else None
        cells = []
        for cell, population in drop_populations(size, rng):
            largest = max(DOCUMENTS)
            if of:
                every = np.tile(np.arange(size), (COVERAGE_RUNS, 1))
                drawn = rng.permuted(every, axis=1)[:, :largest]
            else:
                drawn = rng.integers(0, size, (COVERAGE_RUNS, largest))
            truth = population.relative_drop
            original, pruned = population.original[drawn], population.pruned[drawn]
            covered, unbounded = {}, {}
            for n in DOCUMENTS:  # the first n of a random order are a random n
                intervals = [
                    relative_drop_interval(o, p, confidence=CONFIDENCE, of=of)
                    for o, p in zip(original[:, :n], pruned[:, :n], strict=True)
                ]
                covered[str(n)] = sum(one.low <= truth <= one.high for one in intervals) / COVERAGE_RUNS
                unbounded[str(n)] = sum(math.isinf(one.high) for one in intervals) / COVERAGE_RUNS
            cells.append({**cell, "true_drop": round(truth, 4), "coverage": covered, "unbounded": unbounded})
            print(f"{question} {len(cells)}: {cells[-1]}", file=sys.stderr, flush=True)
        summary = {str(n): summarised([cell["coverage"][str(n)] for cell in cells], COVERAGE_RUNS) for n in DOCUMENTS}
        found[question] = {"summary": summary, "cells": cells}
    return found


def summarised(coverages: list[float], runs: int) -> dict[str, Any]:
    """Mean and least coverage of some cells, and how many are below the bound."""
    bound = CONFIDENCE - 3 * standard_error(CONFIDENCE, runs)
    return {
        "mean": round(float(np.mean(coverages)), 4), "least": min(coverages), "bound": round(bound, 4),
        "cells": len(coverages), "broken": sum(coverage < bound for coverage in coverages),
    }  # fmt: skip


def stopped_coverage(rng: Generator) -> dict[str, Any]:
    """How often the interval from where rule U stopped holds the full set's drop."""
    cells = []
    for size, kind, accuracy, drop, threshold in STOPPED_CELLS:
        shape = {"accuracy": accuracy, "drop": drop, "gained": usual_gain(accuracy)}
        population = zero_one(size, **shape) if kind == "0/1" else f1_like(size, rng=rng, **shape)
        truth, covered, early, widths = population.relative_drop, 0, 0, []
        for _ in range(STOPPED_RUNS):
            order = rng.permutation(size)
            rule = EarlyStopping([relative_margin(threshold)], total=size, error_rate=max(ERROR_RATES))
            rule.feed(population.original[order].tolist(), population.pruned[order].tolist())
            interval = rule.relative_interval(CONFIDENCE)
            covered += interval.low - 1e-9 <= truth <= interval.high + 1e-9
            early += rule.used < size
            widths.append(interval.high - interval.low)
        cells.append(
            {
                "documents": size, "scores": kind, "accuracy": accuracy, "true_drop": round(truth, 4), "threshold": threshold,
                "coverage": covered / STOPPED_RUNS, "stopped_early": early / STOPPED_RUNS,
                "median_width": round(float(np.median(widths)), 4) if math.isfinite(np.median(widths)) else None,
            }
        )  # fmt: skip
        print(f"stopped {cells[-1]}", file=sys.stderr, flush=True)
    summary = summarised([cell["coverage"] for cell in cells], STOPPED_RUNS)
    return {"runs_a_cell": STOPPED_RUNS, "summary": summary, "cells": cells}


def circumstances() -> dict[str, Any]:
    """What was measured, and on what."""
    folder = Path(pytest_prunegate.stats.__file__).parent
    sources = ("margins.py", "early_stopping.py", "intervals.py")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "commit": commit,
        "sources_sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sources},
        "command": f"python evidence/validity.py {sys.argv[1]}", "seed": SEED,
        "machine": {
            "system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count(),
            "python": platform.python_version(), "numpy": np.__version__,
        },
    }  # fmt: skip


def as_text(value: Any, indent: str = "") -> str:
    """JSON in which what fits on a line stays on one."""
    flat = json.dumps(value)
    if len(flat) <= LINE or not isinstance(value, (dict, list)):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {as_text(part, inner)}" for name, part in value.items()]
    else:
        parts = [as_text(part, inner) for part in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{right}"


def show(result: dict[str, Any]) -> None:
    """The short table."""
    boundary_found, fixed, stopped = result["boundary"], result["interval"], result["interval_at_stop"]
    print(f"rule U at the boundary, {len(boundary_found['cells'])} cells of {BOUNDARY_RUNS} runs")
    for rate, found in boundary_found["summary"].items():
        print(
            f"  error rate {rate}: mean {found['mean']}, largest {found['largest']} (bound {found['bound']}); that cell again,"
            f" {AGAIN_RUNS} runs: {found['largest_cell_again']} (bound {found['again_bound']})"
        )
    print(
        f"  EarlyStopping differs on {boundary_found['different_from_feed']} of {boundary_found['compared_with_feed']}"
    )
    for question in ("others_like_these", "full_set"):
        print(f"coverage of the 95% interval, {question}, runs of {COVERAGE_RUNS}")
        for n, found in fixed[question]["summary"].items():
            print(
                f"  n {n}: mean {found['mean']}, least {found['least']} of {found['cells']} cells (bound {found['bound']})"
            )
    found = stopped["summary"]
    print(
        f"coverage of the 95% interval at the stop: mean {found['mean']}, least {found['least']} (bound {found['bound']})"
    )
    for part in ("clusters", "few_documents", "repeated_looks"):
        print(f"{part}: {result[part]['summary']}")


def main() -> None:
    """Simulate, and write the outcome as JSON; the last line of the output says it in short."""
    began = time.monotonic()
    facts = circumstances()  # of the sources as they are imported
    rng = np.random.default_rng(SEED)
    result = {
        **facts, "boundary": boundary(rng), "interval": fixed_coverage(rng), "interval_at_stop": stopped_coverage(rng),
        "clusters": clustered(rng), "few_documents": few(rng),
        "repeated_looks": repeated(rng, stops, random_orders, zero_one_at(0.1, LOOK_DOCUMENTS, accuracy=0.6, gained=0.02, is_met=False)),
    }  # fmt: skip
    result["seconds"] = round(time.monotonic() - began)
    Path(sys.argv[1]).write_text(as_text(result) + "\n", encoding="utf-8")
    show(result)
    summary = {
        "commit": facts["commit"],
        "boundary": result["boundary"]["summary"],
        "different_from_feed": result["boundary"]["different_from_feed"],
        "interval": {kind: result["interval"][kind]["summary"] for kind in ("others_like_these", "full_set")},
        "interval_at_stop": result["interval_at_stop"]["summary"],
        **{part: result[part]["summary"] for part in ("clusters", "few_documents", "repeated_looks")},
        "seconds": result["seconds"],
    }
    print(json.dumps(summary))
    parts = [*summary["boundary"].values(), summary["interval_at_stop"]]
    parts += [summary[part] for part in ("clusters", "few_documents", "repeated_looks")]
    parts += [found for kind in summary["interval"].values() for found in kind.values()]
    sys.exit(1 if summary["different_from_feed"] or any(part["broken"] for part in parts) else 0)


if __name__ == "__main__":
    main()
