"""Runs requests on a model, batch by batch: what is answered is handed on, whatever happens to the rest."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import ModelError, PrunegateError, ResponseError, TaskError
from pytest_prunegate.execution.batches import BatchSize, MemoryBound, first_batch, groups_of, length_of
from pytest_prunegate.execution.executor import KINDS
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.batches import Group
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Failure, Request

    Keep = Callable[[Request, Response | Failure], None]

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
        if not executor.measures_memory or self.of(kind, executor).now == 1:
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
        self._is_checked = False

    def run(self, requests: Sequence[Request]) -> None:
        """Execute the requests.

        Raises:
            ModelError: not even one request fits into memory, or the model's files have changed; and what `keep` raises.
            TaskError: the executor does not answer requests of a kind.
            RunStopped: the run was asked to stop.
        """
        if unable := sorted({request.kind for request in requests} - self._executor.kinds):
            raise TaskError(f"{self._facts.title}: its backend does not answer requests of type {', '.join(unable)}.")
        for kind in KINDS:
            left = deque(groups_of(request for request in requests if request.kind == kind))
            while left:
                self._next_batch(kind, left)

    def _next_batch(self, kind: str, left: deque[Group]) -> None:
        """Ask for the next batch; what stays without an answer is the next one's."""
        size, bound = self._sizes.of(kind, self._executor), self._sizes.bound(kind, self._executor)
        longest = length_of(left[0])
        count = size.now if bound is None else bound.most(size.now, longest)
        batch = first_batch(left, count)
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
