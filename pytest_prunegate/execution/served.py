"""Executes requests on served models, beside the process's own."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError, PrunegateError, ResponseError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import quiet, reason_of
from pytest_prunegate.tasks.requests import WINDOW, canonical_json, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.tasks.requests import Conditions, Failure, Request

_CHUNK = 8  # requests that lm-eval's class gets, for each that it asks at once: the run may end between two chunks
_PROBE_TOKENS = 8
_LOGLIKELIHOOD = "loglikelihood"
_GENERATION = "generate_until"


class ServedModels:
    """Has requests answered by servers. It holds no model, so that it never costs a swap."""

    def __init__(self, batch_size: str, conditions: dict[str, Conditions], stop: StopRequest) -> None:
        self._batch_size = batch_size
        self._stop = stop
        self._conditions = conditions
        self._models: dict[str, Any] = {}
        self._probed: set[tuple[str, bool]] = set()

    def load(self, facts: ModelFacts, first: Request) -> None:
        """Make ready to ask, and see that the server gives answers of this kind.

        Raises:
            ModelError: it does not answer, or what is needed to ask it is not installed.
            TaskError: it gives no log-probabilities, and the request needs them.
        """
        if facts.side not in self._models:
            from pytest_prunegate.execution.served_lm import ServedLM

            self._models[facts.side] = ServedLM(facts, self._conditions[facts.side], self._batch_size)
        kind = facts.side, first.kind == _GENERATION
        if kind not in self._probed:
            _probe(self._models[facts.side], first)
            self._probed.add(kind)

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response | Failure], None],
        long: frozenset[Request],
    ) -> None:
        """Have requests answered, and hand every response to `keep` as soon as it arrives.

        Raises:
            ModelError: the server fails, or cannot be reached any more.
            RunStopped: the run was asked to stop.
        """
        lm = self._models[facts.side]
        arrivals = _Arrivals(requests, keep, long, lm.cut_rows)
        lm.set_cache_hook(arrivals)
        try:
            with quiet():  # lm-eval's class draws a progress bar for each call
                for chunk in _chunks(requests, lm.concurrent):
                    lm.repeat(chunk[0].repeat)
                    with self._stop.batch_in_hand():
                        _attempt(lm, chunk, arrivals)
        except ModelError as error:
            raise ModelError(f"{error} What was answered is kept: the same command goes on from there.") from error
        except PrunegateError:
            raise
        except Exception as error:  # foreign code, and foreign answers
            raise ModelError(f"{facts.title}: failed while it answered: {reason_of(error)}. What was answered is kept.") from error  # fmt: skip


class ModelsBySide:
    """An executor for each side: served models are asked, the others run in this process.

    Args:
        served: asks servers.
        start_local: makes the executor of this process's models, once one is needed.
    """

    def __init__(self, served: ServedModels, start_local: Callable[[], Executor]) -> None:
        self._served = served
        self._start_local = start_local
        self._local: Executor | None = None

    @property
    def loaded_side(self) -> str | None:
        """The side whose model is in memory."""
        return self._local.loaded_side if self._local else None

    def load(self, facts: ModelFacts, first: Request) -> None:
        """Make a model ready, and see that it answers.

        Raises:
            ModelError: it does not.
            TaskError: it does not answer requests of this kind.
        """
        self._of(facts).load(facts, first)

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response | Failure], None],
        long: frozenset[Request],
    ) -> None:
        """Execute requests, and hand every response to `keep`.

        Raises:
            ModelError: the model fails.
        """
        self._of(facts).run(facts, requests, keep, long)

    def unload(self) -> None:
        """Free the memory of the process's own model."""
        if self._local:
            self._local.unload()

    def _of(self, facts: ModelFacts) -> Executor | ServedModels:
        if facts.served:
            return self._served
        self._local = self._local or self._start_local()
        return self._local


def models_by_side(
    conditions: dict[str, Conditions], *, batch_size: str, device: Callable[[], str], stop: StopRequest
) -> ModelsBySide:
    """The executor of a run. `device` is asked for once a local model is needed: torch is imported to tell."""

    def start_local() -> Executor:
        from pytest_prunegate.execution.models import LoadSettings, LocalModels

        return LocalModels(LoadSettings(batch_size=batch_size, device=device()), conditions, stop)

    return ModelsBySide(ServedModels(batch_size, conditions, stop), start_local)


