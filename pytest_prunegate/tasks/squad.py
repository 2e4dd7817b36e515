"""SQuAD 2.0's exact match and F1, by the official definition, and the scorer of lm-eval's task squadv2.

Source: Rajpurkar, Jia, Liang 2018 (https://arxiv.org/abs/1806.03822) and its evaluation script
(https://rajpurkar.github.io/SQuAD-explorer/). Scores are exact fractions in [0, 1]. The official script drops gold
answers that normalise to nothing and takes "no answer" where none is left; a question without an answer is answered
right by nothing, and by nothing else.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.prepared import OwnScorer
from pytest_prunegate.tasks.scores import MetricScores, mean_scores
from pytest_prunegate.tasks.task_info import MetricInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.prepared import Document, PreparedTask
    from pytest_prunegate.tasks.scores import DocumentKey

UNANSWERABLE = "(unanswerable)"

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


_OF_ONE = {"exact": exact_match, "f1": f1}
_HAS_ANSWER, _NO_ANSWER, _BEST = "HasAns", "NoAns", "best"


class SquadV2(OwnScorer):
    """lm-eval's squadv2, which is written in Python, so that its YAML names no metric.

    A document has two requests: its answer, and the log-likelihood of "unanswerable", which the best_* metrics alone need.
    Questions share passages.
    """

    metrics = tuple(
        MetricInfo(name=f"{part}{base}", higher_is_better=True, is_mean=part != f"{_BEST}_")
        for part in ("", f"{_HAS_ANSWER}_", f"{_NO_ANSWER}_", f"{_BEST}_")
        for base in _OF_ONE
    )
    output_type = "generate_until"
    cluster_by = "context"

    def score(self, prepared: PreparedTask, metric: str, responses: Sequence[Response]) -> MetricScores:
        part, _, base = metric.rpartition("_")
        if base not in _OF_ONE or part not in {"", _HAS_ANSWER, _NO_ANSWER, _BEST}:
            raise TaskError(f"squadv2.{metric}: squadv2 has no metric of this name.")
        if part == _BEST:
            best = best_score([_abstention(document, base, responses) for document in prepared.documents])
            return MetricScores(
                by_document={}, aggregate=best, documents=len(prepared.documents), higher_is_better=True
            )
        scores: dict[DocumentKey, Fraction] = {
            document.doc_id: _score(document, base, responses)
            for document in prepared.documents if self.has_metric(document.content, metric)
        }  # fmt: skip
        if not scores:
            raise TaskError(
                f"squadv2.{metric}: none of the {len(prepared.documents)} documents is of this part. Raise the limit."
            )
        return mean_scores(scores, higher_is_better=True)

    def right_answers(self, content: Any) -> Sequence[str]:
        return list(filter(None, content["answers"]["text"])) or [UNANSWERABLE]

    def needs(self, request_type: str, metrics: Collection[str]) -> bool:
        return request_type != "loglikelihood" or any(metric.startswith(f"{_BEST}_") for metric in metrics)

    def has_metric(self, content: Any, metric: str) -> bool:
        return not metric.startswith((_HAS_ANSWER, _NO_ANSWER)) or metric.startswith(_part(content))

    def metrics_of_parts(self, metric: str) -> tuple[str, ...]:
        """Of f1 and exact those of the answerable questions: silence is right on the others."""
        return {"f1": ("HasAns_f1",), "exact": ("HasAns_exact",)}.get(metric, ())

    def parts(self, metric: str) -> Mapping[str, Callable[[Any], str]]:
        return {} if metric.startswith((_HAS_ANSWER, _NO_ANSWER)) else {"answerable": _part}


def _part(content: Any) -> str:
    """Whether a question has an answer, by the word in the metrics' names."""
    return _HAS_ANSWER if content["answers"]["text"] else _NO_ANSWER


def _score(document: Document, base: str, responses: Sequence[Response]) -> Fraction:
    return _OF_ONE[base](_generated(document, responses), document.content["answers"]["text"])


def _generated(document: Document, responses: Sequence[Response]) -> str:
    return responses[document.requests[0][0]].text or ""


def _abstention(document: Document, base: str, responses: Sequence[Response]) -> Abstention:
    if not document.requests[1]:
        raise TaskError(
            f"squadv2.best_{base}: its log-likelihoods were not asked for. Name the metric in the thresholds file."
        )
    loglikelihood = responses[document.requests[1][0]].loglikelihood
    assert loglikelihood is not None, "squadv2's second request is a log-likelihood"
    return Abstention(
        score=_score(document, base, responses),
        no_answer_probability=math.exp(loglikelihood),
        has_answer=bool(document.content["answers"]["text"]),
        is_empty=not _generated(document, responses),
    )
