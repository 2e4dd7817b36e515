"""What a run will do, and what it found: plain records that the gate fills and the reports read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checks import Check
    from pytest_prunegate.compare import Comparison, Outcome
    from pytest_prunegate.evaluation.requests import Conditions
    from pytest_prunegate.evaluation.scoring import Scorer
    from pytest_prunegate.evaluation.tasks import PreparedTask
    from pytest_prunegate.scores import OutputShares

SIDES = ("original", "pruned")


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """What a run will do for a task. `seconds` is what it is expected to take, None where nothing was timed yet."""

    name: str
    num_fewshot: int
    documents: int
    total_documents: int
    requests: int
    missing: Mapping[str, int]
    seconds: float | None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, known before it is done."""

    facts: Mapping[str, ModelFacts]
    conditions: Mapping[str, Conditions]
    tasks: tuple[TaskPlan, ...]

    @property
    def is_same_model(self) -> bool:
        """Whether both sides are one and the same checkpoint."""
        return self.facts["original"].fingerprint == self.facts["pruned"].fingerprint

    @property
    def seconds(self) -> float | None:
        """Expected time of the whole run; None where a part of it is unknown."""
        known = [task.seconds for task in self.tasks if task.seconds is not None]
        return sum(known) if len(known) == len(self.tasks) else None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A task that both models answered."""

    prepared: PreparedTask
    scorers: Mapping[str, Scorer]
    shares: Mapping[str, OutputShares | None]
    executed: Mapping[str, int]
    started: datetime
    finished: datetime


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """How a check ended in this run: with a comparison, with the reason of an error, or not at all."""

    check: Check
    outcome: Outcome
    comparison: Comparison | None = None
    error: str | None = None
