"""What a document asked, what counts as right, and what a model answered, in words."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import guarded
from pytest_prunegate.tasks.requests import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.tasks.prepared import Document, PreparedTask
    from pytest_prunegate.tasks.scorer import Scorer

_log = logging.getLogger("pytest_prunegate")
_CHOICE = "multiple_choice"
SOMETHING_ELSE = "(something else)"
BETWEEN = " / "  # answers of which each is right


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered, and what there is to know beside it: log-probabilities, what a filter made of it, why there is none."""

    text: str
    note: str = ""
    is_choice: bool = False
    """Whether it is one of choices, whose log-probabilities the note has with the texts of all of them."""


class AnswerTexts:
    """The texts of a task's documents. Tasks are foreign code: what one of them cannot tell is empty, and logged once.

    Args:
        prepared: the task, or a group's member.
    """

    def __init__(self, prepared: PreparedTask) -> None:
        self._prepared = prepared
        self._told: set[str] = set()

    def prompt(self, document: Document) -> str:
        """The request's context as the model got it; several that differ, such as one for each choice, one after another."""
        contexts = [self._prepared.requests[places[0]].context for places in document.requests if places]
        return "\n\n".join(dict.fromkeys(filter(None, contexts)))

    def gold(self, document: Document) -> str:
        """The answer that counts as right: the task's target, of choices the choice. Empty where there is none."""
        if self._prepared.own:
            return BETWEEN.join(dict.fromkeys(self._prepared.own.right_answers(document.content)))
        target = self._told_by_task("its right answers", lambda: self._target(document))
        choices = self._choices(document)
        found = target if isinstance(target, list | tuple) else [target]
        return BETWEEN.join(dict.fromkeys(filter(None, (_in_words(one, choices) for one in found)))).strip()

    def answer(self, document: Document, scorer: Scorer) -> Answer:
        """What a model answered, and whether its prompt was cut."""
        found = self._answer(document, scorer)
        responses = [scorer.response(place) for own in document.requests for place in own]
        if not any(isinstance(response, Response) and response.truncated for response in responses):
            return found
        return replace(found, note="; ".join(filter(None, (found.note, "its prompt lost its beginning"))))

    def _answer(self, document: Document, scorer: Scorer) -> Answer:
        places = [own[0] for own in document.requests if own]
        given = [scorer.response(place) for place in places]
        failed = next((response for response in given if isinstance(response, Failure)), None)
        if failed is not None:
            return Answer(text="", note=f"no answer: {failed.reason}")
        responses = [response for response in given if not isinstance(response, Failure)]
        kinds = [self._prepared.requests[place].kind for place in places]
        if "generate_until" in kinds:
            spoken = [one for one, kind in zip(responses, kinds, strict=True) if kind == "generate_until"]
            return _generated(spoken, scorer.extracted(document.doc_id), max(len(own) for own in document.requests))
        if not all(response.greedy is not None for response in responses):  # a text's own log-likelihood
            return Answer(text="", note=", ".join(_log_probability(response) for response in responses))
        likely = [self._prepared.requests[place].continuation or "" for place in places]
        if len(responses) == 1:
            return _continued(responses[0], likely[0])
        return _chosen(responses, self._choices(document) or [text.strip() for text in likely])

    def _target(self, document: Document) -> Any:
        """The task's target. Where choices stand in the middle of a text, lm-eval has it in place of the text."""
        task = self._prepared.task
        tell = task.doc_to_text if getattr(task, "multiple_input", 0) else task.doc_to_target
        return tell(document.content)

    def _choices(self, document: Document) -> list[str]:
        """The choices in words; nothing for a task that has none, or cannot tell them."""
        task = self._prepared.task
        tell = getattr(task, "doc_to_choice", None)
        if getattr(task, "OUTPUT_TYPE", None) != _CHOICE or tell is None:
            return []
        found = self._told_by_task("its choices", lambda: list(tell(document.content)))
        return [str(choice) for choice in found or ()]

    def _told_by_task(self, what: str, tell: Callable[[], Any]) -> Any:
        try:
            return guarded(tell, f"{self._prepared.name}: the task cannot tell {what} of a document: {{reason}}")
        except TaskError as error:
            if what not in self._told:
                _log.warning("%s. Reports go without them.", error, exc_info=error.__cause__)
                self._told.add(what)
            return None


def _in_words(target: Any, choices: Sequence[str]) -> str:
    if isinstance(target, int) and choices:
        return choices[target] if 0 <= target < len(choices) else ""
    return "" if target is None else str(target)


def _generated(responses: Sequence[Response], extracted: dict[str, str], repeats: int) -> Answer:
    text = "\n\n".join(response.text or "" for response in responses)
    notes = [f"the first of {repeats} answers"] if repeats > 1 else []
    notes += ["cut at the token limit"] if any(response.cut for response in responses) else []
    notes += [f"{name}: {found}" for name, found in extracted.items() if found.strip() != text.strip()]
    return Answer(text=text, note="; ".join(notes))


def _continued(response: Response, continuation: str) -> Answer:
    """Of a text that a model would go on with, or not."""
    said = continuation.strip() if response.greedy else SOMETHING_ELSE
    return Answer(text=said, note=f"{continuation.strip()}: {_log_probability(response)}")


def _chosen(responses: Sequence[Response], choices: Sequence[str]) -> Answer:
    """Of choices the likeliest. What is asked beyond them, such as a choice on its own, does not count."""
    likely = [response.loglikelihood or 0.0 for response, _ in zip(responses, choices, strict=False)]
    by_length = [value / max(len(choice), 1) for value, choice in zip(likely, choices, strict=False)]
    first, second = (values.index(max(values)) for values in (likely, by_length))
    notes = [", ".join(f"{choice}: {value:.2f}" for value, choice in zip(likely, choices, strict=False))]
    notes += [f"the likeliest for its length: {choices[second]}"] if second != first else []
    return Answer(text=choices[first], note="; ".join(["log-probabilities " + notes[0], *notes[1:]]), is_choice=True)


def _log_probability(response: Response) -> str:
    return f"log-probability {response.loglikelihood or 0.0:.2f}"
