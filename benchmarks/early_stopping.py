"""How many documents rule U needs, and what one costs.

    python benchmarks/early_stopping.py

The true relative drop r and the threshold tau run over a grid, r != tau, with 0/1 scores of accuracy 0.15, 0.45 and 0.8.
Beside each mean (and 90th percentile) of the share of documents used stands that of the derivation's simulation, whose
flip rates are not known to this file: `usual_gain` in tests/support/populations.py is the rule with two constants that came
nearest to its figures, with 4 to 32% of documents flipping. That the figures agree says that this is the same rule on
populations as hard as those; how many documents a real model needs depends on its own flips.

Times depend on the machine and decide nothing. The last line is one JSON object.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 - a script of its own

from pytest_prunegate.stats.early_stopping import EarlyStopping
from pytest_prunegate.stats.margins import relative_margin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.populations import random_orders, stops, usual_gain, zero_one

SEED = 7
ERROR_RATE = 0.01
RUNS = {
    1319: 300,
    11873: 80,
}  # documents of the full set (GSM8K's test, SQuAD v2's validation), and orders of each scenario
ACCURACIES = (0.15, 0.45, 0.8)
DROPS, THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35), (0.05, 0.1, 0.2, 0.35)
BANDS = {"<= .05": 0.05, ".05-.10": 0.1, ".10-.20": 0.2, "> .20": 1.0}  # of |r - tau|, with their upper ends
EASY_GAP, EASY_ACCURACY = 0.1, 0.45  # the goal's scenarios: a wider gap, at least that accuracy
TIMED_RUNS = 9

# The derivation's simulation of rule U: mean and 90th percentile for each band, by documents and accuracy.
DERIVED = {
    (1319, 0.15): ((0.88, 0.98), (0.59, 0.79), (0.35, 0.54), (0.17, 0.27)),
    (1319, 0.45): ((0.57, 0.76), (0.25, 0.41), (0.13, 0.21), (0.058, 0.087)),
    (1319, 0.8): ((0.30, 0.46), (0.13, 0.20), (0.074, 0.12), (0.033, 0.050)),
    (11873, 0.15): ((0.45, 0.65), (0.18, 0.29), (0.065, 0.12), (0.026, 0.042)),
    (11873, 0.45): ((0.15, 0.25), (0.041, 0.070), (0.019, 0.030), (0.009, 0.013)),
    (11873, 0.8): ((0.056, 0.10), (0.019, 0.030), (0.011, 0.016), (0.005, 0.007)),
}


def measure(documents: int, accuracy: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """All scenarios of one set: how many documents each order needed."""
    found = []
    for drop, threshold in product(DROPS, THRESHOLDS):
        if drop == threshold:
            continue
        population = zero_one(documents, accuracy=accuracy, drop=drop, gained=usual_gain(accuracy))
        margin = relative_margin(threshold)
        orders = random_orders(margin.of(population.original, population.pruned), RUNS[documents], rng)
        (found_stops,) = stops(orders, margin, [ERROR_RATE])
        gap = round(abs(drop - threshold), 6)
        found.append(
            {
                "gap": gap, "band": next(name for name, end in BANDS.items() if gap <= end),
                "flips": population.flips, "shares": found_stops.used / documents,
                "wrong": int((found_stops.passed != (population.relative_drop <= threshold)).sum()),
            }
        )  # fmt: skip
    return found


def microseconds_a_document() -> float:
    """Of `EarlyStopping.feed` on one run that goes a long way, the median of several."""
    rng = np.random.default_rng(SEED)
    population = zero_one(1319, accuracy=0.45, drop=0.1, gained=usual_gain(0.45))
    times = []
    for _ in range(TIMED_RUNS):
        order = rng.permutation(len(population))
        original, pruned = population.original[order].tolist(), population.pruned[order].tolist()
        rule = EarlyStopping([relative_margin(0.1)], total=len(population), error_rate=ERROR_RATE)
        began = time.perf_counter()
        rule.feed(original, pruned)
        times.append((time.perf_counter() - began) / rule.used * 1e6)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    began = time.perf_counter()
    rng = np.random.default_rng(SEED)
    scenarios = {(n, accuracy): measure(n, accuracy, rng) for n in RUNS for accuracy in ACCURACIES}
    cells: list[dict[str, Any]] = []
    print("share of documents used, mean (p90), and the derivation's; error rate 1%")
    print(f"{'N':>6} {'acc':>5} {'|r-tau|':>9} {'measured':>15} {'derived':>15} {'ratio':>6}")
    for (documents, accuracy), found in scenarios.items():
        for band, (derived_mean, derived_p90) in zip(BANDS, DERIVED[documents, accuracy], strict=True):
            shares = np.stack([scenario["shares"] for scenario in found if scenario["band"] == band])
            mean, p90 = float(shares.mean()), float(np.quantile(shares, 0.9, axis=1).mean())
            ratio = mean / derived_mean
            cells.append(
                {
                    "documents": documents, "accuracy": accuracy, "gap": band, "mean": round(mean, 4), "p90": round(p90, 4),
                    "derived_mean": derived_mean, "derived_p90": derived_p90, "ratio": round(ratio, 3),
                }
            )  # fmt: skip
            print(
                f"{documents:>6} {accuracy:>5} {band:>9} {mean:>7.3f} ({p90:.3f})"
                f" {derived_mean:>7.3f} ({derived_p90:.3f}) {ratio:>6.2f}"
            )
    result: dict[str, Any] = {"cells": cells}
    for documents, runs in RUNS.items():
        every = [scenario for (n, _), found in scenarios.items() if n == documents for scenario in found]
        easy = [
            scenario["shares"]
            for (n, accuracy), found in scenarios.items() if n == documents and accuracy >= EASY_ACCURACY
            for scenario in found if scenario["gap"] > EASY_GAP
        ]  # fmt: skip
        result[str(documents)] = {
            "runs_a_scenario": runs,
            "mean_share": round(float(np.mean([scenario["shares"] for scenario in every])), 4),
            "easy_mean_share": round(float(np.mean(easy)), 4),
            "easy_stopped_early": round(float((np.stack(easy) < 1).mean()), 4),
            "stopped_early": round(float(np.mean([scenario["shares"] < 1 for scenario in every])), 4),
            "wrong_verdicts": sum(scenario["wrong"] for scenario in every),
            "flips": [round(function(scenario["flips"] for scenario in every), 3) for function in (min, max)],
        }
        print(f"N {documents}: {result[str(documents)]}")
    result["largest_deviation"] = round(max(abs(cell["ratio"] - 1) for cell in cells), 3)
    result["microseconds_a_document"] = round(microseconds_a_document(), 1)
    result["seconds"] = round(time.perf_counter() - began)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
