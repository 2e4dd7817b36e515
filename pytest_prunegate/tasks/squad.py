"""SQuAD 2.0's exact match and F1 for one document, by the official definition.

Source: Rajpurkar, Jia, Liang 2018 (https://arxiv.org/abs/1806.03822) and its evaluation script
(https://rajpurkar.github.io/SQuAD-explorer/). Scores are exact fractions in [0, 1]. The official script drops gold
answers that normalise to nothing and takes "no answer" where none is left; a question without an answer is answered
right by nothing, and by nothing else.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles and surplus white space."""
    words = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()
    return " ".join(words)


def exact_match(prediction: str, answers: Sequence[str]) -> Fraction:
    """1 where the prediction equals an answer after normalisation, else 0."""
    normalized = normalize_answer(prediction)
    return Fraction(int(any(normalized == normalize_answer(answer) for answer in _gold(answers))))


def f1(prediction: str, answers: Sequence[str]) -> Fraction:
    """Largest harmonic mean of precision and recall of words over the answers."""
    return max(_f1_of_one(prediction, answer) for answer in _gold(answers))


def _gold(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalize_answer(answer)] or [""]


def _f1_of_one(prediction: str, answer: str) -> Fraction:
    predicted, gold = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not predicted or not gold:
        return Fraction(int(predicted == gold))
    shared = sum((Counter(predicted) & Counter(gold)).values())
    return Fraction(2 * shared, len(predicted) + len(gold))


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """What the best threshold on the no-answer probability needs to know of one document."""

    score: Fraction
    no_answer_probability: float
    has_answer: bool
    is_empty: bool


def best_score(documents: Sequence[Abstention]) -> Fraction:
    """Mean score at the no-answer threshold that is best for it (the script's find_best_thresh).

    Documents are declared unanswerable from the most certain answers on; the best point on the way counts.
    """
    current = best = Fraction(sum(not document.has_answer for document in documents))
    for document in sorted(documents, key=lambda document: document.no_answer_probability):
        if document.has_answer:
            current += document.score
        elif not document.is_empty:
            current -= 1
        best = max(best, current)
    return best / len(documents)
