"""Intervals of a loss: worked by hand, at their edges, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_prunegate.stats.intervals import absolute_drop_interval, relative_drop_interval

ORIGINAL, PRUNED = [1, 1, 1, 0], [1, 1, 0, 0]


def test_the_relative_drop_worked_by_hand() -> None:
    """Means 3/4 and 1/2; S_oo 3/4, S_op 1/2, S_pp 1; t(0.75, 3) = 0.764892: 0.477179 x^2 - 2 * 0.350623 x + 0.152490 <= 0."""
    found = relative_drop_interval(ORIGINAL, PRUNED, confidence=0.5)
    assert [found.low, found.high] == pytest.approx([-0.204187, 0.734622], abs=1e-5)
    assert found.confidence == 0.5


def test_the_absolute_drop_worked_by_hand() -> None:
    """Difference 1/4; spread (S_oo - 2 S_op + S_pp + 2) / 12 = 2.75 / 12; half width 0.764892 * sqrt(0.229167)."""
    found = absolute_drop_interval(ORIGINAL, PRUNED, confidence=0.5)
    half = 0.764892 * math.sqrt(2.75 / 12)
    assert [found.low, found.high] == pytest.approx([0.25 - half, 0.25 + half], abs=1e-5)


def test_a_sample_of_a_finite_set_is_surer_of_it_than_of_others() -> None:
    rng = np.random.default_rng(3)
    original = rng.random(200) < 0.7
    pruned = original & (rng.random(200) < 0.8)
    widths = []
    for of in (None, 10_000, 400, 201, 200):
        found = relative_drop_interval(original, pruned, confidence=0.95, of=of)
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0, "the full set leaves no doubt about itself"
    assert widths[2] == pytest.approx(widths[0] * math.sqrt(0.5), rel=0.05), "half of the set: the variance halves"


def test_nothing_changed_still_has_a_width() -> None:
    found = relative_drop_interval([1] * 50, [1] * 50, confidence=0.95)
    assert found.low < 0 < found.high


@pytest.mark.parametrize(("original", "pruned"), [([0] * 50, [0] * 50), ([0] * 49 + [1], [1] * 50), ([1], [0])])
def test_a_baseline_that_cannot_be_told_from_zero_bounds_nothing(original: list[int], pruned: list[int]) -> None:
    found = relative_drop_interval(original, pruned, confidence=0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_clusters_of_one_are_none_and_clusters_of_the_like_are_wider() -> None:
    rng = np.random.default_rng(5)
    passages = np.repeat(np.arange(40), 5)
    kept = rng.random(40)[passages] < 0.8  # a passage is lost as a whole
    original = np.ones(200)
    plain = relative_drop_interval(original, kept, confidence=0.95)
    alone = relative_drop_interval(original, kept, confidence=0.95, clusters=list(range(200)))
    shared = relative_drop_interval(original, kept, confidence=0.95, clusters=passages.tolist())
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high))
    assert shared.high - shared.low > 1.8 * (plain.high - plain.low), "five alike count as one: sqrt(5) at most"
    one = relative_drop_interval(original, kept, confidence=0.95, clusters=[0] * 200)
    assert (one.low, one.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("original", "pruned", "of", "message"),
    [
        ([], [], None, "expected two series of equal length"),
        ([1, 0], [1], None, "expected two series of equal length"),
        ([1, math.nan], [1, 0], None, "a score is not finite"),
        ([1, 0], [1, math.inf], None, "a score is not finite"),
        ([1, 0], [1, 0], 1, "2 documents cannot be drawn from 1"),
    ],
)
def test_what_is_no_pair_of_scores_is_refused(
    original: list[float], pruned: list[float], of: int | None, message: str
) -> None:
    for interval in (relative_drop_interval, absolute_drop_interval):
        with pytest.raises(ValueError, match=message):
            interval(original, pruned, confidence=0.95, of=of)


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize(("accuracy", "drop"), [(0.45, 0.1), (0.8, 0.0), (0.8, 0.2)])
def test_the_interval_covers_as_often_as_it_says(n: int, accuracy: float, drop: float) -> None:
    """2,000 draws: at least 95% within three standard errors (0.5% each); the added flips make it a little wide."""
    rng = np.random.default_rng(n)
    gained = 0.05
    lost = (accuracy * drop + gained * (1 - accuracy)) / accuracy
    covered = 0
    for _ in range(2000):
        original = rng.random(n) < accuracy
        changed = rng.random(n)
        pruned = np.where(original, changed > lost, changed < gained)
        found = relative_drop_interval(original, pruned, confidence=0.95)
        covered += found.low <= drop <= found.high
    assert covered / 2000 > 0.95 - 3 * 0.005
