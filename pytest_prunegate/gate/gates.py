"""The gates of a run: one for each candidate, that is for each pair of the original and a pruned model, on one store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.gate.gate import Gate
from pytest_prunegate.gate.plan import RunPlan
from pytest_prunegate.gate.shared import Shared
from pytest_prunegate.input.options import Require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import GateTask

    Needed = Mapping[str | None, Sequence[str]]
    """Names of the tasks that will be measured, by candidate; nothing for one of which no check was selected."""


@dataclass(kw_only=True)
class Gates:
    """All gates of a run. `opened` are those of which a check was selected."""

    options: Options
    tasks: tuple[GateTask, ...]
    progress: Progress
    stop: StopRequest = field(default_factory=StopRequest)
    opened: tuple[Gate, ...] = ()
    plan: RunPlan | None = None
    _store: Store | None = None

    def __post_init__(self) -> None:
        self._all = tuple(
            Gate(options=options, tasks=self.tasks, progress=self.progress, stop=self.stop)
            for options in self.options.by_candidate()
        )

    def __iter__(self) -> Iterator[Gate]:
        """One for each candidate in the user's order; one alone for a baseline."""
        return iter(self._all)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one candidate."""
        return len(self._all) > 1

    @property
    def baseline_only(self) -> bool:
        """Whether the original alone is measured."""
        return self.options.pruned is None

    @property
    def any_is_enough(self) -> bool:
        """Whether one candidate that passes makes the run green."""
        return self.options.require is Require.ANY

    @property
    def candidates(self) -> tuple[str | None, ...]:
        """The names of several candidates; None for a single one."""
        return tuple(gate.candidate for gate in self._all)

    def of(self, candidate: str | None) -> Gate:
        """The gate of a candidate, which there is."""
        return next(gate for gate in self._all if gate.candidate == candidate)

    def find_models(self, needed: Needed) -> None:
        """Find the files of the models that will be measured, and read what they say. Writes nothing outside the cache.

        Raises:
            InputError: with everything that is wrong with a model, of all of them.
        """
        from pytest_prunegate.gate.sides import find_sides

        chosen = [gate for gate in self._all if needed.get(gate.candidate)]
        for gate, sides in zip(chosen, find_sides([gate.options for gate in chosen]), strict=True):
            gate.adopt(sides)

    def open(self, needed: Needed, store: Path) -> RunPlan:
        """Open the store, and build the needed tasks.

        Args:
            needed: the names of the tasks, by candidate.
            store: the folder of the store.

        Raises:
            StoreError: responses cannot be kept.
        """
        from pytest_prunegate.store import Store

        self._store = Store(store)
        shared = Shared(self._store, candidates=len(self._all))
        self.opened = tuple(gate for gate in self._all if needed.get(gate.candidate))
        for gate in self.opened:
            plan = gate.open(needed[gate.candidate], shared)
            gate.plan = replace(plan, notes=(*self._store.notes, *self._twins(gate), *plan.notes))
        return self._planned()

    def _twins(self, gate: Gate) -> Iterator[str]:
        """That a candidate is another one under a second name, which costs nothing and says nothing."""
        same = [other.candidate for other in self.opened if _pruned(other) == _pruned(gate)]
        if len(same) > 1:
            yield f"{' and '.join(map(str, same))} are the same model, asked in the same way; only their names differ."

    def probe(self) -> RunPlan:
        """Time the first requests of tasks whose time is not known, with the first candidate; what it took holds for the others."""
        for gate in self.opened[:1]:
            gate.probe()
        for gate in self.opened[1:]:
            gate.plan_again()
        return self._planned()

    def close(self) -> None:
        """Free the models and close the store."""
        for gate in self._all:
            gate.close()
        store, self._store = self._store, None
        if store:
            store.close()

    def _planned(self) -> RunPlan:
        self.plan = RunPlan(by_candidate={gate.candidate: gate.plan for gate in self.opened if gate.plan})
        return self.plan


def _pruned(gate: Gate) -> object:
    """What tells two candidates apart: the model and how it is asked."""
    return (gate.facts["pruned"].fingerprint, gate.conditions["pruned"]) if "pruned" in gate.facts else None
