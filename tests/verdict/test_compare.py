"""Verdicts are exact: every boundary at 200 documents, in both directions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.rules import MAX_ABSOLUTE_DROP, MAX_RELATIVE_DROP, MIN_RECOVERY, MIN_SCORE
from pytest_prunegate.input.thresholds import Threshold
from pytest_prunegate.tasks.checks import Check, Measure
from pytest_prunegate.tasks.scores import MetricScores, exact, mean_scores
from pytest_prunegate.verdict.compare import compare
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from pytest_prunegate.input.rule import Rule

N = 200


def check(rule: Rule, value: str) -> Check:
    threshold = Threshold(rule=rule, value=Decimal(value), text=value, line=1)
    return Check(
        task="t",
        name="m",
        measure=Measure.METRIC,
        metric="m",
        filter="none",
        thresholds=(threshold,),
        file="f.yaml",
        line=1,
    )


def scores(right: int, *, documents: int = N, higher_is_better: bool = True) -> MetricScores:
    """A mean of floats, as lm-eval hands them over."""
    return mean_scores(
        {i: exact(1.0 if i < right else 0.0) for i in range(documents)}, higher_is_better=higher_is_better
    )


@pytest.mark.parametrize("percent", [1, 2, 4, 5, 10, 20, 25, 50])
def test_equality_passes_and_one_document_more_fails(percent: int) -> None:
    """Wherever the allowed loss is a whole number of documents, losing just so many passes and one more fails."""
    boundaries = 0
    for right in range(1, N + 1):
        allowed = Fraction(right * percent, 100)
        if allowed.denominator != 1:
            continue
        boundaries += 1
        rule = check(MAX_RELATIVE_DROP, str(Decimal(percent) / 100))
        assert compare(rule, scores(right), scores(right - int(allowed))).outcome is Outcome.PASS, right
        if allowed < right:
            assert compare(rule, scores(right), scores(right - int(allowed) - 1)).outcome is Outcome.FAIL, right
    assert boundaries >= N * percent // 100


@pytest.mark.parametrize("right", range(5, 100, 5))
def test_equality_passes_where_lower_is_better(right: int) -> None:
    rule = check(MAX_RELATIVE_DROP, "0.2")
    before = scores(right, higher_is_better=False)
    assert compare(rule, before, scores(right + right // 5, higher_is_better=False)).outcome is Outcome.PASS
    assert compare(rule, before, scores(right + right // 5 + 1, higher_is_better=False)).outcome is Outcome.FAIL
    assert compare(rule, before, scores(0, higher_is_better=False)).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("rule", "value", "passing", "failing"),
    [
        (MAX_ABSOLUTE_DROP, "0.03", 94, 93),  # 0.50 -> 0.47
        (MIN_RECOVERY, "0.95", 95, 94),
        (MIN_SCORE, "0.1", 20, 19),
        (MAX_RELATIVE_DROP, "0", 100, 99),
        (MAX_RELATIVE_DROP, "1", 0, None),
    ],
)
def test_each_rule_at_its_boundary(rule: Rule, value: str, passing: int, failing: int | None) -> None:
    before = scores(100)
    assert compare(check(rule, value), before, scores(passing)).outcome is Outcome.PASS
    if failing is not None:
        broken = compare(check(rule, value), before, scores(failing))
        assert broken.outcome is Outcome.FAIL
        assert [threshold.rule for threshold in broken.broken] == [rule]


def test_fractions_of_f1_are_exact() -> None:
    """Three scores of 2/3, computed in floats, against 1.9: the drop is exactly 5%."""
    before = mean_scores({0: exact(2 / 3), 1: exact(2 / 3), 2: exact(2 / 3)}, higher_is_better=True)
    after = mean_scores({0: exact(1.9 / 3), 1: exact(1.9 / 3), 2: exact(1.9 / 3)}, higher_is_better=True)
    comparison = compare(check(MAX_RELATIVE_DROP, "0.05"), before, after)
    assert comparison.relative_drop == Fraction(1, 20)
    assert comparison.outcome is Outcome.PASS


def test_numbers_of_a_comparison() -> None:
    before = mean_scores({0: Fraction(1), 1: Fraction(1), 2: Fraction(0), 3: Fraction(0)}, higher_is_better=True)
    after = mean_scores({0: Fraction(0), 1: Fraction(1), 2: Fraction(1, 4), 3: Fraction(0)}, higher_is_better=True)
    comparison = compare(check(MAX_RELATIVE_DROP, "0.5"), before, after)
    assert (comparison.original, comparison.pruned) == (Fraction(1, 2), Fraction(5, 16))
    assert (comparison.difference, comparison.drop) == (Fraction(-3, 16), Fraction(3, 16))
    assert (comparison.relative_drop, comparison.recovery) == (Fraction(3, 8), Fraction(5, 8))
    assert (comparison.lost, comparison.gained, comparison.documents) == (1, 1, 4)


@pytest.mark.parametrize("rule", [MAX_RELATIVE_DROP, MIN_RECOVERY])
def test_a_baseline_of_zero_has_no_relative_drop(rule: Rule) -> None:
    with pytest.raises(TaskError, match=r"f\.yaml:1: t\.m: the original model scores 0 on 200 documents"):
        compare(check(rule, "0.5"), scores(0), scores(10))


def test_a_baseline_of_zero_under_an_absolute_threshold() -> None:
    comparison = compare(check(MAX_ABSOLUTE_DROP, "0.1"), scores(0), scores(10))
    assert comparison.outcome is Outcome.PASS
    assert comparison.relative_drop is None
    assert comparison.recovery is None


def test_other_documents_are_refused() -> None:
    with pytest.raises(TaskError, match="not scored on the same documents"):
        compare(check(MIN_SCORE, "0"), scores(1), scores(1, documents=N - 1))


def test_exact_leaves_other_numbers_alone() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(5.123456789012345) == Fraction(5.123456789012345)
    with pytest.raises(ValueError, match="nan"):
        exact(float("nan"))
