"""SQuAD 2.0's scores against values worked by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from pytest_prunegate.tasks.squad import Abstention, best_score, exact_match, f1, normalize_answer


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Cat, a hat!", "cat hat"),
        ("  An  apple\ta\nday ", "apple day"),
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("the", ""),
        ("—", "—"),  # only ASCII punctuation is removed
    ],
)
def test_normalize(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "score"),
    [
        ("The cat.", ["cat", "dog"], 1, 1),
        ("big cat", ["cat"], 0, Fraction(2, 3)),  # precision 1/2, recall 1
        ("cat cat", ["cat"], 0, Fraction(2, 3)),  # a word counts as often as it is there
        ("black cat sat", ["the black cat", "sat"], 0, Fraction(4, 5)),  # the best of both answers
        ("dog", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        ("", [], 1, 1),  # an unanswerable question is answered by nothing
        ("unanswerable", [], 0, 0),
        ("the", [], 1, 1),
        ("...", ["?"], 1, 1),  # an answer that normalises to nothing is none
        ("cat", ["", "cat"], 1, 1),
        ("", ["the", "cat"], 0, 0),
    ],
)
def test_scores(prediction: str, answers: list[str], em: int, score: Fraction) -> None:
    assert exact_match(prediction, answers) == em
    assert f1(prediction, answers) == score


def document(score: int, *, probability: float, has_answer: bool, is_empty: bool = False) -> Abstention:
    return Abstention(
        score=Fraction(score), no_answer_probability=probability, has_answer=has_answer, is_empty=is_empty
    )


def test_best_threshold() -> None:
    """Two unanswerable (2 points when all abstain), then the sure one right: 3; then an unanswerable answered: 2; then right: 3."""
    documents = [
        document(1, probability=0.1, has_answer=True),
        document(0, probability=0.2, has_answer=False),
        document(1, probability=0.3, has_answer=True),
        document(0, probability=0.9, has_answer=False),
    ]
    assert best_score(documents) == Fraction(3, 4)
    assert math.isclose(float(best_score(documents[1:2])), 1.0)
