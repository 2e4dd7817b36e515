"""The ways in which a check ends, a document's score moves, and two candidates compare: words that reports and files have, too."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

Direction = Literal["lost", "gained"]
Moved = Literal["lost", "gained", "same"]
LOST: Final = "lost"
GAINED: Final = "gained"
SAME: Final = "same"
Conclusion = Literal["better", "worse", "open"]
"""What an interval says of one candidate against another; open where it says neither."""


class Outcome(StrEnum):
    """How a check ended. ERROR is no verdict: measuring broke. NOT_RUN was not asked for. BASELINE compared nothing, RECORDED judged nothing."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOT_RUN = "not run"
    BASELINE = "baseline"
    RECORDED = "recorded"


class Basis(StrEnum):
    """What a verdict rests on."""

    MEASURED = "measured"  # the figures themselves decided
    SAMPLE = "sample"  # an interval for the full run, from a sample of fixed size
    CONFIDENT = "confident"  # an interval for other documents like these
    EARLY = "early"  # rule U: as soon as the documents in their order said what the full run would
