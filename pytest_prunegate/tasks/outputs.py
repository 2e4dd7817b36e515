"""Which of a model's outputs are empty, or cut at the token limit."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.tasks.scores import OutputShares

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.prepared import PreparedTask


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
