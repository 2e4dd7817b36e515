"""Rule U where it is hardest: a drop that equals the threshold to within one document. A small part of `make evidence-validity`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.populations import f1_like_at, random_orders, stops, zero_one_at

from pytest_prunegate.stats.margins import relative_margin

DOCUMENTS, RUNS = 300, 2000
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("is_met", [True, False])
@pytest.mark.parametrize(
    ("kind", "accuracy", "gained", "threshold"),
    [("0/1", 0.15, 0.08, 0.2), ("0/1", 0.45, 0.01, 0.1), ("0/1", 0.8, 0.08, 0.05), ("f1", 0.45, 0.08, 0.1), ("f1", 0.8, 0.01, 0.2)],
)  # fmt: skip
def test_the_wrong_verdict_comes_at_most_as_often_as_stated(
    kind: str, accuracy: float, gained: float, threshold: float, *, is_met: bool
) -> None:
    rng = np.random.default_rng(17)
    population = (
        zero_one_at(threshold, DOCUMENTS, accuracy=accuracy, gained=gained, is_met=is_met)
        if kind == "0/1"
        else f1_like_at(threshold, DOCUMENTS, accuracy=accuracy, gained=gained, is_met=is_met, rng=rng)
    )
    margin = relative_margin(threshold)
    contributions = margin.of(population.original, population.pruned)
    assert (-1e-9 < contributions.sum() < 1) if is_met else (-1 < contributions.sum() < -1e-9)
    error_rates = (0.01, 0.05)
    found = stops(random_orders(contributions, RUNS, rng), margin, error_rates)
    for error_rate, each in zip(error_rates, found, strict=True):
        wrong = float((each.passed != is_met).mean())
        assert wrong <= error_rate + 3 * math.sqrt(error_rate * (1 - error_rate) / RUNS)
    assert (found[1].used < DOCUMENTS).mean() > 0.01, "bets are won at all"
