"""The progress line, in a log as CI has it."""

from __future__ import annotations

import re
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
    line.start("boolq", "original", documents=5, done=0, work=50, later=None, unit="documents")
    wait_for(lambda: sum("boolq, original: 0 of 5 documents, 0 s, about - left" in text for text in written) >= 2)
    line.advance(5, 50)
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


def test_the_time_left_goes_with_the_work_and_does_not_jump(
    line: ProgressLine, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest documents run first: by their number, half an hour would look like an hour and a half."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.001)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lengths = sorted((10 + 90 * (n % 50 == 0) * 10 for n in range(200)), reverse=True)
    line.start("hellaswag", "pruned", documents=200, done=0, work=sum(lengths), later=600.0, unit="documents")
    in_all = []
    for length in lengths:
        now += length / 4
        line.advance(1, length)
        if found := re.search(r", (\d+) min (\d+) s in all left", "".join(written[-2:])):
            in_all.append(now - 1000 + 60 * int(found[1]) + int(found[2]))
    assert len(in_all) > 150
    assert max(in_all) - min(in_all) < 0.05 * max(in_all)
