"""A run that is asked to stop: by Ctrl-C, a signal or its time budget. The batch in hand is finished first."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Ctrl-C; what a scheduler sends before it kills; what SLURM's --signal=USR1@300 sends.
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


class RunStopped(KeyboardInterrupt):
    """The run ends here, and goes on from here. To pytest and to foreign code it is a Ctrl-C, which nobody swallows."""


class StopRequest:
    """Whether a run was asked to stop, and why.

    Args:
        budget: seconds that the run may take; None for as long as it needs.
    """

    def __init__(self, budget: float | None = None) -> None:
        self._deadline = None if budget is None else time.monotonic() + budget
        self._in_hand = False
        self._closing = False
        self._signals = 0
        self.reason: str | None = None

    def check(self) -> None:
        """Between two steps of the run.

        Raises:
            RunStopped: it was asked to stop, or its time is up.
        """
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time budget is used up"
        if self.reason is not None:
            raise RunStopped(self.reason)

    @contextlib.contextmanager
    def batch_in_hand(self) -> Iterator[None]:
        """A step that is finished before the run stops.

        Raises:
            RunStopped: before or after it.
        """
        self.check()
        self._in_hand = True
        try:
            yield
        finally:
            self._in_hand = False
        self.check()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals that ask to stop; those that hold now are put back afterwards."""
        if threading.current_thread() is not threading.main_thread():  # Python takes signals there alone
            yield
            return
        taken = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        before = {number: signal.signal(number, self._asked) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """The reports are being written, which one signal does not cut short; a second one does."""
        self._closing = True
        try:
            yield
        finally:
            self._closing = False

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.reason = self.reason or signal.Signals(number).name
        if self._signals > 1 or not (self._in_hand or self._closing):
            raise RunStopped(self.reason)
