"""What the models answered for a task, and what each member of a group scored: plain records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from fractions import Fraction

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.scores import OutputShares
    from pytest_prunegate.tasks.scoring import Scorer


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A task, or one member of a group, that the models answered."""

    prepared: PreparedTask
    scorers: Mapping[Side, Scorer]
    shares: Mapping[Side, OutputShares | None]
    started: datetime
    finished: datetime


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """What one member of a group scored on the group's metric; `lost` and `gained` are None where it has no scores of documents."""

    name: str
    documents: int
    original: Fraction
    pruned: Fraction
    lost: int | None = None
    gained: int | None = None
