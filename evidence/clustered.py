"""Simulations of what follows a sample: passages that are lost as a whole, and looks that are repeated."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_prunegate.stats.intervals import relative_drop_interval
from pytest_prunegate.stats.margins import relative_margin

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

CLUSTERS, CLUSTER_RUNS = (10, 12, 25, 40, 100, 200), 4_000
LARGEST_PASSAGE = 15  # questions to a passage, from 1 on, alike
THRESHOLD, ERROR_RATE, CONFIDENCE = 0.1, 0.01, 0.95
BASELINES, SCORES, LOST = (0.6, 0.02), ("0/1", "skewed f1"), ("whole passages", "half of their answers")
FEW, FEW_RUNS = 40, 20_000
FALSE_PASS_BOUND = 0.02  # an interval's error is approximate, and said to be: "about 1%"
LOOK_RUNS, LOOK_DOCUMENTS = 20_000, 400
LAX, HALVED = 0.2, 0.005


def clustered(rng: Generator) -> dict[str, Any]:
    """Coverage and false PASSes of `confident` where the true drop is the threshold, and passages change together."""
    cells = []
    for baseline, kind, lost, clusters in product(BASELINES, SCORES, LOST, CLUSTERS):
        passed = covered = unbounded = 0
        for _ in range(CLUSTER_RUNS):
            original, pruned, names = _passages(rng, clusters, baseline, kind, lost)
            passed += (
                relative_drop_interval(original, pruned, confidence=1 - 2 * ERROR_RATE, clusters=names).high
                <= THRESHOLD
            )
            interval = relative_drop_interval(original, pruned, confidence=CONFIDENCE, clusters=names)
            covered += interval.low <= THRESHOLD <= interval.high
            unbounded += math.isinf(interval.high)
        cells.append({
            "clusters": clusters, "baseline": baseline, "scores": kind, "lost": lost, "false_pass": passed / CLUSTER_RUNS,
            "coverage": covered / CLUSTER_RUNS, "unbounded": unbounded / CLUSTER_RUNS,
        })  # fmt: skip
    return {"runs_a_cell": CLUSTER_RUNS, "summary": _summary(cells, CLUSTER_RUNS), "cells": cells}


def _passages(
    rng: Generator, clusters: int, baseline: float, kind: str, lost: str
) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
    """Scores of questions to passages, of which the pruned model loses a tenth: no answer is gained."""
    sizes = rng.integers(1, LARGEST_PASSAGE + 1, clusters)
    names = np.repeat(np.arange(clusters), sizes)
    original = _scores(rng, len(names), baseline, kind)
    share = THRESHOLD if lost == LOST[0] else 2 * THRESHOLD
    hit = (rng.random(clusters) < share)[names]
    gone = hit if lost == LOST[0] else hit & (rng.random(len(names)) < 1 / 2)
    return original, np.where(gone, 0.0, original), names.tolist()


def _scores(rng: Generator, size: int, baseline: float, kind: str) -> NDArray[np.float64]:
    """Right or wrong; or F1 scores of which most are 0 or 1 and the rest small."""
    right = (rng.random(size) < baseline).astype(float)
    if kind == SCORES[0]:
        return right
    partial = rng.random(size) < 1 / 4
    return np.where(partial, baseline * rng.beta(0.5, 1.5, size), right)


def few(rng: Generator) -> dict[str, Any]:
    """The same for 40 documents that only lose, each by itself."""
    cells = []
    for baseline, kind in product((0.8, *BASELINES), SCORES):
        passed = covered = 0
        for _ in range(FEW_RUNS):
            original = _scores(rng, FEW, baseline, kind)
            pruned = np.where(rng.random(FEW) < THRESHOLD, 0.0, original)
            passed += relative_drop_interval(original, pruned, confidence=1 - 2 * ERROR_RATE).high <= THRESHOLD
            interval = relative_drop_interval(original, pruned, confidence=CONFIDENCE)
            covered += interval.low <= THRESHOLD <= interval.high
        cells.append(
            {
                "documents": FEW,
                "baseline": baseline,
                "scores": kind,
                "false_pass": passed / FEW_RUNS,
                "coverage": covered / FEW_RUNS,
            }
        )
    return {"runs_a_cell": FEW_RUNS, "summary": _summary(cells, FEW_RUNS), "cells": cells}


def _summary(cells: list[dict[str, Any]], runs: int) -> dict[str, Any]:
    """The worst of the cells, and how many are beyond the bounds by more than three standard errors."""
    worst, least = max(cell["false_pass"] for cell in cells), min(cell["coverage"] for cell in cells)
    bound = FALSE_PASS_BOUND + 3 * math.sqrt(FALSE_PASS_BOUND * (1 - FALSE_PASS_BOUND) / runs)
    lowest = CONFIDENCE - 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / runs)
    return {
        "largest_false_pass": worst, "false_pass_bound": round(bound, 4), "least_coverage": least, "coverage_bound": round(lowest, 4),
        "broken": sum(cell["false_pass"] > bound or cell["coverage"] < lowest for cell in cells),
    }  # fmt: skip


def repeated(rng: Generator, stops: Any, random_orders: Any, population: Any) -> dict[str, Any]:
    """False PASSes of rule U for whoever looks twice: at a lax rate first, and at another draw of the same questions.

    Args:
        rng: the generator.
        stops: where runs of the rule stop, side by side.
        random_orders: draws of a population's contributions.
        population: one whose true drop is just beyond the threshold.
    """
    margin = relative_margin(THRESHOLD)
    contributions = margin.of(population.original, population.pruned)
    first, second = (random_orders(contributions, LOOK_RUNS, rng) for _ in range(2))
    (_, strict), (halved,) = stops(first, margin, (LAX, ERROR_RATE)), stops(second, margin, (HALVED,))
    either = float(np.mean(strict.passed | halved.passed))
    found = {"strict_after_lax": float(np.mean(strict.passed)), "either_of_two_draws": either}
    stated = {"strict_after_lax": ERROR_RATE, "either_of_two_draws": ERROR_RATE + HALVED}
    bounds = {name: rate + 3 * math.sqrt(rate * (1 - rate) / LOOK_RUNS) for name, rate in stated.items()}
    broken = sum(found[name] > bound for name, bound in bounds.items())
    summary = {"false_pass": found, "stated": stated, "broken": broken}
    return {"runs": LOOK_RUNS, "documents": LOOK_DOCUMENTS, "summary": summary}
