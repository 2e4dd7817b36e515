"""What of a task's prompts would make a figure say nothing: choices without a token, prompts that hold their answer, doubles."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.tokenizers import encodings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.tasks.prepared import Document, PreparedTask
    from pytest_prunegate.tasks.requests import Request

_NAMED = 5
_SHORT = 12  # characters: a shorter question stands in many prompts
_SHOWN = 60
_BLANKS = re.compile(r"\s+")


def refuse_unscored(prepared: PreparedTask, facts: ModelFacts, requests: Sequence[Request]) -> None:
    """See that every choice adds a token to its prompt.

    lm-eval scores the tokens behind the prompt's; where the tokenizer merges a choice into the prompt, there are none, and their
    log-likelihood of 0 is that of certainty.

    Args:
        prepared: the task.
        facts: the model, whose tokenizer says it.
        requests: those of the task that are to be asked.

    Raises:
        TaskError: some add none; it names documents and choices.
        ModelError: the tokenizer cannot be loaded.
    """
    asked = [one for one in requests if one.kind == "loglikelihood" and one.continuation is not None]
    if not asked:
        return
    texts = [_split(request) for request in asked]
    contexts = list(dict.fromkeys(context for context, _ in texts))
    lengths = dict(zip(contexts, map(len, encodings(facts, contexts)), strict=True))
    whole = map(len, encodings(facts, [context + continuation for context, continuation in texts]))
    empty = {
        request for request, (context, _), length in zip(asked, texts, whole, strict=True)
        if length <= (lengths[context] if context else 0)
    }  # fmt: skip
    if empty:
        lines = list(_lines(prepared, empty))
        more = f"\n  and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
        raise TaskError(
            f"{prepared.name}: choices add no token to their prompts, as the {facts.title} encodes them, so that nothing of them is scored, and "
            "they count as certain:\n" + "\n".join(lines[:_NAMED]) + f"{more}\n"
            "Let the prompt end before a blank or a whole word (target_delimiter, doc_to_text), or take these documents out."
        )


def _split(request: Request) -> tuple[str, str]:
    """Prompt and choice as lm-eval encodes them: blanks at the prompt's end go to the choice."""
    context = request.context.rstrip() if request.context else ""
    return context, request.context[len(context) :] + (request.continuation or "")


def _lines(prepared: PreparedTask, empty: set[Request]) -> Iterator[str]:
    for document in prepared.documents:
        for number, positions in enumerate(document.requests):
            for request in (prepared.requests[position] for position in positions[:1]):
                if request in empty:
                    yield f"  document {document.doc_id}, choice {number} {_shown(request.continuation or '')!r} behind {_shown(request.context)!r}"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"


def prompt_notes(prepared: PreparedTask) -> Iterator[str]:
    """What a reader must know of a task's prompts: that they hold their own answers, that documents ask the same.

    Raises:
        TaskError: all prompts hold their own question and answer.
    """
    documents = len(prepared.documents)
    leaked = sum(_holds_itself(prepared, document) for document in prepared.documents) if prepared.num_fewshot else 0
    if leaked and leaked == documents:
        raise TaskError(
            f"{prepared.name}: each of its {documents} prompts holds its own question and answer among the examples, so that copying scores. "
            "Draw the examples from another split (fewshot_split), or ask without (num_fewshot: 0)."
        )
    if leaked:
        yield (
            f"{prepared.name}: {leaked} of {documents} prompts hold their own question and answer among the examples, so that copying scores "
            "there: the examples are drawn from the split that is asked. Name another one (fewshot_split), or ask without (num_fewshot: 0)."
        )
    again = documents - len({document.requests for document in prepared.documents})
    if again:
        yield (
            f"{prepared.name}: {again} of {documents} documents ask what another one asks, word for word: they count as if they were others, "
            "and intervals are narrower than the data is wide."
        )


def _holds_itself(prepared: PreparedTask, document: Document) -> bool:
    """Whether a document's own question stands in its prompt once more, whatever the blanks and capitals: as one of the examples."""
    asked = prepared.task.doc_to_text(document.content)
    own = _plain(asked) if isinstance(asked, str) else ""
    places = [position for positions in document.requests for position in positions[:1]]
    if len(own) < _SHORT or not places:
        return False
    return _plain(prepared.requests[places[0]].context).count(own) > 1


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text).strip().casefold()
