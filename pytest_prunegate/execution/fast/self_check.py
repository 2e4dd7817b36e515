"""The first documents of a model on both paths: where the engine disagrees with lm-eval more than lm-eval with itself, it is turned off."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.tasks.requests import GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Request

    Answers = Mapping[Request, Response]
    Ask = Callable[[Sequence[Request], int], Answers]


def disagreements(one: Answers, other: Answers) -> int:
    """Texts that differ, and contexts whose likeliest continuation, or what is greedy of them, does."""
    texts = sum(response.text != other[request].text for request, response in one.items() if request.kind == GENERATION)
    return texts + sum(_decision(one, group) != _decision(other, group) for group in _contexts(one))


def _contexts(answers: Answers) -> list[list[Request]]:
    found: dict[str, list[Request]] = defaultdict(list)
    for request in answers:
        if request.kind != GENERATION:
            found[request.context].append(request)
    return list(found.values())


def _decision(answers: Answers, group: Sequence[Request]) -> tuple[Request, tuple[bool | None, ...]]:
    likeliest = max(group, key=lambda request: answers[request].loglikelihood or 0.0)
    return likeliest, tuple(answers[request].greedy for request in group)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Answers to be kept, and why the engine is not to be trusted with a model; None where it is."""

    answers: Answers
    reason: str | None = None


def checked(found: Answers, ask_lm_eval: Ask) -> Checked:
    """Compare the engine's answers with lm-eval's, and those, where they differ, with lm-eval's at another batch size.

    Args:
        found: its answers.
        ask_lm_eval: answers requests on lm-eval's path at a batch size.
    """
    usual = ask_lm_eval(list(found), 1)
    own = disagreements(found, usual)
    if own == 0:
        return Checked(answers=found)
    stock = disagreements(ask_lm_eval(list(found), len(found)), usual)
    if own <= stock:
        return Checked(answers=found)
    reason = f"{own} of its first answers differ from lm-eval's, which differ from each other in {stock} between two batch sizes"
    return Checked(answers=usual, reason=reason)
