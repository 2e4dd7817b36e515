"""What a task's measurement says of itself."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from support.scripted import BOOLQ

if TYPE_CHECKING:
    import pytest
    from conftest import Bench


def test_a_clock_that_is_set_back_makes_no_duration_negative(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class SetBack(datetime):
        calls = 0

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            cls.calls += 1
            return datetime(2026, 11, 27, 12, tzinfo=tz) - timedelta(hours=cls.calls)  # type: ignore[arg-type]

    bench.models()
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n")
    monkeypatch.setattr("pytest_prunegate.gate.task_runner.datetime", SetBack)
    bench.run().assert_outcomes(passed=1)
    assert SetBack.calls, "the time was asked for"
    (task,) = json.loads((bench.results / "comparison_results.json").read_text())["tasks"]
    assert 0 <= task["seconds"] < 60
