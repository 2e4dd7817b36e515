"""Points of a run at which it kills itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Where(enum.Enum):
    """Kinds of points; each has a number, from 1."""

    ANSWER = "after the response"
    BEFORE_COMMIT = "between the response's INSERT and its commit"
    INSIDE_INSERT = "within the response's INSERT"
    STATEMENT = "at the start of the SQL statement"
    INSIDE_STATEMENT = "within the first SQL statement that writes, behind number"
    CALL = "at the start of the model call"
    REPORT = "before a report takes its place, number"


@dataclass(frozen=True, kw_only=True)
class Point:
    """The number-th of its kind in a run."""

    where: Where
    number: int

    def __str__(self) -> str:
        return f"{self.where.value} {self.number}"
