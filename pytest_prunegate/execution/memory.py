"""For how many requests of a batch the memory is enough.

A graphics card refuses what does not fit, and the batch is halved. On a CPU the kernel ends the process instead, so
that there the batch is bounded before it runs, by what batches before it were measured to take.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import psutil

from pytest_prunegate.execution.devices import available_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARE = 0.8  # of what is free: other processes take some, and a measurement misses short peaks
_PAUSE = 0.01  # seconds between two looks at the process's memory


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
