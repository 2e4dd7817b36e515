"""The comparisons of a run: one for each candidate, that is for each pair of the original and a pruned model, on one store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.gate.gate import Gate
from pytest_prunegate.gate.pair import Pair, Shared
from pytest_prunegate.gate.plan import RunPlan
from pytest_prunegate.input.options import Require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.gate.sides import Sides
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.verdict.verdicts import CheckResult

    Needed = Mapping[str | None, Sequence[str]]
    """Names of the tasks that will be measured, by candidate; nothing for one of which no check was selected."""


class CandidateGates:
    """All comparisons of a run, each of a pair of models, and the gates of those of which a check was selected.

    Args:
        options: of the run.
        tasks: of the run.
        progress: is told how it goes on.
        stop: asked between two batches.
    """

    def __init__(
        self, *, options: Options, tasks: tuple[GateTask, ...], progress: Progress, stop: StopRequest | None = None
    ) -> None:
        self.options = options
        self.tasks = tasks
        self.stop = stop or StopRequest()
        self.pairs = tuple(Pair(own, tasks) for own in options.by_candidate())
        """One for each candidate in the user's order; one alone for a baseline."""
        self.sides: dict[str | None, Sides] = {}
        """What was found of the models, by candidate."""
        self.opened: tuple[Gate, ...] = ()
        self._progress = progress
        self._store: Store | None = None

    @property
    def are_several(self) -> bool:
        """Whether there is more than one candidate."""
        return len(self.pairs) > 1

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
        return tuple(pair.candidate for pair in self.pairs)

    def of(self, candidate: str | None) -> Gate:
        """The gate of a candidate, which was opened."""
        return next(gate for gate in self.opened if gate.candidate == candidate)

    def result(self, candidate: str | None, check: Check) -> CheckResult | None:
        """How a check of a candidate ended; None where it did not run."""
        return next((gate.results.get(check) for gate in self.opened if gate.candidate == candidate), None)

    def find_models(self, needed: Needed) -> None:
        """Find the files of the models that will be measured, and read what they say. Writes nothing outside the cache.

        Raises:
            InputError: with everything that is wrong with a model, of all of them.
        """
        from pytest_prunegate.gate.sides import find_sides

        chosen = [pair for pair in self.pairs if needed.get(pair.candidate)]
        found = find_sides([pair.options for pair in chosen])
        self.sides = {pair.candidate: sides for pair, sides in zip(chosen, found, strict=True)}

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
        shared = Shared(self._store, candidates=len(self.pairs))
        for pair in self.pairs:
            if names := needed.get(pair.candidate):
                sides = self.sides[pair.candidate]
                self.opened += (Gate(pair, sides, names, shared, progress=self._progress, stop=self.stop),)
        for gate in self.opened:
            gate.plan = replace(gate.plan, notes=(*self._store.notes, *self._twins(gate), *gate.plan.notes))
        return self.plan

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
        return self.plan

    def close(self) -> None:
        """Free the models and close the store."""
        for gate in self.opened:
            gate.close()
        store, self._store = self._store, None
        if store:
            store.close()

    @property
    def plan(self) -> RunPlan:
        """The plans of all that was opened."""
        return RunPlan(by_candidate={gate.candidate: gate.plan for gate in self.opened})


def _pruned(gate: Gate) -> object:
    """What tells two candidates apart: the model and how it is asked."""
    return (gate.facts["pruned"].fingerprint, gate.conditions["pruned"]) if "pruned" in gate.facts else None
