"""The progress line, in a log as CI has it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_prunegate.report.screen import progress
from pytest_prunegate.report.screen.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.05)
    return []


@pytest.fixture
def line(written: list[str]) -> ProgressLine:
    reporter = SimpleNamespace(isatty=False, ensure_newline=lambda: None, write=lambda text, **_: written.append(text))
    plugins = SimpleNamespace(getplugin=lambda name: reporter if name == "terminalreporter" else None)
    return ProgressLine(cast("Any", SimpleNamespace(pluginmanager=plugins, get_verbosity=lambda: 0)))


def wait_for(is_there: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not is_there() and time.monotonic() < until:
        time.sleep(0.01)
    assert is_there()


def test_a_batch_that_takes_long_is_not_silent(line: ProgressLine, written: list[str]) -> None:
    line.start("boolq", "original", documents=5, done=0, later=None, unit="documents")
    wait_for(lambda: sum("boolq, original: 0 of 5 documents, 0 s, about - left" in text for text in written) >= 2)
    line.advance(5)
    line.finish()
    told = len(written)
    time.sleep(0.2)
    assert len(written) == told, "nothing is said behind the end"
    assert any("boolq, original: 5 of 5 documents in 0 s" in text for text in written)


def test_what_has_no_documents_says_how_long_it_takes(line: ProgressLine, written: list[str]) -> None:
    line.work("boolq, original: timing the first requests")
    wait_for(lambda: any("timing the first requests, 0 s, " in text for text in written))
    line.finish()
    assert not any("documents" in text for text in written)
