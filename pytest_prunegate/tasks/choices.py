"""Whether a model has any preference among the choices of its documents, and how often its best ones tie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.prepared import PreparedTask

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
