"""Takes answers from lm-eval's model classes as soon as they exist: they tell a cache of each finished request."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance

from pytest_prunegate.store import Response
from pytest_prunegate.tasks.requests import GENERATION, canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.execution.executor import HandOn
    from pytest_prunegate.tasks.requests import Request


class AnswerHook:
    """A cache hook of lm-eval that hands answers on.

    Args:
        requests: of one kind, that a model object is called with.
        hand_on: takes each with its response.
        is_cut: of a text that was just handed over, whether it was cut at the token limit; None where nobody knows.
    """

    def __init__(self, requests: Sequence[Request], hand_on: HandOn, is_cut: Callable[[str], bool | None]) -> None:
        self._requests = requests
        self._hand_on = hand_on
        self._is_cut = is_cut
        self._waiting: dict[str, deque[Request]] = defaultdict(deque)
        for request in requests:
            self._waiting[canonical_json(request.arguments)].append(request)

    def ask(self, lm: Any) -> None:
        """Call a model object, and hand on what it returns without having told of it."""
        kind = self._requests[0].kind
        lm.set_cache_hook(self)
        instances = [
            Instance(request_type=kind, doc={}, arguments=request.arguments, idx=0, metadata=(None, None, None))
            for request in self._requests
        ]  # fmt: skip
        results = getattr(lm, kind)(instances, disable_tqdm=True)
        if any(self._waiting.values()):
            for request, result in zip(self._requests, results, strict=True):
                waiting = self._waiting[canonical_json(request.arguments)]
                if request in waiting:
                    waiting.remove(request)
                    self._answer(request, result)

    def add_partial(self, kind: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called by lm-eval with a request's kind, arguments and result."""
        waiting = self._waiting[canonical_json(arguments)]
        if kind == self._requests[0].kind and waiting:
            self._answer(waiting.popleft(), result)

    def _answer(self, request: Request, result: Any) -> None:
        if request.kind == GENERATION:
            response = Response(text=str(result), cut=self._is_cut(result))
        elif isinstance(result, tuple):
            response = Response(loglikelihood=float(result[0]), greedy=bool(result[1]))
        else:
            response = Response(loglikelihood=float(result))
        self._hand_on(request, response)
