"""Kinds of values that records share: what msgspec checks when it reads one, and what the JSON Schemas say of it."""

from __future__ import annotations

import json
from enum import StrEnum
from numbers import Integral
from typing import Annotated, Any

import msgspec
from msgspec import Meta


class RunVerdict(StrEnum):
    """How a whole run ended: the worst of its checks. INCOMPLETE: nothing bad, and not everything was run."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    INCOMPLETE = "incomplete"
    BASELINE = "baseline"
    RECORDED = "recorded"


Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Bounds = tuple[float | None, float | None]
"""Low and high; None where the scores do not bound it."""
Fraction = Annotated[str, Meta(pattern=r"^-?\d+(/[1-9]\d*)?$")]
"""An exact number: 3, or 3/4."""
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""ISO 8601, in UTC."""
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Words = dict[str, Any]
"""Settings in the words of thresholds.yaml, whose schema describes them."""


def json_values(record: Any) -> Any:
    """A record as JSON values; what JSON has no word for, such as a model's argument that is an object, as text."""
    return msgspec.to_builtins(record, str_keys=True, enc_hook=_json_value)


def json_line(record: Any) -> bytes:
    """A record as a line of a file: nothing but ASCII, so that no text can break or colour it."""
    return (json.dumps(json_values(record), allow_nan=False) + "\n").encode()


def _json_value(value: object) -> object:
    """What msgspec does not know; a number of numpy is one to it only where it is of Python's very own type."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, float) else str(value)
