"""What a number of documents resolves: worked by hand, and against simulations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.populations import random_orders, stops, usual_gain, zero_one

from pytest_prunegate.stats.intervals import relative_drop_interval
from pytest_prunegate.stats.margins import relative_margin
from pytest_prunegate.stats.power import detectable_gap, documents_needed, further_documents


@pytest.mark.parametrize(
    ("original", "documents", "gap"),
    [(0.45, 200, 0.14), (0.8, 200, 0.08), (0.45, 1319, 0.055), (0.8, 1319, 0.031), (0.15, 200, 0.42)],
)
def test_the_gap_worked_by_hand(original: float, documents: int, gap: float) -> None:
    """z(0.99) + z(0.8) = 2.3263 + 0.8416 = 3.1680; 8% of the documents change."""
    found = detectable_gap(changed=0.08, original=original, documents=documents)
    assert found == pytest.approx(3.1680 * math.sqrt(0.08) / (original * math.sqrt(documents)), rel=1e-4)
    assert found == pytest.approx(gap, rel=0.02)


def test_the_gap_at_another_error_rate() -> None:
    """z(0.95) = 1.6449."""
    found = detectable_gap(changed=0.25, original=0.5, documents=100, error_rate=0.05)
    assert found == pytest.approx(2.4865 * 0.5 / (0.5 * 10), rel=1e-4)


def test_the_gap_from_the_full_set_is_smaller() -> None:
    """Three quarters of the set: the variance is a quarter of that for other documents. All of it: nothing is left."""
    apart = detectable_gap(changed=0.1, original=0.5, documents=300)
    assert detectable_gap(changed=0.1, original=0.5, documents=300, of=400) == pytest.approx(apart / 2)
    assert detectable_gap(changed=0.1, original=0.5, documents=300, of=300) == 0


def test_the_gaps_at_the_edges() -> None:
    assert detectable_gap(changed=0.1, original=0, documents=300) == math.inf
    assert detectable_gap(changed=0, original=0.5, documents=300) == 0
    with pytest.raises(ValueError, match="no document"):
        detectable_gap(changed=0.1, original=0.5, documents=0)
    for changed, original in ((-0.1, 0.5), (1.1, 0.5), (0.1, -0.5), (0.1, 1.5), (math.nan, 0.5), (0.1, math.nan)):
        with pytest.raises(ValueError, match="shares between 0 and 1"):
            detectable_gap(changed=changed, original=original, documents=10)


def test_a_drop_as_far_from_its_threshold_as_the_gap_is_resolved_in_four_cases_of_five() -> None:
    """Nothing lost in the mean, 8% flip: the upper end of the 98% interval is one-sided 1%. 2,000 draws, 0.9% each."""
    rng = np.random.default_rng(11)
    population = zero_one(10_000, accuracy=0.45, drop=0.0, gained=0.04)
    gap = detectable_gap(changed=population.flips, original=0.45, documents=400)
    resolved = 0
    for _ in range(2000):
        drawn = rng.integers(0, 10_000, 400)
        found = relative_drop_interval(population.original[drawn], population.pruned[drawn], confidence=0.98)
        resolved += found.high <= gap
    assert resolved / 2000 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("drift", "error_rate", "needed"),
    [
        (0, 0.01, 1319),  # nothing but the full set
        (5.2, 0.01, 367),  # 1319 * 10.4 / (10.4 + 27.04) = 366.4
        (15, 0.01, 59),  # 1319 * 10.4 / 235.4 = 58.3
        (5.2, 0.05, 264),  # 10.4 * ln(20) / ln(100) = 6.7654; 1319 * 6.7654 / 33.8054 = 263.97
    ],
)
def test_the_documents_worked_by_hand(drift: float, error_rate: float, needed: int) -> None:
    assert documents_needed(drift=drift, total=1319, error_rate=error_rate) == needed


@pytest.mark.parametrize(("accuracy", "drop", "threshold"), [(0.45, 0.0, 0.1), (0.8, 0.1, 0.05), (0.15, 0.35, 0.05)])
def test_the_documents_are_what_rule_u_uses_on_average(accuracy: float, drop: float, threshold: float) -> None:
    population = zero_one(1319, accuracy=accuracy, drop=drop, gained=usual_gain(accuracy))
    margin = relative_margin(threshold)
    contributions = margin.of(population.original, population.pruned)
    drift = math.sqrt(1319) * abs(contributions.mean()) / contributions.std()
    orders = random_orders(contributions, 200, np.random.default_rng(4))
    (found,) = stops(orders, margin, [0.01])
    assert documents_needed(drift=drift, total=1319) == pytest.approx(float(found.used.mean()), rel=0.25)


def test_more_documents_than_there_are_resolve_nothing() -> None:
    with pytest.raises(ValueError, match="11 documents cannot be drawn from 10"):
        detectable_gap(changed=0.1, original=0.5, documents=11, of=10)


def test_a_verdict_needs_a_document() -> None:
    assert documents_needed(drift=math.inf, total=10) == 1


@pytest.mark.parametrize(("total", "first"), [(400, 60), (1319, 200), (208, 100)])
def test_the_further_documents_decide_in_four_cases_of_five(total: int, first: int) -> None:
    """Real intervals on random orders: where the first sample is open, what is advised decides, and where it does not, that is rare."""
    generator = np.random.default_rng(7)
    decided = asked = 0
    for lost_share in (0.0, 0.02, 0.05, 0.08, 0.15):
        original = (generator.random(total) < 0.7).astype(float)
        pruned = np.where(generator.random(total) < lost_share, 0.0, original)
        pruned = np.where(generator.random(total) < 0.04, 1.0, pruned)
        for _ in range(60):
            order = generator.permutation(total)
            open_by = _gap(original[order][:first], pruned[order][:first], total, 0.01)
            if open_by is None:
                continue
            gap, half_width = open_by
            more = further_documents(
                gap=gap, half_width=half_width, documents=first, error_rate=0.01, next_error_rate=0.005, of=total
            )
            assert more is not None
            asked += 1
            many = first + more
            decided += many == total or _gap(original[order][:many], pruned[order][:many], total, 0.005) is None
    assert asked >= 60
    assert decided / asked >= 0.8


def _gap(original: Any, pruned: Any, total: int, error_rate: float) -> tuple[float, float] | None:
    """Distance from a threshold of 10% and half the interval's width; None where it decides."""
    found = relative_drop_interval(original, pruned, confidence=1 - 2 * error_rate, of=total)
    low, high = found.low - 0.1, found.high - 0.1
    return None if high <= 0 or low > 0 else (abs(low + high) / 2, (high - low) / 2)


def test_an_estimate_at_its_threshold_is_told_by_all_or_by_none() -> None:
    for of, more in ((400, 300), (None, None)):
        assert more == further_documents(
            gap=0.0, half_width=0.1, documents=100, error_rate=0.01, next_error_rate=0.005, of=of
        )
