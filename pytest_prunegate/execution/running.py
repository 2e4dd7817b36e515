"""Runs requests on a loaded model, batch by batch: what is answered is handed on, whatever happens to the rest."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError, PrunegateError, ResponseError
from pytest_prunegate.execution.batches import BatchSize, first_batch, groups_of, length_of
from pytest_prunegate.execution.memory import MemoryBound
from pytest_prunegate.execution.windows import window_loglikelihood
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import WINDOW, canonical_json, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.batches import Group
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.tasks.requests import Failure, Request

    Keep = Callable[[Request, Response | Failure], None]

_log = logging.getLogger("pytest_prunegate")
_KINDS = ("generate_until", "loglikelihood", "loglikelihood_rolling", WINDOW)
_ONE_BY_ONE = frozenset({"loglikelihood_rolling", WINDOW})  # lm-eval hands these over only when all are there
_CHUNK = 256  # requests that a backend gets at once where it batches by itself
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_LARGEST_AUTO = 64  # lm-eval's own bound


@dataclass
class Sizes:
    """What is known of a model's batch sizes. `asked` is None for a backend that batches by itself."""

    asked: int | None
    on_cpu: bool
    _sizes: dict[str, BatchSize] = field(default_factory=dict)
    _bounds: dict[str, MemoryBound] = field(default_factory=dict)

    def of(self, kind: str) -> BatchSize:
        """The size of batches of a kind of request."""
        return self._sizes.setdefault(kind, BatchSize(self.asked or _CHUNK))

    def bound(self, kind: str) -> MemoryBound | None:
        """What memory allows, where it has to be asked beforehand: on a CPU, for more than one request at once."""
        if not self.on_cpu or self.asked is None or kind in _ONE_BY_ONE or self.of(kind).now == 1:
            return None
        return self._bounds.setdefault(kind, MemoryBound())


def asked_batch_size(lm: Any, written: str) -> int | None:
    """The batch size to start with: what was written, or for ``auto`` what fits at full length. None: the backend's own.

    On a CPU nothing is tried out, because the kernel would end the process: there `MemoryBound` measures.
    """
    if not isinstance(lm, HFLM):
        return None
    if written.isdecimal():
        return int(written)
    if str(lm.device) == "cpu":
        return _LARGEST_AUTO
    return int(lm._detect_batch_size())  # noqa: SLF001 - lm-eval's own way to a batch size


