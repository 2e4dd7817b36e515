"""Which requests run together, in which order, and how many at a time where memory is short.

A graphics card refuses what does not fit, and the batch is halved. On a CPU the kernel ends the process instead, so
that there the batch is bounded before it runs, by what batches before it were measured to take.
"""

from __future__ import annotations

import contextlib
import json
import threading
from itertools import islice
from typing import TYPE_CHECKING

import psutil

from pytest_prunegate.execution.devices import available_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_prunegate.tasks.requests import Request


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
    found: dict[tuple[str, ...], list[Request]] = {}
    for number, request in enumerate(requests):
        alone = "" if request.kind == "loglikelihood" else str(number)
        found.setdefault((request.kind, request.gen_kwargs or "", request.context, alone), []).append(request)
    groups = [tuple(group) for group in found.values()]
    return sorted(groups, key=lambda group: (group[0].gen_kwargs or "", -length_of(group)))


def length_of(group: Group) -> int:
    """The length of a group's longest request in characters, with room for what it generates."""
    return max(_length(request) for request in group)


def _length(request: Request) -> int:
    if request.tokens is not None:
        return _CHARACTERS * len(request.tokens)
    generated = 0
    if request.gen_kwargs is not None:
        asked = json.loads(request.gen_kwargs).get("max_gen_toks") or _USUAL_TOKENS
        generated = _CHARACTERS * int(asked)
    return max(1, len(request.context) + len(request.continuation or "") + generated)


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
