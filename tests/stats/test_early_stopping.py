"""Rule U: worked by hand, exactly on small sets, and at its edges."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, permutations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.populations import f1_like, stops, usual_gain, zero_one

from pytest_prunegate.stats.early_stopping import Bets, EarlyStopping, Step
from pytest_prunegate.stats.intervals import relative_drop_interval
from pytest_prunegate.stats.margins import Margin, absolute_margin, relative_margin, score_margin, share_margin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NEVER = 1e-12  # no bet on a handful of documents wins so much
PAIRS = np.array([[1.0, 1, 0, 0], [1.0, 0, 1, 0]])  # kept, lost, gained, never right


def decided(
    original: Sequence[float],
    pruned: Sequence[float],
    margins: Margin | Sequence[Margin],
    *,
    total: int | None = None,
    error_rate: float = NEVER,
    checks: int = 1,
    indifference: float = 0.0,
) -> tuple[Step, int]:
    """What the rule says of these documents, and after how many."""
    rule = EarlyStopping(
        [margins] if isinstance(margins, Margin) else margins,
        total=total or len(original),
        error_rate=error_rate,
        checks=checks,
        indifference=indifference,
    )
    return rule.feed(original, pruned), rule.used


def wealth(bets: Bets) -> tuple[float, float]:
    """Of the gambler on a sum above 0, and of the one on a sum below."""
    return float(bets._above.sum()), float(bets._below.sum())


def test_the_first_two_documents_worked_by_hand() -> None:
    """1,250 documents, a relative drop of at most 10%: contributions within [-0.9, 1].

    A lost document: fair 0, variance 10 * 0.08 / 10, so sqrt(0.08 * 1250) = 10 and stakes 0.25, 0.5, 1, 2, of which the last two
    are cut to 0.6 / 0.9 (above) and 0.6 / 1 (below). Its surprise is -0.9:
    above (0.775 + 0.55 + 0.4 + 0.4) / 4 = 0.53125, below (1.225 + 1.45 + 1.54 + 1.54) / 4 = 1.43875.

    A gained one: fair 0.9 / 1249 = 0.00072058, variance (0.81 + 0.8) / 11 - (0.9 / 11)^2 = 0.139669, stakes times 1250 / 1249
    over sqrt(0.139669 * 1250) = 13.21313: 0.189358, 0.378715, 0.757430, 1.514861, the last two cut to
    0.6 / 0.90072058 = 0.666133 (above) and 0.6 / 0.99927942 = 0.600433 (below). Its surprise is 0.99927942:
    above (0.775 * 1.189221 + 0.55 * 1.378442 + 2 * 0.4 * 1.665653) / 4 = 0.753078,
    below (1.225 * 0.810779 + 1.45 * 0.621558 + 2 * 1.54 * 0.4) / 4 = 0.781616.
    """
    margin = relative_margin(0.1)
    bets = Bets(1250, margin.low, margin.high)
    assert wealth(bets) == (1, 1)
    bets.add(margin.of(1, 0))
    assert wealth(bets) == pytest.approx((0.53125, 1.43875))
    assert bets.below(1.4387)
    assert not bets.below(1.4388)
    assert bets.above(0.5312)
    assert not bets.above(0.5313)
    bets.add(margin.of(0, 1))
    assert wealth(bets) == pytest.approx((0.753078, 0.781616), abs=1e-6)


def test_a_first_document_whose_stakes_are_not_cut() -> None:
    """20,000 documents: stakes 2.5, 5, 10 and 20 over sqrt(0.08 * 20000) = 40, whose mean is 0.234375."""
    margin = relative_margin(0.1)
    bets = Bets(20_000, margin.low, margin.high)
    bets.add(margin.of(1, 0))
    assert wealth(bets) == pytest.approx((1 - 0.9 * 0.234375, 1 + 0.9 * 0.234375))


def test_rounding_does_not_break_a_sum_of_zero() -> None:
    """One of ten lost, at most 10%: the contributions -0.9 and nine times 0.1 add up to less than 0 in floats."""
    margin = relative_margin(0.1)
    contributions = margin.of([1] * 10, [0] + [1] * 9)
    assert contributions.sum() < 0
    bets = Bets(10, margin.low, margin.high)
    for contribution in contributions:
        bets.add(contribution)
    assert bets.above(math.inf)
    assert not bets.below(math.inf)


def test_sums_side_by_side_are_each_alone() -> None:
    margins = [relative_margin(0.05), absolute_margin(0.2), score_margin(0.4)]
    lows, highs = [margin.low for margin in margins], [margin.high for margin in margins]
    together = Bets(30, lows, highs)
    alone = [Bets(30, low, high) for low, high in zip(lows, highs, strict=True)]
    for kind in np.random.default_rng(2).integers(0, 4, 30):
        contributions = [margin.of(*PAIRS[:, kind]) for margin in margins]
        together.add(contributions)
        for bets, contribution in zip(alone, contributions, strict=True):
            bets.add(contribution)
        for level in (0.5, 1, 2, 20):
            assert together.above(level).tolist() == [bool(bets.above(level)) for bets in alone]
            assert together.below(level).tolist() == [bool(bets.below(level)) for bets in alone]


def test_bets_that_are_none_are_refused() -> None:
    for total, low, high in ((0, -1, 1), (5, 1, 1), (5, 1, -1), (5, [-1, 0], [1, 0]), (5, math.nan, 1)):
        with pytest.raises(ValueError, match="no bets are possible"):
            Bets(total, low, high)
    bets = Bets(2, -1, 1)
    bets.add(0.5)
    bets.add(0.5)
    with pytest.raises(ValueError, match="all 2 documents were drawn"):
        bets.add(0.5)


SETS = np.array(list(combinations_with_replacement(range(4), 6)))  # all sets of six documents
ORDERS = np.array(list(permutations(range(6)))).T
SMALL_MARGINS = [relative_margin(0), relative_margin(0.25), absolute_margin(0.1), score_margin(0.5)]


def every_order(margin: Margin) -> NDArray[np.float64]:
    """Contributions of all small sets in all orders, (documents, sets, orders)."""
    return np.moveaxis(margin.of(*PAIRS)[SETS[:, ORDERS]], 1, 0)


@pytest.mark.parametrize("margin", SMALL_MARGINS, ids=str)
def test_a_gambler_wins_nothing_on_average_against_the_truth(margin: Margin) -> None:
    """Over all orders of a set, at each of its documents: exactly what it began with where the sum is 0, at most that else."""
    drawn = every_order(margin)
    bets = Bets(6, np.full(drawn.shape[1:], margin.low), margin.high)
    sums = drawn.sum(axis=0)[:, 0]
    assert (abs(sums) < 1e-9).any() or margin.constant == 0.1
    for contributions in drawn:
        bets.add(contributions)
        above, below = (side.sum(axis=0).mean(axis=1) for side in (bets._above, bets._below))
        assert (above[sums < 1e-9] < 1 + 1e-9).all()
        assert (below[sums > -1e-9] < 1 + 1e-9).all()
        assert above[abs(sums) < 1e-9] == pytest.approx(1)
        assert below[abs(sums) < 1e-9] == pytest.approx(1)


@pytest.mark.parametrize("margin", SMALL_MARGINS, ids=str)
def test_of_all_orders_of_a_set_at_most_the_stated_share_says_something_wrong(margin: Margin) -> None:
    drawn = every_order(margin)
    is_met = drawn.sum(axis=0)[:, 0] >= -1e-9
    error_rates = (0.5, 0.3, 0.2, 0.1, 0.05)
    for error_rate, found in zip(error_rates, stops(drawn.reshape(6, -1), margin, error_rates), strict=True):
        passed = found.passed.reshape(drawn.shape[1:]).mean(axis=1)
        wrong = np.where(is_met, 1 - passed, passed)
        assert wrong.max() <= error_rate
        assert error_rate < 0.5 or wrong.max() > 0.1, "at a wild rate some are wrong: the bets decide at all"


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=14),
    st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.5, 1.0]),
    st.integers(1, 14),
)
def test_a_rate_below_the_chance_of_any_order_leaves_the_exact_verdict(
    kinds: list[int], most: float, batch: int
) -> None:
    """14! orders are fewer than 1 / 1e-12: a single one on which a bet misleads would already be more than the error rate."""
    original, pruned = PAIRS[:, kinds]
    before, after = int(original.sum()), int(pruned.sum())
    rule = EarlyStopping([relative_margin(most)], total=len(kinds), error_rate=NEVER)
    for start in range(0, len(kinds), batch):
        rule.feed(original[start : start + batch].tolist(), pruned[start : start + batch].tolist())
    is_met = round((before - after) * 20) <= round(most * 20) * before
    assert rule.step is (Step.PASS if is_met else Step.FAIL)


@pytest.mark.parametrize(
    ("margin", "original", "pruned", "expected"),
    [
        # A mean of 1/2 of 4: two right are enough, two wrong are not yet too many.
        (score_margin(0.5), [0, 0], [1, 1], (Step.PASS, 2)),
        (score_margin(0.5), [0, 0, 0], [0, 0, 0], (Step.FAIL, 3)),
        (score_margin(0.5), [0, 0, 0], [0, 0, 1], (Step.GO_ON, 3)),
        # No loss at all: two gained outweigh whatever the other two lose; three lost outweigh a gain.
        (relative_margin(0), [0, 0], [1, 1], (Step.PASS, 2)),
        (relative_margin(0), [1, 1, 1], [0, 0, 0], (Step.FAIL, 3)),
        (relative_margin(0), [1, 1], [0, 0], (Step.GO_ON, 2)),
        # At most half is lost: one gained and one never right outweigh two lost.
        (relative_margin(0.5), [0, 0], [1, 0], (Step.PASS, 2)),
        (share_margin(0.5), [0, 0, 0], [1, 1, 1], (Step.FAIL, 3)),
    ],
)
def test_stops_as_early_as_arithmetic_allows(
    margin: Margin, original: list[float], pruned: list[float], expected: tuple[Step, int]
) -> None:
    assert decided(original, pruned, margin, total=4) == expected
    shorter = decided(original[:-1], pruned[:-1], margin, total=4)
    assert shorter == (Step.GO_ON, len(original) - 1), "a document earlier nothing is certain"


def test_bets_stop_before_arithmetic_does() -> None:
    """All 500 are kept: 450 gain 0.1 each, what the other 50 could lose at 0.9 each. A wealth of 1e300 is none of few documents."""
    exact = decided([1.0] * 500, [1.0] * 500, relative_margin(0.1), error_rate=1e-300)
    bold = decided([1.0] * 500, [1.0] * 500, relative_margin(0.1), error_rate=0.01)
    assert exact == (Step.PASS, 450)
    assert bold[0] is Step.PASS
    assert bold[1] < 100


def test_an_indifference_is_judged_either_way_until_all_documents_decide() -> None:
    """A mean of 1/2, give or take 1/4: the PASS needs 1/4 of 4, the FAIL a mean below 3/4."""
    margin = score_margin(0.5)
    assert decided([0], [1], margin, total=4, indifference=0.25) == (Step.PASS, 1)
    assert decided([0, 0], [0, 0], margin, total=4, indifference=0.25) == (Step.FAIL, 2)
    assert decided([0], [0], margin, total=4, indifference=0.25) == (Step.GO_ON, 1)
    # 0.45 is near enough to pass for 0.5, but once it is known it is less.
    assert decided([0] * 3, [0, 1, 0.35], margin, indifference=0.1) == (Step.FAIL, 3)
    assert decided([0] * 3, [0, 1, 0.5], margin, indifference=0.1) == (Step.PASS, 3)


def test_an_indifference_decides_a_close_call_sooner() -> None:
    population = zero_one(1319, accuracy=0.45, drop=0.05, gained=usual_gain(0.45))
    order = np.random.default_rng(6).permutation(1319)
    original, pruned = population.original[order].tolist(), population.pruned[order].tolist()
    used = [
        decided(original, pruned, relative_margin(0.07), error_rate=0.01, indifference=zone)[1]
        for zone in (0, 0.02, 0.05)
    ]
    assert used == sorted(used, reverse=True)
    assert used[-1] < 0.5 * used[0]


def test_sharing_the_error_rate_raises_the_bar_for_a_fail_alone() -> None:
    lost, kept = ([1.0] * 400, [0.0] * 400), ([1.0] * 400, [1.0] * 400)
    margin = relative_margin(0.5)
    alone, shared = (decided(*lost, margin, error_rate=0.01, checks=checks) for checks in (1, 50))
    assert alone[0] is shared[0] is Step.FAIL
    assert alone[1] < shared[1] < 200, "200 lost are certain"
    assert shared == decided(*lost, margin, error_rate=0.01 / 50)
    assert decided(*kept, margin, error_rate=0.01) == decided(*kept, margin, error_rate=0.01, checks=50)


@pytest.mark.parametrize("batch", [1, 7, 32, 400])
def test_where_it_stops_does_not_depend_on_the_batches(batch: int) -> None:
    rng = np.random.default_rng(8)
    population = f1_like(400, accuracy=0.6, drop=0.3, gained=0.03, rng=rng)
    order = rng.permutation(400)
    original, pruned = population.original[order].tolist(), population.pruned[order].tolist()
    margins = [relative_margin(0.1), score_margin(0.1)]
    rule = EarlyStopping(margins, total=400, error_rate=0.05)
    for start in range(0, 400, batch):
        rule.feed(original[start : start + batch], pruned[start : start + batch])
    assert (rule.step, rule.used) == decided(original, pruned, margins, error_rate=0.05)
    assert 0 < rule.used < 400


def test_one_threshold_of_several_fails_and_all_have_to_pass() -> None:
    kept = ([1.0] * 300, [1.0] * 300)
    strict, loose, broken = relative_margin(0.02), relative_margin(0.4), score_margin(1)
    strict_alone, loose_alone = (decided(*kept, margin, error_rate=0.01) for margin in (strict, loose))
    assert loose_alone[1] < strict_alone[1]
    assert decided(*kept, [loose, strict], error_rate=0.01) == (Step.PASS, strict_alone[1]), "the last one decides"
    half = ([1.0] * 300, [1.0, 0.0] * 150)
    fails = decided(*half, broken, error_rate=0.01)
    assert decided(*half, [share_margin(1), broken], error_rate=0.01) == fails
    assert fails[0] is Step.FAIL


def test_a_threshold_that_passed_once_stays_passed() -> None:
    """Six right pass a mean of at least 20%; by the time that the wrong ones behind them pass one of at most 80%, it has lost that again."""
    original, pruned = [0.0] * 400, [1.0] * 6 + [0.0] * 394
    least, most = score_margin(0.2), share_margin(0.8)
    first, last = (decided(original, pruned, margin, error_rate=0.05) for margin in (least, most))
    assert first[0] is last[0] is Step.PASS
    assert first[1] < last[1] < 400
    bets = Bets(400, least.low, least.high)
    for score in pruned[: last[1]]:
        bets.add(least.of(0, score))
    assert not bets.above(1 / 0.05)
    assert decided(original, pruned, [least, most], error_rate=0.05) == last


def test_a_bet_won_is_not_lost_to_what_follows() -> None:
    """The documents behind the decision would undo it."""
    original, pruned = [1.0] * 300, [1.0] * 100 + [0.0] * 200
    rule = EarlyStopping([relative_margin(0.3)], total=300, error_rate=0.01)
    assert rule.feed(original[:100], pruned[:100]) is Step.PASS
    used = rule.used
    assert used < 100
    assert rule.feed(original[100:], pruned[100:]) is Step.PASS
    assert rule.used == used, "what comes behind the decision is left out"


@pytest.mark.parametrize(
    ("original", "pruned", "margin", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], relative_margin(0.1), (Step.PASS, 3)),  # nothing could be lost
        ([0, 0, 0], [0, 0, 1], relative_margin(0.1), (Step.PASS, 3)),
        ([1, 1, 1, 1], [0, 0, 0, 0], relative_margin(0.5), (Step.FAIL, 3)),
        ([1, 1, 1, 1], [0, 0, 0, 0], relative_margin(1), (Step.PASS, 1)),  # a threshold of 100% allows all
        ([1, 1, 1, 1], [0, 0, 0, 0], absolute_margin(1), (Step.PASS, 1)),
        ([0, 0, 0, 0], [1, 1, 1, 1], relative_margin(0), (Step.PASS, 2)),  # all flips one way
        ([1, 0, 1, 0], [1, 0, 1, 0], relative_margin(0), (Step.PASS, 4)),  # none at all, and a threshold of 0%
        ([1, 0, 1, 0], [1, 0, 1, 0], score_margin(0), (Step.PASS, 1)),
        ([1, 0, 1, 0], [1, 0, 1, 0], score_margin(1), (Step.FAIL, 2)),
        ([1, 0, 1, 0], [1, 0, 1, 0], score_margin(0.5), (Step.PASS, 3)),
        ([1], [1], relative_margin(0.05), (Step.PASS, 1)),
        ([1], [0], relative_margin(0.05), (Step.FAIL, 1)),
        ([0.5], [0.475], relative_margin(0.05), (Step.PASS, 1)),  # equality passes
        ([0.5], [0.474], relative_margin(0.05), (Step.FAIL, 1)),
        ([1] * 10, [0] + [1] * 9, relative_margin(0.1), (Step.PASS, 10)),  # a sum below 0 in floats
        ([1, 1], [0, 1], relative_margin(0.5), (Step.PASS, 2)),
        ([0.25, 0.25], [0.5, 0.5], relative_margin(0.5, higher_is_better=False), (Step.FAIL, 2)),
    ],
)  # fmt: skip
def test_degenerate_sets(
    original: list[float], pruned: list[float], margin: Margin, expected: tuple[Step, int]
) -> None:
    assert decided(original, pruned, margin) == expected


def test_all_documents_decide_by_their_sum() -> None:
    """One of 20 lost is what the threshold allows, and the last document might have been another one."""
    assert decided([1] * 20, [0] + [1] * 19, relative_margin(0.05)) == (Step.PASS, 20)
    assert decided([1] * 20, [1] * 18 + [0] * 2, relative_margin(0.05)) == (Step.FAIL, 20)


@pytest.mark.parametrize(
    ("original", "pruned", "message"),
    [
        ([1.0, 0.0], [1.0], "expected two series of equal length, got 2 and 1"),
        ([1.0], [1.5], "not within"),
        ([-0.1], [1.0], "not within"),
        ([1.0], [math.nan], "not within"),
        ([math.inf], [1.0], "not within"),
        ([1.0] * 5, [1.0] * 4 + [2.0], "not within"),
    ],
)
def test_what_is_no_pair_of_scores_is_refused_before_a_bet(
    original: list[float], pruned: list[float], message: str
) -> None:
    rule = EarlyStopping([relative_margin(0.05)], total=10, error_rate=0.01)
    with pytest.raises(ValueError, match=message):
        rule.feed(original, pruned)
    assert (rule.step, rule.used) == (Step.GO_ON, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"margins": []},
        {"error_rate": 0},
        {"error_rate": 1},
        {"error_rate": math.nan},
        {"checks": 0},
        {"indifference": -0.1},
        {"total": 0},
    ],
)
def test_rules_that_are_none_are_refused(settings: dict[str, object]) -> None:
    valid: dict[str, object] = {"margins": [relative_margin(0.05)], "total": 10, "error_rate": 0.01}
    arguments: dict[str, object] = valid | settings
    with pytest.raises(ValueError, match=r"no rule for|no bets are possible"):
        EarlyStopping(arguments.pop("margins"), **arguments)  # type: ignore[arg-type]


def stopped() -> tuple[EarlyStopping, list[float], list[float]]:
    """A rule at its stop on a part of 1,319 documents, of which 20% of what was right is lost; and all of them."""
    population = zero_one(1319, accuracy=0.5, drop=0.2, gained=0.03)
    order = np.random.default_rng(1).permutation(1319)
    original, pruned = population.original[order].tolist(), population.pruned[order].tolist()
    rule = EarlyStopping([relative_margin(0.02)], total=1319, error_rate=0.01)
    rule.feed(original, pruned)
    assert 50 < rule.used < 700
    return rule, original, pruned


def test_the_interval_at_the_stop_holds_the_full_sets_value_and_is_wider_than_one_look() -> None:
    rule, original, pruned = stopped()
    once = relative_drop_interval(original[: rule.used], pruned[: rule.used], confidence=0.95, of=1319)
    relative, absolute = rule.relative_interval(0.95), rule.absolute_interval(0.95)
    mean = sum(original) / 1319
    lost = mean - sum(pruned) / 1319
    assert relative.low < lost / mean < relative.high
    assert absolute.low < lost < absolute.high
    assert relative.high - relative.low > 1.2 * (once.high - once.low)
    assert relative.low > 0.02, "it failed 2% at a smaller error rate than the interval's"
    surer = rule.relative_interval(0.99)
    assert surer.low < relative.low < relative.high < surer.high
    assert (relative.confidence, surer.confidence) == (0.95, 0.99)


def test_the_interval_is_what_neither_gambler_would_exclude() -> None:
    """A threshold at an end is decided at half of the error of the interval, and one inside by more than its resolution is not."""
    rule, original, pruned = stopped()
    seen = original[: rule.used], pruned[: rule.used]
    for interval, margin in (
        (rule.relative_interval(0.95), relative_margin),
        (rule.absolute_interval(0.95), absolute_margin),
    ):
        steps = [
            decided(*seen, margin(most), total=1319, error_rate=0.025)[0]
            for most in (interval.low, interval.low + 0.0011, interval.high - 0.0011, interval.high)
        ]
        assert steps == [Step.FAIL, Step.GO_ON, Step.GO_ON, Step.PASS]


def test_the_interval_of_a_smaller_is_better_metric_is_that_of_the_increase() -> None:
    _, original, pruned = stopped()
    wrong = [1 - score for score in original], [1 - score for score in pruned]
    other = EarlyStopping([absolute_margin(0.02, higher_is_better=False)], total=1319, error_rate=0.01)
    other.feed(*wrong)
    same = EarlyStopping([absolute_margin(0.02)], total=1319, error_rate=0.01)
    same.feed(original, pruned)
    assert (other.step, other.used) == (same.step, same.used)
    mirrored, plain = other.absolute_interval(0.95, higher_is_better=False), same.absolute_interval(0.95)
    assert (mirrored.low, mirrored.high) == pytest.approx((plain.low, plain.high))
    increase = other.relative_interval(0.95, higher_is_better=False)
    assert increase.low < sum(wrong[1]) / sum(wrong[0]) - 1 < increase.high


def test_the_interval_of_all_documents_is_a_point() -> None:
    rule = EarlyStopping([relative_margin(0.25)], total=8, error_rate=NEVER)
    rule.feed([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0])
    assert (rule.step, rule.used) == (Step.PASS, 8)
    relative, absolute = rule.relative_interval(0.95), rule.absolute_interval(0.95)
    assert relative.low == relative.high == pytest.approx(0.25)
    assert absolute.low == absolute.high == pytest.approx(0.125)
    relative, absolute = (
        interval(0.95, higher_is_better=False) for interval in (rule.relative_interval, rule.absolute_interval)
    )
    assert relative.low == relative.high == pytest.approx(-0.25)
    assert absolute.low == absolute.high == pytest.approx(-0.125)


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_what_was_excluded_once_stays_excluded(first: float) -> None:
    """Forty documents of one kind, then fifteen of the other: the end that the first ones set does not give way."""
    rule = EarlyStopping([relative_margin(0.5)], total=600, error_rate=1e-300)
    rule.feed([1.0] * 40, [first] * 40)
    before = rule.relative_interval(0.95)
    rule.feed([1.0] * 15, [1 - first] * 15)
    after = rule.relative_interval(0.95)
    assert before.low <= after.low < after.high <= before.high


def test_few_documents_leave_the_interval_wide_open() -> None:
    rule = EarlyStopping([relative_margin(0.05)], total=1000, error_rate=0.01)
    rule.feed([1, 0, 1], [1, 0, 0])
    relative, absolute = rule.relative_interval(0.95), rule.absolute_interval(0.95)
    assert relative.low == -math.inf
    assert 0.99 <= relative.high <= 1
    assert absolute.low <= -0.9
    assert absolute.high >= 0.9


def test_a_loss_beyond_everything_is_held_where_lower_is_better() -> None:
    """An error of 10% that became 50%: the relative loss is 4."""
    rng = np.random.default_rng(1)
    original, pruned = (np.arange(400) < 40).astype(float), (np.arange(400) < 200).astype(float)
    order = rng.permutation(400)
    rule = EarlyStopping([relative_margin(0.1, higher_is_better=False)], total=400, error_rate=0.01)
    assert rule.feed(original[order].tolist(), pruned[order].tolist()) is Step.FAIL
    found = rule.relative_interval(0.95, higher_is_better=False)
    assert 0.1 < found.low < 4 < found.high


def test_an_interval_is_never_the_wrong_way_round() -> None:
    """Everything is lost at first and nothing later, which no random order does: every loss is excluded."""
    rule = EarlyStopping([relative_margin(0.5)], total=600, error_rate=1e-12)
    rule.feed([1.0] * 120, [0.0] * 60 + [1.0] * 60)
    for found in (rule.relative_interval(0.95), rule.absolute_interval(0.95)):
        assert found.low <= found.high


def test_no_relative_loss_of_an_original_that_scores_nothing() -> None:
    rule = EarlyStopping([relative_margin(0.1)], total=3, error_rate=0.01)
    for found in (rule.relative_interval(0.95), rule.absolute_interval(0.95)):
        assert found.high - found.low >= 2, "nothing was drawn yet"
    rule.feed([0.0] * 3, [0.0] * 3)
    found = rule.relative_interval(0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_absolute_losses_lie_between_minus_one_and_one() -> None:
    rule = EarlyStopping([relative_margin(0.1)], total=100, error_rate=0.01)
    rule.feed([1.0], [1.0])
    found = rule.absolute_interval(0.95)
    assert -1 <= found.low <= -0.99
    assert 0.99 <= found.high <= 1
