"""Responses -> one score per document on every wanted metric, and whether a model has any preference among the choices of its documents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import Failure
from pytest_prunegate.tasks.scores import DocumentKey, MetricScores, OutputShares, exact, mean_scores

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pytest_prunegate.tasks.prepared import Document, PreparedTask


_ENOUGH = 8  # prompts that a model answers alike to the last bit: one that reads them does not
_FEWEST = 2  # choices that can tie


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Documents with several choices, and those whose best log-likelihood is that of more than one.

    `indifferent` says how the model shows that it has no preference at all; None where it has one.
    """

    documents: int
    tied: int
    indifferent: str | None


def choices_of(prepared: PreparedTask, responses: Sequence[Response]) -> Choices | None:
    """What a model's log-likelihoods say of its preferences; None for a task without choices."""
    if getattr(prepared.task, "OUTPUT_TYPE", None) != "multiple_choice":
        return None
    found = [
        values
        for document in prepared.documents
        if len(values := _values(prepared, document.requests, responses)) >= _FEWEST
    ]
    if not found:
        return None
    of_each = [[likelihood for _, likelihood in values] for values in found]
    return Choices(
        documents=len(found),
        tied=sum(values.count(max(values)) > 1 for values in of_each),
        indifferent=_indifference(prepared, found),
    )


def _values(
    prepared: PreparedTask, places: Sequence[Sequence[int]], responses: Sequence[Response]
) -> list[tuple[str | None, float]]:
    """A document's choices, each with its log-likelihood."""
    chosen = [position for positions in places for position in positions[:1]]
    return [
        (prepared.requests[position].continuation, likelihood) for position in chosen
        if (likelihood := responses[position].loglikelihood) is not None
    ]  # fmt: skip


def _indifference(prepared: PreparedTask, found: Sequence[Sequence[tuple[str | None, float]]]) -> str | None:
    if all(len({likelihood for _, likelihood in values}) == 1 for values in found):
        return "all choices have the same log-likelihood, in every document"
    contexts = {request.context for request in prepared.requests}
    if len(found) >= _ENOUGH and len(contexts) >= _ENOUGH and all(values == found[0] for values in found):
        return "its log-likelihoods are the same whatever the prompt"
    return None


def joined_choices(parts: Sequence[Choices]) -> Choices | None:
    """Those of several tasks together, which are indifferent where all of them are; None where there are none."""
    if not parts:
        return None
    reasons = [part.indifferent for part in parts]
    return Choices(
        documents=sum(part.documents for part in parts), tied=sum(part.tied for part in parts),
        indifferent=reasons[0] if all(reasons) else None,
    )  # fmt: skip


MetricKey = tuple[str, str]  # lm-eval's metric and filter
_NAMED, _SHOWN = 3, 300  # documents in a message, and characters of what each raised; the log has all


class Scorer:
    """One model's responses to one task, scored metric by metric as they are asked for.

    Args:
        prepared: the task.
        responses: one for each of the task's requests, in their order; or why there is none.
        model: how messages name it.
    """

    def __init__(self, prepared: PreparedTask, responses: Sequence[Response | Failure], *, model: str) -> None:
        self._prepared = prepared
        self._responses = [Response() if isinstance(response, Failure) else response for response in responses]
        self._failures = {place: found for place, found in enumerate(responses) if isinstance(found, Failure)}
        self._model = model
        self._values: dict[str, dict[int, dict[str, Any]]] = {}
        self._extracted: dict[str, dict[int, str]] = {}
        self._scores: dict[MetricKey, MetricScores] = {}
        self._choices: Choices | None = None

    def score(self, key: MetricKey) -> MetricScores:
        """Scores of one metric after one filter, computed once.

        Raises:
            TaskError: the task has no such metric, the model gave no response to a document, a document cannot be scored,
                or no document has the metric.
        """
        if key not in self._scores:
            self._refuse_failures()
            self._scores[key] = self._score(key)
        return self._scores[key]

    def _score(self, key: MetricKey) -> MetricScores:
        metric, name = key
        if self._prepared.own:
            return self._prepared.own.score(self._prepared, metric, self._responses)
        if name not in self._values:
            self._values[name] = _values_of_filter(self._prepared, name, self._responses)
            self._extracted[name] = _extracted(self._prepared, name)
        return _aggregate(self._prepared, key, self._values[name])

    def _refuse_failures(self) -> None:
        """A document without a response has no score, and leaving it out would flatter a model that fails on it."""
        found: dict[int, str] = {}
        for document in self._prepared.documents:
            for place in (place for places in document.requests for place in places if place in self._failures):
                found.setdefault(document.doc_id, self._failures[place].reason)
        if found:
            raise TaskError(
                f"{self._prepared.name}: the {self._model} raised on {_documents(found)}, and again when asked alone. The other documents were "
                "measured. The traceback is in evaluation.log; the same command asks again."
            )

    def response(self, position: int) -> Response | Failure:
        """The response to one of the task's requests, or why there is none."""
        return self._failures.get(position, self._responses[position])

    def extracted(self, doc_id: int) -> dict[str, str]:
        """What filters made of the output to a document, by filter: of those that a score was wanted of, and left one text."""
        return {name: found[doc_id] for name, found in self._extracted.items() if doc_id in found}

    def truncated(self) -> int:
        """How many requests lost the beginning of their prompt."""
        return sum(response.truncated for response in self._responses)

    def choices(self) -> Choices | None:
        """What the log-likelihoods say of the model's preferences; None for a task without choices."""
        if not self._failures and self._choices is None:
            self._choices = choices_of(self._prepared, self._responses)
        return self._choices

    def output_scores(self, *, cut: bool) -> dict[int, Fraction]:
        """Each document's share of empty, or of cut, outputs.

        Raises:
            TaskError: the model gave no response to a document.
        """
        self._refuse_failures()
        return output_scores(self._prepared, self._responses, cut=cut)

    def shares(self) -> OutputShares | None:
        """Shares of empty and of cut outputs among those that there are; None for a task that generates nothing."""
        return output_shares(self._prepared, self._responses, without=self._failures)


