"""Intervals between two candidates hold what they are of as often as they say, and wherever data stops them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pytest_prunegate.stats.intervals import Stratum
from pytest_prunegate.verdict.loss_interval import change_interval, stopped_change_interval
from pytest_prunegate.verdict.paired import Paired

DOCUMENTS, SAMPLE, RUNS = 400, 100, 150


def paired(
    against: np.ndarray, candidate: np.ndarray, *, total: int = DOCUMENTS, higher_is_better: bool = True
) -> Paired:
    return Paired(
        keys=tuple(range(len(against))), original=tuple(map(float, against)), pruned=tuple(map(float, candidate)), total=total,
        higher_is_better=higher_is_better, is_sequence=True,
    )  # fmt: skip


def population(draw: np.random.Generator, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two candidates that agree on most documents; `gap` is what the second lacks."""
    against = draw.random(DOCUMENTS) < 0.6
    flips = draw.random(DOCUMENTS)
    candidate = np.where(against, flips > 0.08 + gap, flips < 0.08)
    return against.astype(float), candidate.astype(float)


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_a_sample_tells_of_all_documents(gap: float) -> None:
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(4 * RUNS):
        against, candidate = population(draw, gap)
        order = draw.permutation(DOCUMENTS)[:SAMPLE]
        low, high = change_interval(paired(against[order], candidate[order]), confidence=0.95, of_full_run=True)
        assert low is not None
        assert high is not None
        held += low <= candidate.mean() - against.mean() <= high
    assert held / (4 * RUNS) >= 0.93


@pytest.mark.slow
def test_a_stop_that_waits_for_a_difference_does_not_fool_it() -> None:
    """Looked at until the usual interval misses what all documents say: the worst that a stop could do."""
    draw = np.random.default_rng(2)
    fooled, held = 0, 0
    for _ in range(RUNS):
        against, candidate = population(draw, 0.0)
        order = draw.permutation(DOCUMENTS)
        truth = candidate.mean() - against.mean()
        for count in range(20, 121, 10):
            looked = paired(against[order[:count]], candidate[order[:count]])
            low, high = change_interval(looked, confidence=0.95, of_full_run=True)
            if low is not None and high is not None and not low <= truth <= high:
                fooled += 1
                break
        low, high = stopped_change_interval(looked, confidence=0.95)
        held += (low is None or low <= truth) and (high is None or truth <= high)
    assert held / RUNS >= 0.95
    assert fooled / RUNS > 0.05, "the usual one would have been fooled"


def test_a_smaller_error_is_a_wider_interval() -> None:
    against, candidate = population(np.random.default_rng(3), 0.1)
    usual, shared = (
        change_interval(paired(against, candidate), confidence=at, of_full_run=False) for at in (0.95, 0.9967)
    )
    assert shared[0] < usual[0] < usual[1] < shared[1]  # type: ignore[operator]


def test_a_difference_has_its_sign_whichever_direction_is_better() -> None:
    """Candidate minus the other, in score units; a perplexity's is relative, and negative where it is larger."""
    against, candidate = np.array([1.0, 0, 0, 0] * 50), np.array([1.0, 1, 1, 0] * 50)
    for higher in (True, False):
        low, high = change_interval(
            paired(against, candidate, total=200, higher_is_better=higher), confidence=0.95, of_full_run=False
        )
        assert low is not None
        assert high is not None
        assert low < 0.5 < high
        assert low > 0
    text = replace(paired(against + 1, against + 1.5, total=200), sizes=(1.0,) * 200, higher_is_better=False)
    low, high = change_interval(text, confidence=0.95, of_full_run=False)
    assert low == pytest.approx(1 - np.exp(0.5))
    assert high == pytest.approx(1 - np.exp(0.5))


def test_a_groups_members_keep_their_weights() -> None:
    """Two members, of which the smaller weighs as much as the larger."""
    from pytest_prunegate.verdict.candidate_pairs import _counted

    strata = (Stratum(drawn=10, of=10, weight=0.5), Stratum(drawn=30, of=30, weight=0.5))
    made = replace(paired(np.zeros(40), np.array([1.0] * 10 + [0.0] * 30), total=40), strata=strata)
    found = _counted(made)
    assert (found.candidate, found.against, found.better, found.worse) == (0.5, 0.0, 10, 0)
