"""The models of a run, each with what answers for it: one that holds weights is in memory at a time, unless both are run side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.execution.batch_runner import BatchRunner, Sizes
from pytest_prunegate.execution.registry import executor_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.errors import ModelError
    from pytest_prunegate.tasks.requests import Conditions, Failure, Request

    ModelKey = tuple[str, str, Conditions]
    from collections.abc import Sequence

    from pytest_prunegate.execution.batch_runner import Keep
    from pytest_prunegate.execution.executor import Executor, Settings
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.requests import Conditions


def model_key(facts: ModelFacts, conditions: Conditions) -> ModelKey:
    """What two pairs have in common that ask the same model in the same way, in the same place."""
    return facts.title, facts.fingerprint, conditions


class Turns:
    """Whose model is in memory, and which models and requests failed in this run."""

    def __init__(self) -> None:
        self._free: Callable[[], None] | None = None
        self._holder: object | None = None
        self.fingerprints: dict[str, None] = {}
        """Of all models of the run."""
        self.broken: dict[ModelKey, ModelError] = {}
        """Models that cannot be loaded."""
        self._failed: dict[ModelKey, dict[Request, Failure]] = {}

    def take(self, holder: object, free: Callable[[], None]) -> None:
        """Have the memory for oneself; who had it before frees it.

        Args:
            holder: who asks.
            free: frees what the holder will put there.
        """
        if self._holder is not holder and self._free is not None:
            self._free()
        self._holder, self._free = holder, free

    def failed_of(self, model: ModelKey) -> dict[Request, Failure]:
        """The requests on which a model raised, to read and to add to."""
        return self._failed.setdefault(model, {})


class Models:
    """Runs requests on the models of a run. Nothing heavy is imported before one of them is needed.

    Args:
        conditions: of the models, by side.
        settings: of the run.
        stop: asked between two batches.
    """

    def __init__(self, conditions: dict[Side, Conditions], settings: Settings, stop: StopRequest) -> None:
        self._conditions = conditions
        self._settings = settings
        self._stop = stop
        self._executors: dict[Side, Executor] = {}
        self._sizes: dict[Side, Sizes] = {}
        self._remarks: dict[Side, tuple[str, ...]] = {}

    @property
    def loaded_side(self) -> Side | None:
        """The side whose weights are in memory."""
        return next((side for side, executor in self._executors.items() if executor.holds_weights), None)

    def load(self, facts: ModelFacts, first: Request, *, beside: bool = False) -> None:
        """Make a model ready, in place of another that holds weights, and see that it answers its first request.

        Args:
            facts: the model.
            first: its first request.
            beside: whether the other one stays in memory.

        Raises:
            ModelError: it cannot be loaded, or gives no finite numbers.
            TaskError: it does not answer requests of this kind.
            RunStopped: the run was asked to stop.
        """
        if facts.side not in self._executors:
            self._stop.check()
            conditions = self._conditions[facts.side]
            make = executor_for(conditions.backend)
            if getattr(make, "holds_weights", True) and not beside:
                self.unload()
            for other in self._executors.values():
                other.free_memory()
            self._executors[facts.side] = make(facts, conditions, self._settings)
        try:
            self._executors[facts.side].probe(first)
        except BaseException:
            self._drop(facts.side)
            raise

    def run(self, facts: ModelFacts, requests: Sequence[Request], keep: Keep, long: frozenset[Request]) -> None:
        """Execute requests on a model that was loaded, and hand each response to `keep` as soon as it exists, in any order.

        A request that the model raises on, and again when it is asked alone, is handed over as a failure; the others go on.

        Args:
            facts: the model.
            requests: distinct requests.
            keep: takes a request and its response, or why it has none.
            long: requests whose prompt does not fit, and is cut from the left.

        Raises:
            ModelError: the model fails while it runs, or its files have changed.
            TaskError: it does not answer requests of this kind.
            RunStopped: the run was asked to stop.
        """
        executor = self._executors[facts.side]
        sizes = self._sizes.setdefault(facts.side, Sizes())
        BatchRunner(executor, facts, keep, long, sizes=sizes, stop=self._stop).run(requests)

    def executor(self, side: Side) -> Executor:
        """What answers for a model that was loaded."""
        return self._executors[side]

    @property
    def remarks(self) -> dict[Side, tuple[str, ...]]:
        """What the executors of the run said of themselves, each once."""
        said = {side: executor.remarks for side, executor in self._executors.items()}
        sides = self._remarks | said
        return {side: tuple(dict.fromkeys((*self._remarks.get(side, ()), *said.get(side, ())))) for side in sides}

    def unload(self) -> None:
        """Free the memory of the models that hold weights."""
        while self.loaded_side:
            self._drop(self.loaded_side)

    def _drop(self, side: Side) -> None:
        self._remarks = self.remarks
        self._executors.pop(side).close()