def _values_of_filter(prepared: PreparedTask, name: str, responses: Sequence[Response]) -> dict[int, dict[str, Any]]:
    """What lm-eval's ``process_results`` says of each document after a filter, by document id."""
    ensembles = {ensemble.name: ensemble for ensemble in prepared.task._filters}  # noqa: SLF001 - lm-eval offers no other way to them
    if name not in ensembles:
        raise TaskError(f"{prepared.name}: the task has no filter {name}; it has {', '.join(ensembles)}.")
    instances = []
    for document in prepared.documents:
        for instance, positions in zip(document.instances, document.requests, strict=True):
            instance.resps = [_as_lm_eval(responses[position]) for position in positions]
            instance.filtered_resps = {}
            instances.append(instance)
    failures: dict[int, Exception] = {}
    found: dict[int, dict[str, Any]] = {}
    is_filtered = _filtered(ensembles[name], instances)
    for document in prepared.documents:
        try:
            if not is_filtered:
                ensembles[name].apply(list(document.instances))
            found[document.doc_id] = _process(prepared, document, name)
        except Exception as error:  # noqa: BLE001 - tasks are foreign code
            failures[document.doc_id] = error
    if failures:
        reasons = {doc_id: reason_of(error) for doc_id, error in failures.items()}
        raise TaskError(
            f"{prepared.name}: {_documents(reasons)} cannot be scored. Its traceback is in evaluation.log. The responses are kept; after "
            "the task is mended the run goes on from there."
        ) from ExceptionGroup(f"scoring of {prepared.name}", list(failures.values()))
    return found


def _extracted(prepared: PreparedTask, name: str) -> dict[int, str]:
    """What a filter that was just applied left of each document's one output, where that is a text."""
    texts = {
        document.doc_id: document.instances[0].filtered_resps[name]
        for document in prepared.documents
        if len(document.instances) == 1
    }
    return {doc_id: text for doc_id, text in texts.items() if isinstance(text, str)}


def _filtered(ensemble: Any, instances: list[Any]) -> bool:
    """Apply a filter to all instances at once, as lm-eval does; False where it raises on one of them."""
    try:
        ensemble.apply(instances)
    except Exception:  # noqa: BLE001 - it is applied document by document then, and what it raises is told
        return False
    return True


def _process(prepared: PreparedTask, document: Document, name: str) -> dict[str, Any]:
    """A document's scores; a scorer that raises is asked once more."""
    filtered = [instance.filtered_resps[name] for instance in document.instances]
    try:
        return dict(prepared.task.process_results(document.content, filtered))
    except Exception:  # noqa: BLE001 - tasks are foreign code; a second time it is told
        return dict(prepared.task.process_results(document.content, filtered))


def _short(reason: str) -> str:
    return reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}..."


