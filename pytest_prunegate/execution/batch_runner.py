"""Runs requests on a model, batch by batch: what is answered is handed on, whatever happens to the rest.

Which requests run together, in which order, and how many at a time where memory is short: a graphics card refuses what does not fit, and
the batch is halved. On a CPU the kernel ends the process instead, so that there the batch is bounded before it runs, by what batches
before it were measured to take.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import psutil

from pytest_prunegate.errors import ModelError, PrunegateError, ResponseError, TaskError
from pytest_prunegate.execution.devices import available_memory
from pytest_prunegate.execution.executor import EVERY_KIND, KINDS
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Failure, Request

    Keep = Callable[[Request, Response | Failure], None]


Group = tuple["Request", ...]
_PATIENCE = 8  # batches that have to work before a larger one is tried again
_CHARACTERS = 4  # of a token, about
_USUAL_TOKENS = 256  # that a task generates where it does not say
_SHARE = 0.8  # of what is free: other processes take some, and a measurement misses short peaks
_PAUSE = 0.01  # seconds between two looks at the process's memory


def groups_of(requests: Iterable[Request]) -> list[Group]:
    """Requests in the order in which they run: by generation arguments, the longest first; those on one context together.

    lm-eval takes the longest first too: what does not fit shows at once, and the time that is left is overestimated.
    A log-likelihood's continuations on one context share a forward pass where they are one token long.
    """
    return sorted(in_groups(requests), key=lambda group: (group[0].gen_kwargs or "", -length_of(group)))


def in_groups(requests: Iterable[Request]) -> list[Group]:
    """Requests that run together, in their order."""
    found: dict[tuple[str, ...], list[Request]] = {}
    for number, request in enumerate(requests):
        alone = "" if request.kind == "loglikelihood" else str(number)
        found.setdefault((request.kind, request.gen_kwargs or "", request.context, alone), []).append(request)
    return [tuple(group) for group in found.values()]


def length_of(group: Group) -> int:
    """The length of a group's longest request in characters, with room for what it generates."""
    return max(_length(request) for request in group)


def work_of(requests: Iterable[Request]) -> int:
    """What requests take beside others, in characters: those that run together are answered at once."""
    return sum(length_of(group) for group in in_groups(requests))


def _length(request: Request) -> int:
    if request.tokens is not None:
        return _CHARACTERS * len(request.tokens)
    generated = 0 if request.gen_kwargs is None else _CHARACTERS * _most_generated(request.gen_kwargs)
    return max(1, len(request.context) + len(request.continuation or "") + generated)


@cache
def _most_generated(gen_kwargs: str) -> int:
    return int(json.loads(gen_kwargs).get("max_gen_toks") or _USUAL_TOKENS)


def by_prompt(requests: Iterable[Request]) -> list[Group]:
    """Requests for a model that takes all kinds at once: those on one context together, and beside those that begin like them."""
    found: dict[str, list[Request]] = {}
    for request in sorted(requests, key=lambda request: request.context):
        found.setdefault(request.context or f"\0{len(found)}", []).append(request)
    return [tuple(group) for group in found.values()]


def first_batch(groups: Sequence[Group], size: int) -> list[Group]:
    """The next groups that may share a batch: at most so many, all with the same generation arguments."""
    return [group for group in islice(groups, size) if group[0].gen_kwargs == groups[0][0].gen_kwargs]


