"""What a model answered to a document, in words: where there is no answer, and where there is much of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pytest_prunegate.store import Response
from pytest_prunegate.tasks.answer_texts import AnswerTexts
from pytest_prunegate.tasks.kinds.perplexity import PerplexityScorer
from pytest_prunegate.tasks.prepared import Document, PreparedTask
from pytest_prunegate.tasks.requests import WINDOW, Failure, Request
from pytest_prunegate.tasks.scorer import Scorer


def prepared(requests: list[Request], task: Any, **more: Any) -> PreparedTask:
    """A task with one document, with an instance for each request."""
    places = tuple((number,) for number in range(len(requests)))
    document = Document(doc_id=0, content={"q": 1}, instances=(), requests=places)
    return PreparedTask(
        key="t", name="t", task=task, version="1", num_fewshot=0, documents=(document,), total_documents=1, data_fingerprint="",
        requests=tuple(requests), truncate=False, **more,
    )  # fmt: skip


def answer_of(part: PreparedTask, *responses: Response | Failure) -> tuple[str, str]:
    found = AnswerTexts(part).answer(part.documents[0], Scorer(part, responses, model="pruned model"))
    return found.text, found.note


CHOICES = SimpleNamespace(
    OUTPUT_TYPE="multiple_choice", doc_to_choice=lambda doc: ["a", "much longer"], doc_to_target=lambda doc: [1, 5]
)


def choice_requests(*continuations: str) -> list[Request]:
    return [Request(kind="loglikelihood", context="Q:", continuation=text) for text in continuations]


def test_a_request_that_failed_is_no_answer() -> None:
    part = prepared([Request(kind="generate_until", context="Q:", gen_kwargs="{}")], SimpleNamespace())
    assert answer_of(part, Failure(reason="ValueError: nan", traceback="")) == ("", "no answer: ValueError: nan")


def test_a_prompt_that_lost_its_beginning() -> None:
    part = prepared([Request(kind="generate_until", context="Q:", gen_kwargs="{}")], SimpleNamespace())
    assert answer_of(part, Response(text="7", cut=True, truncated=True)) == (
        "7", "cut at the token limit; its prompt lost its beginning"
    )  # fmt: skip


def test_the_choice_for_its_length_is_told_where_it_differs() -> None:
    part = prepared(choice_requests(" a", " much longer"), CHOICES)
    responses = [Response(loglikelihood=value, greedy=False) for value in (-2.0, -4.0)]
    assert answer_of(part, *responses) == (
        "a",
        "log-probabilities a: -2.00, much longer: -4.00; the likeliest for its length: much longer",
    )
    assert AnswerTexts(part).gold(part.documents[0]) == "much longer", "a target beyond the choices is none"


def test_what_is_asked_beyond_the_choices_does_not_count() -> None:
    """As lm-eval does for acc_mutual_info: each choice on its own, too."""
    part = prepared(
        [
            *choice_requests(" a", " much longer"),
            *(Request(kind="loglikelihood", continuation=text) for text in ("a", "b")),
        ],
        CHOICES,
    )
    responses = [Response(loglikelihood=value, greedy=False) for value in (-9.0, -4.0, -1.0, -2.0)]
    assert answer_of(part, *responses)[0] == "much longer"
    assert AnswerTexts(part).prompt(part.documents[0]) == "Q:"


def test_choices_that_the_task_cannot_tell_are_those_that_were_asked() -> None:
    def broken(doc: Any) -> Any:
        raise KeyError("choices")

    part = prepared(
        choice_requests(" x", " y"),
        SimpleNamespace(OUTPUT_TYPE="multiple_choice", doc_to_choice=broken, doc_to_target=broken),
    )
    assert answer_of(part, *[Response(loglikelihood=value, greedy=False) for value in (-2.0, -1.0)])[0] == "y"
    assert AnswerTexts(part).gold(part.documents[0]) == ""


def test_a_window_of_a_text_has_no_words() -> None:
    part = prepared([Request(kind=WINDOW, tokens=(1, 2))], None, own=PerplexityScorer())
    assert answer_of(part, Response(loglikelihood=-3.0)) == ("", "log-probability -3.00")
    assert (AnswerTexts(part).gold(part.documents[0]), AnswerTexts(part).prompt(part.documents[0])) == ("", "")
