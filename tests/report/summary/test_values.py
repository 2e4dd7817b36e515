"""Records as JSON values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_prunegate.report.summary.values import json_values
from pytest_prunegate.verdict.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class Record:
    share: float
    count: int
    outcome: Outcome
    arguments: dict[str, object]


def test_numbers_of_numpy_stay_numbers_and_objects_become_text() -> None:
    count: Any = np.int64(3)
    record = Record(
        share=np.float64(0.25), count=count, outcome=Outcome.PASS, arguments={"device_map": {0: Path("a/b")}, "scale": np.float32(0.5)},
    )  # fmt: skip
    found = json.loads(json.dumps(json_values(record)))
    assert found == {
        "share": 0.25,
        "count": 3,
        "outcome": "pass",
        "arguments": {"device_map": {"0": "a/b"}, "scale": "0.5"},
    }