class BatchSize:
    """How many requests run at once: halved where memory runs out, and doubled again after a while, never beyond what was asked.

    Args:
        asked: the user's batch size.
    """

    def __init__(self, asked: int) -> None:
        self._asked = asked
        self._worked = 0
        self._has_grown = False
        self._patience = _PATIENCE
        self.now = asked

    def worked(self) -> None:
        """A batch of this size came through."""
        self._worked += 1
        if self.now < self._asked and self._worked >= self._patience:
            self.now, self._worked, self._has_grown = min(self._asked, self.now * 2), 0, True

    def ran_out(self, size: int) -> bool:
        """Memory ran out for a batch of a size.

        Returns:
            Whether a smaller one can be tried.
        """
        if size <= 1:
            return False
        if self._has_grown:  # it was tried again too early
            self._patience *= 2
        self.now, self._worked, self._has_grown = max(1, size // 2), 0, False
        return True


class MemoryBound:
    """The most requests that a batch may have, by the memory that batches before it took.

    A batch's memory is taken to grow with its requests times the length of the longest. Memory that the process keeps for
    itself between batches counts as free.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._per_unit = 0.0  # bytes for a request, for each character of its length
        self._before: int | None = None

    def most(self, asked: int, length: int) -> int:
        """Requests of a length that fit: one while nothing was measured, and never fewer.

        Args:
            asked: no more than these.
            length: of the longest, in characters.
        """
        if self._before is None:
            return 1
        kept = max(0, self._resident() - self._before)
        room = _SHARE * (available_memory() + kept)
        fits = int(room / (self._per_unit * length)) if self._per_unit else asked
        return max(1, min(asked, fits))

    @contextlib.contextmanager
    def measured(self, requests: int, length: int) -> Iterator[None]:
        """Measure what a batch takes while it runs."""
        start = self._resident()
        self._before = start if self._before is None else self._before
        peaks, done = [start], threading.Event()

        def look() -> None:
            while not done.wait(_PAUSE):
                peaks.append(max(peaks.pop(), self._resident()))

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            taken = max(peaks[0], self._resident()) - start
            self._per_unit = max(self._per_unit, taken / (requests * length))

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)


_log = logging.getLogger("pytest_prunegate")


@dataclass
class Sizes:
    """What is known of a model's batch sizes, whatever task it answers, by the kind of request."""

    _sizes: dict[str, BatchSize] = field(default_factory=dict)
    _bounds: dict[str, MemoryBound] = field(default_factory=dict)

    def of(self, kind: str, executor: Executor) -> BatchSize:
        """The size of batches."""
        if kind not in self._sizes:
            self._sizes[kind] = BatchSize(executor.at_once(kind))
        return self._sizes[kind]

    def bound(self, kind: str, executor: Executor) -> MemoryBound | None:
        """What memory allows, where it has to be measured, for more than one request at once."""
        if kind == EVERY_KIND or not executor.measures_memory or self.of(kind, executor).now == 1:
            return None
        return self._bounds.setdefault(kind, MemoryBound())


class BatchRunner:
    """A call's requests on one model.

    Args:
        executor: answers them.
        facts: the model.
        keep: takes a request and its response, or its failure, as soon as there is one.
        long: requests whose prompt is cut.
        sizes: of batches, as they are known from earlier calls.
        stop: asked between two batches.
    """

    def __init__(
        self,
        executor: Executor,
        facts: ModelFacts,
        keep: Keep,
        long: frozenset[Request],
        *,
        sizes: Sizes,
        stop: StopRequest,
    ) -> None:
        self._executor = executor
        self._facts = facts
        self._keep = keep
        self._long = long
        self._sizes = sizes
        self._stop = stop
        self._answered: set[Request] = set()
        self._is_checked = self._is_continuous = False

    def run(self, requests: Sequence[Request]) -> None:
        """Execute the requests.

        Raises:
            ModelError: not even one request fits into memory, or the model's files have changed; and what `keep` raises.
            TaskError: the executor does not answer requests of a kind.
            RunStopped: the run was asked to stop.
        """
        if unable := sorted({request.kind for request in requests} - self._executor.kinds):
            raise TaskError(f"{self._facts.title}: its backend does not answer requests of type {', '.join(unable)}.")
        left = deque(by_prompt(self._executor.taken_continuously(requests)))
        while left and self._executor.taken_continuously(left[0]):
            self._next_batch(EVERY_KIND, left)
        for kind in KINDS:
            own = (request for request in requests if request.kind == kind and request not in self._answered)
            left = deque(groups_of(own))
            while left:
                self._next_batch(kind, left)

    def _next_batch(self, kind: str, left: deque[Group]) -> None:
        """Ask for the next batch; what stays without an answer is the next one's."""
        size, bound = self._sizes.of(kind, self._executor), self._sizes.bound(kind, self._executor)
        longest = length_of(left[0])
        count = size.now if bound is None else bound.most(size.now, longest)
        batch = list(islice(left, count)) if kind == EVERY_KIND else first_batch(left, count)
        self._is_continuous = kind == EVERY_KIND
        measured = contextlib.nullcontext() if bound is None else bound.measured(len(batch), longest)
        with self._stop.batch_in_hand(), measured:
            fitted = self._attempt([request for group in batch for request in group])
        for _ in batch:
            left.popleft()
        left.extendleft(reversed([rest for group in batch if (rest := self._unanswered(group))]))
        if fitted:
            size.worked()
            return
        self._executor.free_memory()
        if not size.ran_out(count):
            raise ModelError(
                f"{self._facts.title}: out of memory on {self._executor.where} with one document at a time. What was "
                "answered is kept. Try a smaller dtype (--prunegate-dtype=bfloat16), device_map=auto among its arguments, shorter prompts "
                "(num_fewshot, max_gen_toks), or a device with more memory."
            )
        _log.warning("%s: out of memory with %d at once; going on with %d", self._facts.title, count, size.now)

    def _unanswered(self, group: Group) -> Group:
        return tuple(request for request in group if request not in self._answered)

    def _attempt(self, requests: Sequence[Request]) -> bool:
        """Execute a batch. Where the model raises, each of its documents is asked once more, alone.

        Returns:
            Whether it fitted into memory.
        """
        raised = self._raised(requests)
        if raised is not None and not self._executor.is_out_of_memory(raised):
            _log.warning("%s: %s; its documents are asked again, one by one", self._facts.title, reason_of(raised))
            return all(self._alone(request) for request in requests if request not in self._answered)
        return raised is None

    def _alone(self, request: Request) -> bool:
        raised = self._raised([request])
        if raised is None or self._executor.is_out_of_memory(raised):
            return raised is None
        self._answered.add(request)
        self._keep(request, failure_of(raised))
        return True

    def _raised(self, requests: Sequence[Request]) -> Exception | None:
        """Ask, and return what was raised; what this package raises ends the task."""
        self._is_checked = False
        try:
            self._executor.ask(requests, self._hand_on)
        except ResponseError as error:
            return error
        except PrunegateError:
            raise
        except Exception as error:  # noqa: BLE001 - the model, or a checkpoint's own code, may raise anything
            return error
        if lacking := sum(request not in self._answered for request in requests):
            return ResponseError(
                f"{self._facts.title}: {lacking} of {len(requests)} requests came back without an answer"
            )
        return None

    def _hand_on(self, request: Request, response: Response) -> None:
        if not self._is_checked:  # once a batch: nothing of another model is kept under this fingerprint
            self._facts.refuse_changed()
            self._is_checked = True
        self._keep(request, replace(response, truncated=True) if request in self._long else response)
        self._answered.add(request)
        if self._is_continuous:
            self._stop.check()
