"""Which prompts do not fit a model. Needs its tokenizer, and no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.tokenizers import encodings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions, Request

_NAMED_DOCUMENTS = 5
_BOUNDED = ("generate_until", "loglikelihood")  # rolling requests and windows are cut to length on purpose


def too_long(facts: ModelFacts, requests: Sequence[Request], conditions: Conditions) -> dict[Request, str]:
    """Requests that lm-eval would cut from the left, each with what it needs and what there is.

    A generation needs room for its prompt and all of its new tokens; a log-likelihood needs room for the prompt and
    all but the last token of the continuation, or for all of it where a server generates a token behind it.

    Raises:
        ModelError: the tokenizer cannot be loaded.
        TaskError: lm-eval does not take a request's generation arguments.
    """
    bounded = [request for request in requests if request.kind in _BOUNDED]
    texts = [request.context + (request.continuation or "") for request in bounded]
    found = {}
    for request, length in zip(bounded, map(len, encodings(facts, texts)), strict=True):
        new_tokens = 0 if request.gen_kwargs is None else _new_tokens(request, conditions)
        unread = 1 if request.gen_kwargs is None and not facts.served else 0
        needed = length + new_tokens - unread
        if needed > conditions.max_length:
            parts = f" ({needed - new_tokens} of prompt and {new_tokens} to generate)" if new_tokens else ""
            found[request] = f"{needed} tokens{parts}, the model takes {conditions.max_length}"
    return found


def _new_tokens(request: Request, conditions: Conditions) -> int:
    from lm_eval.models.utils import normalize_gen_kwargs

    arguments = request.arguments[1]
    try:
        return int(normalize_gen_kwargs(arguments, conditions.max_gen_toks)["max_gen_toks"])
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"lm-eval does not take these generation arguments: {arguments}: {error} Look at gen_kwargs."
        ) from error


def name_documents(prepared: PreparedTask, facts: ModelFacts, reasons: Mapping[Request, str]) -> list[str]:
    """A line for each document that one of these requests belongs to."""
    if not reasons:
        return []
    affected = {position: reasons[request] for position, request in enumerate(prepared.requests) if request in reasons}
    lines = []
    for document in prepared.documents:
        hits = [affected[position] for positions in document.requests for position in positions if position in affected]
        if hits:
            lines.append(f"document {document.doc_id}, {facts.title}: {hits[0]}")
    return lines


def refuse_truncation(prepared: PreparedTask, problems: list[str]) -> None:
    """Refuse prompts that would lose their beginning.

    Raises:
        TaskError: always; it names the first documents.
    """
    shown = "\n".join(f"  {problem}" for problem in problems[:_NAMED_DOCUMENTS])
    more = f"\n  and {len(problems) - _NAMED_DOCUMENTS} more" if len(problems) > _NAMED_DOCUMENTS else ""
    raise TaskError(
        f"{prepared.name}: prompts do not fit, and would lose their beginning:\n{shown}{more}\n"
        "Use fewer examples (num_fewshot), or allow it with `truncate: allow` in the thresholds file."
    )
