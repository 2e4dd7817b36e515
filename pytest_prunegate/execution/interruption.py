"""A run that is asked to stop: by Ctrl-C, a signal, its time budget or a terminal that goes away. The batch in hand is finished first."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# Ctrl-C; what a scheduler sends before it kills; what SLURM's --signal=USR1@300 sends; a terminal that was closed or cut off.
_HANG_UP = "SIGHUP"
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", _HANG_UP)
_DESCRIPTORS = 256  # of files, among which those of a lost terminal are looked for


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
        self._ending = False
        self._signals = 0
        self._terminals: set[int | None] = set()
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
        """Take the signals that ask to stop, and put back afterwards what took them before; ``nohup`` is left its own way."""
        if threading.current_thread() is not threading.main_thread():  # Python takes signals there alone
            yield
            return
        taken = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name) and not _is_ignored(name)]
        self._terminals = {_device(number) for number in range(_DESCRIPTORS) if os.isatty(number)} - {None}
        before = {number: signal.signal(number, self._asked) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self) -> None:
        """What is left to do is to write the reports and say so, which one signal does not cut short; a second one does."""
        self._ending = True

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        name = signal.Signals(number).name
        self.reason = self.reason or name
        if name == _HANG_UP:
            self._leave_lost_terminals()
        if self._signals > 1 or not (self._in_hand or self._ending):
            raise RunStopped(self.reason)

    def _leave_lost_terminals(self) -> None:
        """Let what is still printed go nowhere: on a terminal that is gone it would raise, and cost the reports."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(_DESCRIPTORS):
            if _device(number) in self._terminals and not os.isatty(number):
                os.dup2(nowhere, number)
        os.close(nowhere)


def _is_ignored(name: str) -> bool:
    return name == _HANG_UP and signal.getsignal(getattr(signal, name)) is signal.SIG_IGN


def _device(descriptor: int) -> int | None:
    """The character device that an open file is; None where it is none."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_rdev if stat.S_ISCHR(status.st_mode) else None