class _Arrivals:
    """lm-eval calls this cache hook for an answer that arrived; it hands the response on at once."""

    def __init__(
        self,
        requests: Sequence[Request],
        keep: Callable[[Request, Response | Failure], None],
        long: frozenset[Request],
        cut_rows: deque[bool | None],
    ) -> None:
        self._keep = keep
        self._long = long
        self._cut_rows = cut_rows
        self._waiting: dict[tuple[int, str, str], deque[Request]] = defaultdict(deque)
        self.repeat = 0
        self.answered: set[Request] = set()
        cut_rows.clear()
        for request in requests:
            self._waiting[request.repeat, request.kind, canonical_json(request.arguments)].append(request)

    def add_partial(self, kind: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called by lm-eval with a request's kind, arguments and result."""
        request = self._waiting[self.repeat, kind, canonical_json(arguments)].popleft()
        if kind == _GENERATION:
            self.hand_on(request, Response(text=result, cut=self._cut_rows.popleft(), truncated=request in self._long))
        elif kind == _LOGLIKELIHOOD:
            number, greedy = result
            self.hand_on(request, Response(loglikelihood=float(number), greedy=bool(greedy), truncated=request in self._long))  # fmt: skip
        else:
            self.hand_on(request, Response(loglikelihood=float(result)))

    def hand_on(self, request: Request, response: Response | Failure) -> None:
        """Have a response kept, or why there is none."""
        self._keep(request, response)
        self.answered.add(request)


def _chunks(requests: Sequence[Request], concurrent: int) -> Iterator[list[Request]]:
    """Requests of one kind and repeat; those that hand over nothing before the end, as many as are asked at once."""
    groups: dict[tuple[str, int], list[Request]] = defaultdict(list)
    for request in requests:
        groups[request.kind, request.repeat].append(request)
    for (kind, _), group in groups.items():
        size = {WINDOW: concurrent, "loglikelihood_rolling": 1}.get(kind, _CHUNK * concurrent)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _attempt(lm: Any, requests: list[Request], arrivals: _Arrivals) -> None:
    """Ask; where the server refuses a request, or answers with what is none, those without an answer are asked alone."""
    try:
        _execute(lm, requests, arrivals)
    except ResponseError:
        for request in requests:
            if request not in arrivals.answered:
                _alone(lm, request, arrivals)


def _alone(lm: Any, request: Request, arrivals: _Arrivals) -> None:
    lm.cut_rows.clear()
    try:
        _execute(lm, [request], arrivals)
    except ResponseError as error:
        arrivals.hand_on(request, failure_of(error))


def _execute(lm: Any, requests: list[Request], arrivals: _Arrivals) -> None:
    from lm_eval.api.instance import Instance

    kind = requests[0].kind
    if kind == WINDOW:
        windows = [list(request.tokens or ()) for request in requests]
        scored = lm._loglikelihood_tokens([(None, window[:1], window[1:]) for window in windows])  # noqa: SLF001 - lm-eval's own seam
        for request, (loglikelihood, _) in zip(requests, scored, strict=True):
            arrivals.hand_on(request, Response(loglikelihood=float(loglikelihood)))
        return
    arrivals.repeat = requests[0].repeat
    instances = [
        Instance(request_type=kind, doc={}, arguments=request.arguments, idx=0, metadata=(None, None, None))
        for request in requests
    ]  # fmt: skip
    getattr(lm, kind)(instances, disable_tqdm=True)


def _probe(lm: Any, first: Request) -> None:
    """One call with the beginning of a prompt, of the kind that is to come."""
    tokens = list(first.tokens or lm.tok_encode(first.context or first.continuation or ""))[:_PROBE_TOKENS]
    tokens = [lm.prefix_token_id, *tokens]
    if first.kind != _GENERATION:
        answer = lm.model_call([tokens], generate=False)
        lm.parse_logprobs(answer, tokens=[tokens], ctxlens=[1])
    else:
        prompt = tokens if lm.tokenized_requests else lm.tokenizer.decode(tokens)
        lm.model_call([prompt], generate=True, gen_kwargs={"max_gen_toks": 1})
