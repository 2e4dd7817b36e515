"""The live progress line: rewritten in place on a terminal, a line every half a minute in a CI log, however long a batch takes."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil

from pytest_prunegate.plain import one_line, size_text
from pytest_prunegate.report.summary.wording import duration_text

if TYPE_CHECKING:
    import pytest


_log = logging.getLogger("pytest_prunegate")
_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 30  # a night's run stays under a thousand lines


class ProgressLine:
    """Shows documents done, time left and memory, past pytest's capture."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._label = ""
        self._unit = ""
        self._total = 0
        self._done = 0
        self._work_left = 0
        self._work_timed = 0  # since the first documents were done
        self._later: float | None = None
        self._began = 0.0
        self._first_done: float | None = None
        self._shown = 0.0
        self._shown_text = ""
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def work(self, what: str) -> None:
        """Something begins that has no documents to count, such as loading a model."""
        self._label, self._total = what, 0
        self._began, self._shown = time.monotonic(), 0.0
        _log.info("%s", what)
        self._show(what, last=not self._on_terminal)
        self._keep_showing()

    def start(
        self, task: str, whose: str, *, documents: int, done: int, work: int, later: float | None, unit: str
    ) -> None:
        """A model begins with a task, of which some documents may be answered already."""
        self._label, self._total, self._done = f"{task}, {whose}", documents, done
        self._work_left, self._work_timed = work, 0
        self._later, self._unit = later, unit.partition(" ")[0]
        self._began, self._first_done, self._shown = time.monotonic(), None, 0.0
        kept = f", {done} of them in the store" if done else ""
        text = f"{self._label}: {documents} {unit}{kept}"
        _log.info("%s", text)
        self._show(text, last=not self._on_terminal)
        self._keep_showing()

    def advance(self, documents: int, work: int) -> None:
        """So many more of them are answered."""
        self._done += documents
        self._work_left -= work
        now = time.monotonic()
        if self._first_done is not None:
            self._work_timed += work
        elif documents:  # what warms up is not counted
            self._first_done = now
        if self._done < self._total:
            self._show_after(_TERMINAL_SECONDS if self._on_terminal else _LOG_SECONDS, now)

    def _show_after(self, pause: float, now: float) -> None:
        with self._lock:
            if self._label and now - self._shown >= pause:
                text = self._text(now)
                self._show(text, last=not self._on_terminal)
                _log.info("%s", text)

    def _keep_showing(self) -> None:
        """Show where it is every half a minute, from a thread: a batch, or the loading of a model, may take longer."""
        self._ended.set()
        self._ended = threading.Event()
        threading.Thread(target=self._keep_on, args=(self._ended,), name="prunegate-progress", daemon=True).start()

    def _keep_on(self, ended: threading.Event) -> None:
        while not ended.wait(_LOG_SECONDS):
            self._show_after(_LOG_SECONDS, time.monotonic())

    def finish(self) -> None:
        """The model has answered all of them, or failed."""
        with self._lock:
            self._ended.set()
            self._finish()

    def _finish(self) -> None:
        if not self._label:
            return
        if not self._total:
            if self._on_terminal:
                self._show("", last=True)
            self._label = ""
            return
        elapsed = duration_text(time.monotonic() - self._began)
        text = f"{self._label}: {self._done} of {self._total} {self._unit} in {elapsed}, {_memory()}"
        self._show(text, last=True)
        _log.info("%s", text)
        self._label = ""

    @property
    def _on_terminal(self) -> bool:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        return bool(reporter and reporter.isatty)

    def _text(self, now: float) -> str:
        if not self._total:
            return f"{self._label}, {duration_text(now - self._began)}, {_memory()}"
        left = "-"
        if self._first_done is not None and self._work_timed:
            seconds = (now - self._first_done) / self._work_timed * self._work_left
            left = duration_text(seconds)
            if self._later:
                left += f", {duration_text(seconds + self._later)} in all"
        elapsed = duration_text(now - self._began)
        return f"{self._label}: {self._done} of {self._total} {self._unit}, {elapsed}, about {left} left, {_memory()}"

    def _show(self, text: str, *, last: bool) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or self._config.get_verbosity() < 0:
            return
        self._shown = time.monotonic()
        text = one_line(text)
        padding = " " * max(0, len(self._shown_text) - len(text))
        with self._lock, uncaptured(self._config):
            if not self._shown_text:
                reporter.ensure_newline()
            reporter.write(f"\r{text}{padding}" if self._on_terminal else text, flush=True)
            if last:
                reporter.write("\n", flush=True)
        self._shown_text = "" if last else text


def uncaptured(config: pytest.Config) -> contextlib.AbstractContextManager[None]:
    """Lets output through to the terminal while pytest captures it."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return contextlib.nullcontext()
    manager: contextlib.AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return manager


def _memory() -> str:
    resident = f"{size_text(psutil.Process().memory_info().rss)} memory"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"{resident}, {size_text(torch.cuda.max_memory_allocated())} on the GPU"
    return resident
