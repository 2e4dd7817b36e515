"""What would make a task's figures impossible, or say nothing, told before a model is asked.

lm-eval fetches some metrics from a hub, and imports packages for others, once the last answer is there. They are
therefore computed on made-up answers first. Only what the machine lacks counts: a made-up answer that a metric cannot
score says nothing of real ones. Prompts say nothing where choices have no token, where they hold their answer, or ask the same twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import causes, is_of_a_client, quiet, reason_of
from pytest_prunegate.tasks.scorer import Scorer
from pytest_prunegate.tasks.tokenizers import encodings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import Document, PreparedTask
    from pytest_prunegate.tasks.requests import Request


_DOCUMENTS = 2  # one answered rightly, where the task says how, and one with any text
_ANY_TEXT = "The answer is 1."


def refuse_uncomputable(task: GateTask, prepared: Sequence[PreparedTask]) -> tuple[str, ...]:
    """See that a task has a check that can be computed: nobody is to wait for answers that nothing is made of.

    Args:
        task: of lm-eval, a group of them, or perplexity.
        prepared: its parts.

    Returns:
        What is wrong with those that cannot, where others can.

    Raises:
        TaskError: none can.
    """
    found: dict[str, str] = {}
    for part, built in zip(task.parts, prepared, strict=True):
        found |= {check.name: problem for check, problem in _uncomputable(built, part.checks).items()}
    lines = tuple(
        f"{check.location}: {check.label}: this metric cannot be computed here: {found[check.name]}. Install or download what it needs, or take "
        "it out of the thresholds file."
        for check in task.checks if check.name in found
    )  # fmt: skip
    if lines and len(lines) == len(task.checks):
        raise TaskError("\n".join(lines))
    return lines


def _uncomputable(prepared: PreparedTask, checks: Iterable[Check]) -> dict[Check, str]:
    """The checks of a task, or of a group's member, whose metric this machine cannot compute, and why."""
    if prepared.own or not prepared.documents:
        return {}
    wanted = [check for check in checks if not check.is_share]
    if missing := _not_loaded(prepared.task):
        # lm-eval computes all metrics of a task at once, so that one of them takes the others with it.
        reason = (
            f"lm-eval could not load the metric {', '.join(missing)}, which it fetches from a hub (package evaluate)"
        )
        return dict.fromkeys(wanted, reason)
    part = prepared.only({document.doc_id for document in prepared.documents[:_DOCUMENTS]})
    scorer = Scorer(part, list(_made_up(part)), model="made-up answers")
    problems = ((check, _problem(scorer, check)) for check in wanted)
    return {check: problem for check, problem in problems if problem}


def _not_loaded(task: Any) -> list[str]:
    """Metrics that lm-eval would call, and has nothing to call for: it logs that it could not load them, and goes on."""
    if getattr(task, "OUTPUT_TYPE", None) != "generate_until" or getattr(task.config, "process_results", None):
        return []
    return [str(name) for name, function in getattr(task, "_metric_fn_list", {}).items() if function is None]


def _problem(scorer: Scorer, check: Check) -> str | None:
    try:
        with quiet():
            scorer.score((check.metric, check.filter))
    except Exception as error:  # noqa: BLE001 - tasks are foreign code
        found = next((cause for cause in causes(error) if _is_the_machine(cause)), None)
        return reason_of(found) if found else None
    return None


def _is_the_machine(error: Exception) -> bool:
    """Whether an error says that something is not installed, not downloaded or not reachable."""
    if isinstance(error, ImportError | OSError) or type(error) is LookupError:  # the last is nltk's for missing data
        return True
    return is_of_a_client(error)


def _made_up(part: PreparedTask) -> Iterator[Response]:
    right = part.documents[0]
    first = {position for positions in right.requests for position in positions}
    answer = _right_answer(part.task, right.content)
    for position, request in enumerate(part.requests):
        yield _response(request, answer if position in first else _ANY_TEXT)


def _response(request: Request, text: str) -> Response:
    if request.kind == "generate_until":
        return Response(text=text)
    return Response(loglikelihood=-1.0, greedy=None if request.kind == "loglikelihood_rolling" else False)


def _right_answer(task: Any, document: Any) -> str:
    try:
        return str(task.doc_to_target(document))
    except Exception:  # noqa: BLE001 - not every task has one, and any text will do
        return _ANY_TEXT


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
