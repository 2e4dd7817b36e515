"""A threshold as a sum of contributions: the sum is not negative exactly where the threshold is met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_prunegate.stats.margins import Margin, absolute_margin, relative_margin, score_margin, share_margin

PAIRS = ([1.0, 1.0, 0.0, 0.0, 0.5], [1.0, 0.0, 1.0, 0.0, 0.25])  # kept, lost, gained, never right, half lost


@pytest.mark.parametrize(
    ("margin", "contributions", "bounds"),
    [
        (relative_margin(0.1), [0.1, -0.9, 1, 0, -0.2], (-0.9, 1)),
        (relative_margin(0.1, higher_is_better=False), [0.1, 1.1, -1, 0, 0.3], (-1, 1.1)),
        (relative_margin(0), [0, -1, 1, 0, -0.25], (-1, 1)),
        (relative_margin(1), [1, 0, 1, 0, 0.25], (0, 1)),
        (absolute_margin(0.1), [0.1, -0.9, 1.1, 0.1, -0.15], (-0.9, 1.1)),
        (absolute_margin(0.1, higher_is_better=False), [0.1, 1.1, -0.9, 0.1, 0.35], (-0.9, 1.1)),
        (score_margin(0.3), [0.7, -0.3, 0.7, -0.3, -0.05], (-0.3, 0.7)),
        (share_margin(0.3), [-0.7, 0.3, -0.7, 0.3, 0.05], (-0.7, 0.3)),
    ],
)
def test_contributions_worked_by_hand(margin: Margin, contributions: list[float], bounds: tuple[float, float]) -> None:
    assert margin.of(*PAIRS).tolist() == pytest.approx(contributions)
    assert (margin.low, margin.high) == pytest.approx(bounds)


@pytest.mark.parametrize(
    ("margin", "wider"),
    [
        (relative_margin(0.1), relative_margin(0.15)),
        (relative_margin(0.1, higher_is_better=False), relative_margin(0.15, higher_is_better=False)),
        (absolute_margin(0.1), absolute_margin(0.15)),
        (absolute_margin(0.1, higher_is_better=False), absolute_margin(0.15, higher_is_better=False)),
        (score_margin(0.3), score_margin(0.25)),
        (share_margin(0.3), share_margin(0.35)),
    ],
)
def test_a_loosened_margin_is_that_of_a_wider_threshold(margin: Margin, wider: Margin) -> None:
    for found, expected in ((margin.loosened(0.05), wider), (wider.loosened(-0.05), margin)):
        assert (found.original, found.pruned, found.constant) == pytest.approx(
            (expected.original, expected.pruned, expected.constant)
        )
        assert found.is_relative == expected.is_relative, "it can be loosened again"


SCORES = st.lists(st.tuples(*[st.integers(0, 8)] * 2), min_size=1, max_size=12)


@given(SCORES, st.integers(0, 16))
def test_the_sum_is_not_negative_exactly_where_the_threshold_is_met(scores: list[tuple[int, int]], most: int) -> None:
    """Scores and thresholds are sixteenths and eighths, so that floats hold every sum exactly."""
    original, pruned = ([pair[side] / 8 for pair in scores] for side in (0, 1))
    n, before, after, allowed = len(scores), sum(original), sum(pruned), most / 16
    met = {
        relative_margin(allowed): before - after <= allowed * before,
        relative_margin(allowed, higher_is_better=False): after - before <= allowed * before,
        absolute_margin(allowed): before - after <= allowed * n,
        absolute_margin(allowed, higher_is_better=False): after - before <= allowed * n,
        score_margin(allowed): after >= allowed * n,
        share_margin(allowed): after <= allowed * n,
    }
    for margin, is_met in met.items():
        contributions = margin.of(original, pruned)
        assert (contributions.sum() >= 0) == is_met, margin
        assert contributions.min() >= margin.low
        assert contributions.max() <= margin.high
