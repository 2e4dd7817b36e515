"""Intervals of a loss: worked by hand, at their edges, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_prunegate.stats.intervals import (
    Stratum,
    absolute_drop_interval,
    ratio_increase_interval,
    relative_drop_interval,
)

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


def test_the_increase_of_a_perplexity_worked_by_hand() -> None:
    """Losses grow by 1, 0, 2 nats over 1, 1, 2 tokens: ratio 3/4, residuals 1/4, -3/4, 1/2, squares 7/8.

    Variance 3/2 * 7/8 / 16 = 0.0820313; t(0.75, 2) = 0.816497; half width 0.233854.
    """
    found = ratio_increase_interval([1, 2, 3], [2, 2, 5], [1, 1, 2], confidence=0.5)
    expected = [math.exp(0.75 - 0.233854) - 1, math.exp(0.75 + 0.233854) - 1]
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-5)
    assert found.confidence == 0.5
    drawn = ratio_increase_interval([1, 2, 3], [2, 2, 5], [1, 1, 2], confidence=0.5, of=4)
    expected = [math.exp(0.75 - 0.233854 / 2) - 1, math.exp(0.75 + 0.233854 / 2) - 1]
    assert [drawn.low, drawn.high] == pytest.approx(expected, abs=1e-5), "a quarter of the variance is left"
    full = ratio_increase_interval([1, 2, 3], [2, 2, 5], [1, 1, 2], confidence=0.5, of=3)
    assert full.low == full.high == pytest.approx(math.exp(0.75) - 1)
    only = ratio_increase_interval([1], [2], [2], confidence=0.5, of=1)
    assert only.low == only.high == pytest.approx(math.exp(0.5) - 1), "the only window there is"


def test_the_increase_from_one_window_is_not_bounded_and_what_is_no_size_is_refused() -> None:
    one = ratio_increase_interval([1], [2], [1], confidence=0.95)
    assert (one.low, one.high) == (-math.inf, math.inf)
    for sizes in ([1, 0], [1, -1], [1], [1, math.nan]):
        with pytest.raises(ValueError, match="expected a positive size"):
            ratio_increase_interval([1, 2], [1, 2], sizes, confidence=0.95)
    with pytest.raises(ValueError, match="2 documents cannot be drawn from 1"):
        ratio_increase_interval([1, 2], [1, 2], [1, 1], confidence=0.95, of=1)


def test_the_increase_covers_as_often_as_it_says() -> None:
    """40 of 80 windows of unequal sizes, 2,000 draws: 95% within three standard errors (0.5% each)."""
    rng = np.random.default_rng(9)
    sizes = rng.integers(100, 2000, 80)
    original = sizes * rng.normal(3.0, 0.3, 80)
    pruned = original + sizes * rng.normal(0.1, 0.05, 80)
    truth = math.exp((pruned - original).sum() / sizes.sum()) - 1
    covered = 0
    for _ in range(2000):
        drawn = rng.permutation(80)[:40]
        found = ratio_increase_interval(original[drawn], pruned[drawn], sizes[drawn], confidence=0.95, of=80)
        covered += found.low <= truth <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=3 * 0.005)


STRATA = (Stratum(drawn=2, of=4, weight=0.75), Stratum(drawn=2, of=8, weight=0.25))


def test_strata_worked_by_hand() -> None:
    """Means 0.75 * 1/2 + 0.25 * 1 = 0.625 and 0.75 * 1/2 + 0.25 * 1/2 = 0.5; t(0.75, 4 - 2)^2 = 2/3.

    The first part's mean has the variance 0.5 / 2 * (1 - 2/4) = 0.125 on both sides, by its squared weight 0.0703125; the
    second's 0 and 0.5 / 2 * (1 - 2/8) = 0.1875 by 0.0625, which is 0.0117188. One flip weighs
    (2 * 0.375^2 * 1/2 + 2 * 0.125^2 * 3/4) / 3 = 0.0546875.
    """
    original, pruned = [1, 0, 1, 1], [1, 0, 1, 0]
    absolute = absolute_drop_interval(original, pruned, confidence=0.5, strata=STRATA)
    half = math.sqrt(2 / 3 * (0.0117188 + 2 * 0.0546875))
    assert [absolute.low, absolute.high] == pytest.approx([0.125 - half, 0.125 + half], abs=1e-5)
    relative = relative_drop_interval(original, pruned, confidence=0.5, strata=STRATA)
    a = 0.625**2 - 2 / 3 * (0.0703125 + 0.0546875)
    b = 0.625 * 0.5 - 2 / 3 * 0.0703125
    c = 0.5**2 - 2 / 3 * (0.0703125 + 0.0117188 + 0.0546875)
    root = math.sqrt(b * b - a * c)
    assert [relative.low, relative.high] == pytest.approx([1 - (b + root) / a, 1 - (b - root) / a], abs=1e-5)
    assert [relative.low, relative.high] == pytest.approx([-0.344250, 0.615437], abs=1e-5)


@pytest.mark.parametrize("of", [None, 10, 4])
def test_one_stratum_is_none(of: int | None) -> None:
    for interval in (relative_drop_interval, absolute_drop_interval):
        plain = interval(ORIGINAL, PRUNED, confidence=0.9, of=of)
        assert interval(ORIGINAL, PRUNED, confidence=0.9, strata=(Stratum(drawn=4, of=of, weight=1),)) == plain


def test_complete_strata_leave_no_doubt_and_one_that_is_not_does() -> None:
    complete = (Stratum(drawn=3, of=3, weight=0.5), Stratum(drawn=1, of=1, weight=0.5))
    found = relative_drop_interval(ORIGINAL, PRUNED, confidence=0.95, strata=complete)
    assert found.low == found.high == pytest.approx(1 - (0.5 * 2 / 3) / 0.5)
    one_left = (Stratum(drawn=3, of=4, weight=0.5), Stratum(drawn=1, of=1, weight=0.5))
    left = absolute_drop_interval(ORIGINAL, PRUNED, confidence=0.95, strata=one_left)
    assert -math.inf < left.low < 0.5 / 3 < left.high < math.inf


def test_one_document_says_nothing_about_its_stratum() -> None:
    alone = (Stratum(drawn=3, of=30, weight=0.5), Stratum(drawn=1, of=10, weight=0.5))
    for interval in (relative_drop_interval, absolute_drop_interval):
        found = interval(ORIGINAL, PRUNED, confidence=0.95, strata=alone)
        assert (found.low, found.high) == (-math.inf, math.inf)


def test_strata_cover_as_often_as_they_say() -> None:
    """Two parts of unlike size, accuracy and loss; 2,000 draws: at least 95% within three standard errors."""
    rng = np.random.default_rng(13)
    sizes, drawn, accuracies, losses = (300, 900), (100, 100), (0.9, 0.4), (0.1, 0.3)
    parts = []
    for size, accuracy, loss in zip(sizes, accuracies, losses, strict=True):
        original = rng.random(size) < accuracy
        parts.append((original, (original & (rng.random(size) > loss)) | (~original & (rng.random(size) < 0.1))))
    strata = tuple(Stratum(drawn=n, of=size, weight=size / 1200) for n, size in zip(drawn, sizes, strict=True))
    before, after = (np.concatenate([part[side] for part in parts]).mean() for side in (0, 1))
    covered = 0
    for _ in range(2000):
        orders = [rng.permutation(size)[:n] for size, n in zip(sizes, drawn, strict=True)]
        original, pruned = (
            np.concatenate([part[side][order] for part, order in zip(parts, orders, strict=True)]) for side in (0, 1)
        )
        found = relative_drop_interval(original, pruned, confidence=0.95, strata=strata)
        covered += found.low <= 1 - after / before <= found.high
    assert covered / 2000 > 0.95 - 3 * 0.005


def test_designs_that_contradict_themselves_are_refused() -> None:
    whole = (Stratum(drawn=4, of=8, weight=1),)
    for interval in (relative_drop_interval, absolute_drop_interval):
        with pytest.raises(ValueError, match="clusters are for other documents"):
            interval(ORIGINAL, PRUNED, confidence=0.95, clusters=[1, 1, 2, 2], of=8)
        with pytest.raises(ValueError, match="clusters are for other documents"):
            interval(ORIGINAL, PRUNED, confidence=0.95, clusters=[1, 1, 2, 2], strata=whole)
        with pytest.raises(ValueError, match="the strata do not hold 4 documents"):
            interval(ORIGINAL, PRUNED, confidence=0.95, strata=(Stratum(drawn=3, of=8, weight=1),))
        with pytest.raises(ValueError, match="4 documents cannot be drawn from 3"):
            interval(ORIGINAL, PRUNED, confidence=0.95, strata=(Stratum(drawn=4, of=3, weight=1),))


def test_a_flip_of_clusters_is_a_cluster_of_mean_size() -> None:
    """Nothing changed: 12 passages of 5 questions, half of them answered. By hand, with f = 12 / (11 * 60^2) and 5^2 of it for the flip."""
    original = [1.0, 0.0] * 30
    names = [number // 5 for number in range(60)]
    found = absolute_drop_interval(original, original, confidence=0.95, clusters=names)
    half = 2.200985160091639 * math.sqrt(12 / (11 * 60**2) * 5**2 * 2)  # Student's quantile at 11 degrees of freedom
    assert [found.low, found.high] == pytest.approx([-half, half])
    alone = absolute_drop_interval(original, original, confidence=0.95)
    assert found.high > 4 * alone.high, "one document in sixty, and one passage in twelve"


FIGURES = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5)


@given(original=FIGURES, pruned=FIGURES, confidence=st.sampled_from([0.5, 0.95, 1 - 1e-12]))
@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
def test_no_figures_end_in_an_error_or_in_no_number(
    original: list[float], pruned: list[float], confidence: float
) -> None:
    size = min(len(original), len(pruned))
    pair = original[:size], pruned[:size]
    found = [
        relative_drop_interval(*pair, confidence=confidence), absolute_drop_interval(*pair, confidence=confidence),
        ratio_increase_interval(*pair, [1.0] * size, confidence=confidence),
        ratio_increase_interval(*pair, [1.0] * size, confidence=confidence, of=size),
    ]  # fmt: skip
    assert not any(math.isnan(bound) for interval in found for bound in (interval.low, interval.high))


def test_a_perplexity_beyond_all_numbers_is_unbounded() -> None:
    """As 17 candidates make it: two windows, and a quantile that is shared by all pairs."""
    found = ratio_increase_interval([2.0, 900.0], [700.0, 2.0], [1.0, 1.0], confidence=1 - 0.05 / 153)
    assert found.high == math.inf
    assert found.low == pytest.approx(-1)
