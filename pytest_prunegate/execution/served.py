"""Has requests answered by a server, through lm-eval's class for completions."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.executor import Executor
from pytest_prunegate.execution.hook import AnswerHook
from pytest_prunegate.execution.served_lm import ServedLM, was_cut
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import quiet
from pytest_prunegate.tasks.requests import GENERATION, ROLLING, WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.tasks.requests import Conditions, Request

_CHUNK = 8  # requests that lm-eval's class gets, for each that it asks at once: the run may end between two chunks
_PROBE_TOKENS = 8


class ServedModel(Executor):
    """A model behind a server; it never costs a swap.

    Raises:
        ModelError: what is needed to ask it is not installed.
    """

    holds_weights = False
    where = "the server"

    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> None:
        self._lm = ServedLM(facts, conditions, settings.batch_size)
        self._probed: set[bool] = set()

    def at_once(self, kind: str) -> int:
        """What hands over nothing before its end is asked for in as many as go side by side."""
        return {WINDOW: self._lm.concurrent, ROLLING: 1}.get(kind, _CHUNK * self._lm.concurrent)

    def probe(self, first: Request) -> None:
        """One call with the beginning of a prompt, for each of the two sorts of answers."""
        sort = first.kind == GENERATION
        if sort not in self._probed:
            _probe(self._lm, first)
            self._probed.add(sort)

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """Answers to repeats are sampled with seeds of their own.

        Raises:
            ModelError: the server fails, or cannot be reached any more.
        """
        repeats: dict[int, list[Request]] = defaultdict(list)
        for request in batch:
            repeats[request.repeat].append(request)
        try:
            with quiet():  # lm-eval's class draws a progress bar for each call
                for repeat, requests in repeats.items():
                    self._lm.repeat(repeat)
                    self._ask(requests, hand_on)
        except ModelError as error:
            raise type(error)(f"{error} What was answered is kept: the same command goes on from there.") from error

    def _ask(self, requests: Sequence[Request], hand_on: HandOn) -> None:
        if requests[0].kind != WINDOW:
            AnswerHook(requests, hand_on, was_cut).ask(self._lm)
            return
        windows = [list(request.tokens or ()) for request in requests]
        scored = self._lm._loglikelihood_tokens([(None, window[:1], window[1:]) for window in windows])  # noqa: SLF001 - lm-eval's own seam
        for request, (loglikelihood, _) in zip(requests, scored, strict=True):
            hand_on(request, Response(loglikelihood=float(loglikelihood)))


def _probe(lm: Any, first: Request) -> None:
    """One call with the beginning of a prompt, of the kind that is to come."""
    tokens = list(first.tokens or lm.tok_encode(first.context or first.continuation or ""))[:_PROBE_TOKENS]
    tokens = [lm.prefix_token_id, *tokens]
    if first.kind != GENERATION:
        answer = lm.model_call([tokens], generate=False)
        lm.parse_logprobs(answer, tokens=[tokens], ctxlens=[1])
    else:
        prompt = tokens if lm.tokenized_requests else lm.tokenizer.decode(tokens)
        lm.model_call([prompt], generate=True, gen_kwargs={"max_gen_toks": 1})
