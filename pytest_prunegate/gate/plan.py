"""What a run will do, and what it found: plain records that the gate fills and the reports read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.tasks.guarded import HUB_REMEDY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.requests import Conditions
    from pytest_prunegate.verdict.outlook import Outlook


NO_DEVICE = "none (no model is loaded)"


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """What a run will do for a task, or for all members of a group together.

    `documents` counts what `unit` says, at most; at `least` so many of them are executed. `missing` are the requests that
    the store cannot answer, by side. `seconds` is what it is expected to take at most, None where nothing was timed yet, 0 where
    nothing is to be done or only doing it will tell.
    `problem` says why it cannot run, `uncomputable` which of its checks will have no figure, and why.
    """

    name: str
    members: int
    num_fewshot: int
    documents: int
    least: int
    total_documents: int
    unit: str
    requests: int
    missing: Mapping[Side, int]
    seconds: float | None
    problem: str | None = None
    uncomputable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, known before it is done.

    `device` is where the models will be (NO_DEVICE where files take their place), `outlooks` what is expected of its checks, `notes`
    what a reader must know.
    """

    facts: Mapping[Side, ModelFacts]
    conditions: Mapping[Side, Conditions]
    tasks: tuple[TaskPlan, ...]
    device: str
    outlooks: tuple[Outlook, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """The models, the original first."""
        return tuple(self.facts.values())

    @property
    def is_same_model(self) -> bool:
        """Whether both sides are one and the same checkpoint, asked in the same way."""
        if len(self.facts) < len(SIDES):
            return False
        original, pruned = (self.facts[side].fingerprint for side in SIDES)
        return original == pruned and self.conditions["original"] == self.conditions["pruned"]

    @property
    def problems(self) -> tuple[str, ...]:
        """What will keep checks from being judged; what lies on a hub out of reach is one of them."""
        found = [problem for task in self.tasks for problem in (task.problem, *task.uncomputable) if problem]
        unreached = [problem.removesuffix(HUB_REMEDY) for problem in found if problem.endswith(HUB_REMEDY)]
        others = tuple(problem for problem in found if not problem.endswith(HUB_REMEDY))
        return (*others, "".join(unreached) + HUB_REMEDY) if unreached else others

    @property
    def pending(self) -> int:
        """Requests that a model has to answer."""
        return sum(sum(task.missing.values()) for task in self.tasks)

    @property
    def seconds(self) -> float | None:
        """Expected time of the whole run; None where a part of it is unknown."""
        known = [task.seconds for task in self.tasks if task.seconds is not None]
        return sum(known) if len(known) == len(self.tasks) else None


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The plans of all candidates by their names, or the only plan of a run under None.

    What the original has to answer for several candidates is planned with the first of them.
    """

    by_candidate: Mapping[str | None, Plan]

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans alone."""
        return tuple(self.by_candidate.values())

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """The models of all candidates."""
        return tuple(facts for plan in self.plans for facts in plan.models)

    @property
    def tasks(self) -> tuple[TaskPlan, ...]:
        """What is planned for the tasks of all candidates."""
        return tuple(task for plan in self.plans for task in plan.tasks)

    @property
    def device(self) -> str:
        """Where the models will be."""
        return next((plan.device for plan in self.plans if plan.pending), self.plans[0].device)

    @property
    def pending(self) -> int:
        """Requests that a model has to answer."""
        return sum(plan.pending for plan in self.plans)

    @property
    def seconds(self) -> float | None:
        """Expected time of the whole run; None where a part of it is unknown."""
        known = [plan.seconds for plan in self.plans if plan.seconds is not None]
        return sum(known) if len(known) == len(self.plans) else None

    @property
    def problems(self) -> tuple[str, ...]:
        """What will keep checks from being judged."""
        return self.told({name: plan.problems for name, plan in self.by_candidate.items()})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return self.told({name: plan.notes for name, plan in self.by_candidate.items()})

    def told(self, said: Mapping[str | None, Sequence[str]]) -> tuple[str, ...]:
        """What is said of several candidates: once where it holds for all, else with the names in brackets before it."""
        lines: dict[str, dict[str, None]] = {}
        for name, own in said.items():
            for line in own:
                lines.setdefault(line, {})[str(name)] = None
        return tuple(
            line if len(names) == len(said) else f"[{', '.join(names)}] {line}" for line, names in lines.items()
        )