class Execution:
    """A call's requests on one model.

    Args:
        facts: the model.
        lm: it, loaded by one of lm-eval's classes.
        keep: takes a request and its response, or its failure, as soon as there is one.
        long: requests whose prompt is cut.
        sizes: of batches, as they are known from earlier calls.
        stop: asked between two batches.
    """

    def __init__(
        self, facts: ModelFacts, lm: Any, keep: Keep, long: frozenset[Request], *, sizes: Sizes, stop: StopRequest
    ) -> None:
        self._facts = facts
        self._lm = lm
        self._keep = keep
        self._long = long
        self._sizes = sizes
        self._stop = stop
        self._answered: set[Request] = set()

    def run(self, requests: Sequence[Request]) -> None:
        """Execute the requests.

        Raises:
            ModelError: not even one request fits into memory; and what `keep` raises.
            RunStopped: the run was asked to stop.
        """
        for kind in _KINDS:
            left = groups_of(request for request in requests if request.kind == kind)
            while left:
                self._next_batch(kind, left)
                left = [rest for group in left if (rest := self._unanswered(group))]

    def _next_batch(self, kind: str, left: Sequence[Group]) -> None:
        size, bound, longest = self._sizes.of(kind), self._sizes.bound(kind), length_of(left[0])
        count = size.now if bound is None else bound.most(size.now, longest)
        batch = first_batch(left, 1 if kind in _ONE_BY_ONE else count)
        requests = [request for group in batch for request in group]
        measured = contextlib.nullcontext() if bound is None else bound.measured(len(batch), longest)
        with self._stop.batch_in_hand(), measured:
            fitted = self._attempt(requests, count)
        if fitted:
            size.worked()
            return
        _free_memory()
        if not size.ran_out(count):
            raise ModelError(
                f"{self._facts.title}: out of memory on {getattr(self._lm, 'device', 'the device')} with one document at a time. What was "
                "answered is kept. Try a smaller dtype (--prunegate-dtype=bfloat16), device_map=auto among its arguments, shorter prompts "
                "(num_fewshot, max_gen_toks), or a device with more memory."
            )
        _log.warning("%s: out of memory with %d at once; going on with %d", self._facts.title, count, size.now)

    def _unanswered(self, group: Group) -> Group:
        return tuple(request for request in group if request not in self._answered)

    def _attempt(self, requests: Sequence[Request], size: int) -> bool:
        """Execute a batch. Where the model raises, each of its documents is asked once more, alone.

        Returns:
            Whether it fitted into memory.
        """
        raised = self._raised(requests, size)
        if raised is not None and not is_out_of_memory(raised):
            _log.warning("%s: %s; its documents are asked again, one by one", self._facts.title, reason_of(raised))
            return all(self._alone(request) for request in requests if request not in self._answered)
        return raised is None

    def _alone(self, request: Request) -> bool:
        raised = self._raised([request], 1)
        if raised is None or is_out_of_memory(raised):
            return raised is None
        self._answered.add(request)
        self._keep(request, failure_of(raised))
        return True

    def _raised(self, requests: Sequence[Request], size: int) -> Exception | None:
        """Call the model, and return what it raised; what this package raises ends the run."""
        try:
            self._call(requests, size)
        except ResponseError as error:
            return error
        except PrunegateError:
            raise
        except Exception as error:  # noqa: BLE001 - the model, or a checkpoint's own code, may raise anything
            return error
        return None

    def _call(self, requests: Sequence[Request], size: int) -> None:
        """One call of the model class. Sampling starts from the requests themselves: an interrupted run draws the same."""
        lm, kind = self._lm, requests[0].kind
        if hasattr(lm, "cut_rows"):
            lm.cut_rows.clear()
        if isinstance(lm, HFLM):
            lm.batch_size_per_gpu = size
        torch.manual_seed(_seed(requests[0]))
        keeper = _Keeper(lm, requests, self._handed_on, self._long)
        if kind == WINDOW:
            for request in requests:
                keeper.answer(request, window_loglikelihood(lm, request.tokens or ()))
            return
        lm.set_cache_hook(keeper)
        instances = [
            Instance(request_type=kind, doc={}, arguments=request.arguments, idx=0, metadata=(None, None, None))
            for request in requests
        ]  # fmt: skip
        keeper.add_rest(requests, getattr(lm, kind)(instances, disable_tqdm=True))

    def _handed_on(self, request: Request, response: Response) -> None:
        self._keep(request, response)
        self._answered.add(request)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a GPU or where the CPU's allocator says so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _seed(request: Request) -> int:
    said = [request.kind, request.context, request.gen_kwargs, request.repeat]
    return int(xxhash.xxh32(canonical_json(said).encode()).intdigest())


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Keeper:
    """lm-eval calls this cache hook for a finished request; it hands the response on at once."""

    def __init__(
        self,
        lm: Any,
        requests: Sequence[Request],
        keep: Callable[[Request, Response], None],
        long: frozenset[Request],
    ) -> None:
        self._cut_rows: deque[bool] | None = getattr(lm, "cut_rows", None)
        self._keep = keep
        self._long = long
        self._waiting: dict[tuple[str, str], deque[Request]] = defaultdict(deque)
        for request in requests:
            self._waiting[request.kind, canonical_json(request.arguments)].append(request)

    def add_partial(self, kind: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called by lm-eval with a request's kind, arguments and result."""
        waiting = self._waiting[kind, canonical_json(arguments)]
        if waiting:
            self.answer(waiting.popleft(), result)

    def add_rest(self, requests: Sequence[Request], results: Sequence[Any]) -> None:
        """Hand on what a backend returned without calling the hook; one that called it for everything costs nothing here."""
        if not any(self._waiting.values()):
            return
        for request, result in zip(requests, results, strict=True):
            waiting = self._waiting[request.kind, canonical_json(request.arguments)]
            if request in waiting:
                waiting.remove(request)
                self.answer(request, result)

    def answer(self, request: Request, result: Any) -> None:
        """Hand one response on."""
        truncated = request in self._long
        if request.kind == "generate_until":
            cut = self._cut_rows.popleft() if self._cut_rows else None
            response = Response(text=result, cut=cut, truncated=truncated)
        elif isinstance(result, tuple):
            response = Response(loglikelihood=float(result[0]), greedy=bool(result[1]), truncated=truncated)
        else:
            response = Response(loglikelihood=float(result))
        self._keep(request, response)