def _documents(reasons: Mapping[int, str]) -> str:
    """Documents with what was raised on them, as many as fit into a message."""
    shown = "; ".join(f"document {doc_id} ({_short(reason)})" for doc_id, reason in [*reasons.items()][:_NAMED])
    more = len(reasons) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _as_lm_eval(response: Response) -> str | float | tuple[float, bool]:
    if response.loglikelihood is None:
        return response.text or ""
    if response.greedy is None:  # a rolling log-likelihood
        return response.loglikelihood
    return response.loglikelihood, response.greedy


def _aggregate(prepared: PreparedTask, key: MetricKey, values: dict[int, dict[str, Any]]) -> MetricScores:
    metric = key[0]
    task, name = prepared.task, f"{prepared.name}.{metric}"
    of_document = {doc_id: result[metric] for doc_id, result in values.items() if metric in result}
    if not of_document:
        known = sorted({known for result in values.values() for known in result})
        raise TaskError(f"{name}: no document has this metric. The task's documents have: {', '.join(known)}.")
    direction = task.higher_is_better().get(metric)
    if direction is None:
        raise TaskError(
            f"{name}: lm-eval does not say whether higher is better for this metric, so no loss can be told."
        )
    aggregation = task.aggregation().get(metric)
    if (
        aggregation is None or getattr(aggregation, "__name__", "") == "mean"
    ):  # lm-eval, too, takes the mean where none is named
        scores: dict[DocumentKey, Fraction] = {
            doc_id: _exact_of(name, doc_id, value) for doc_id, value in of_document.items()
        }
        return mean_scores(scores, higher_is_better=bool(direction))
    try:
        aggregate = float(aggregation(list(of_document.values())))
    except Exception as error:  # tasks are foreign code
        raise TaskError(
            f"{name}: the metric over {len(of_document)} documents cannot be computed: {reason_of(error)}. The responses are kept; after the task "
            "is mended the run goes on from there."
        ) from error
    if not math.isfinite(aggregate):
        raise TaskError(f"{name}: the metric over {len(of_document)} documents is {aggregate}.")
    return MetricScores(
        by_document={},
        aggregate=exact(aggregate),
        documents=len(of_document),
        higher_is_better=bool(direction),
        losses=_losses(of_document) if getattr(aggregation, "__name__", "") == "weighted_perplexity" else {},
    )


def _losses(of_document: dict[int, Any]) -> dict[DocumentKey, tuple[float, float]]:
    """lm-eval's pairs of a log-likelihood and a number of words or bytes, with the sign of a loss."""
    return {doc_id: (-float(loglikelihood), float(size)) for doc_id, (loglikelihood, size) in of_document.items()}


def _exact_of(name: str, doc_id: int, value: Any) -> Fraction:
    try:
        return exact(float(value))
    except (TypeError, ValueError) as error:
        raise TaskError(f"{name}: the score of document {doc_id} is no finite number: {value!r}.") from error


def output_shares(
    prepared: PreparedTask, responses: Sequence[Response], *, without: Collection[int] = ()
) -> OutputShares | None:
    """Shares of empty and of cut outputs, some places left out; None for a task that generates nothing."""
    outputs = [
        response
        for place, (request, response) in enumerate(zip(prepared.requests, responses, strict=True))
        if request.kind == "generate_until" and place not in without
    ]
    if not outputs:
        return None
    empty = sum(not (response.text or "").strip() for response in outputs)
    unknown = any(response.cut is None for response in outputs)
    cut = None if unknown else Fraction(sum(bool(response.cut) for response in outputs), len(outputs))
    return OutputShares(outputs=len(outputs), empty=Fraction(empty, len(outputs)), cut=cut)


def output_scores(prepared: PreparedTask, responses: Sequence[Response], *, cut: bool) -> dict[int, Fraction]:
    """Each document's share of outputs that are empty, or cut; nothing where outputs and documents do not go one to one.

    Documents with the same prompt share an output, which then counts once among the outputs.
    """
    found: dict[int, Fraction] = {}
    outputs = 0
    for document in prepared.documents:
        own = [
            responses[position] for positions in document.requests for position in positions
            if prepared.requests[position].kind == "generate_until"
        ]  # fmt: skip
        outputs += len(own)
        if own:
            hits = sum(bool(response.cut) if cut else not (response.text or "").strip() for response in own)
            found[document.doc_id] = Fraction(hits, len(own))
    distinct = sum(request.kind == "generate_until" for request in prepared.requests)
    return found if outputs == distinct and len(found) == len(prepared.documents) else {}
