"""What a gate runs on both models side by side: planned with the other tasks, run when its task is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import Problems, TaskError
from pytest_prunegate.execution.devices import free_memory, resolve_device
from pytest_prunegate.gate.estimates import is_knowable, weights_estimate
from pytest_prunegate.gate.plan import TaskPlan
from pytest_prunegate.plain import size_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.baseline.run_baselines import Baselines
    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.execution.side_by_side import BothModels
    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.checks import Check, Figure, GateTask, Preparation, RunningKind
    from pytest_prunegate.tasks.side_by_side import Run


class Runs:
    """Runs by the names of their tasks, and what they gave.

    Args:
        both: the models.
        answering: knows how long runs took.
        preparation: the models' facts and conditions.
        baselines: files in a model's place, and what is written into one.
        progress: is told how it goes on.
        device: as the user wrote it.
    """

    def __init__(
        self, both: BothModels, answering: Answering, preparation: Preparation, *, baselines: Baselines, progress: Progress, device: str
    ) -> None:  # fmt: skip
        self._both = both
        self._answering = answering
        self._preparation = preparation
        self._baselines = baselines
        self._progress = progress
        self._device = device
        self._prepared: dict[str, Run] = {}
        self.results: dict[str, Any] = {}

    def plan(self, task: GateTask, kind: RunningKind) -> TaskPlan:
        """Prepare a task, once, and say what will be run.

        Raises:
            EvaluationError: it cannot be prepared, or both models cannot be in memory at once.
        """
        if task.name not in self._prepared:
            run = kind.prepare(task.spec, self._preparation)
            self._refuse_absent(task, run)
            if run.kept is not None:
                self._baselines.attend_run(task, run.kept)
            self._prepared[task.name] = run
        run = self._prepared[task.name]
        lacking = run.steps - run.known(self._both)
        if lacking:
            self._refuse_large(task)
        rate = self._answering.seconds_per_work(task.name, self._loaded[-1]) if lacking else None
        return TaskPlan(
            name=task.name, members=0, num_fewshot=0, documents=run.steps, least=run.steps, total_documents=run.steps, unit=run.unit,
            requests=run.steps, missing=dict.fromkeys(self._loaded, lacking), seconds=lacking * (rate or 0.0),
            uncomputable=self._uncomputable(task, kind),
        )  # fmt: skip

    def figure(self, task: GateTask, kind: RunningKind, check: Check) -> Figure:
        """The figure of a check whose task was measured.

        Raises:
            TaskError: it cannot be told of these models.
        """
        kind.refuse_uncomputable(check, self._preparation)
        return kind.figure(check, self.results[task.name])

    def _uncomputable(self, task: GateTask, kind: RunningKind) -> tuple[str, ...]:
        problems = Problems()
        for check in task.checks:
            with problems.collected():
                kind.refuse_uncomputable(check, self._preparation)
        return tuple(problems.found)

    def measure(self, name: str, later: Callable[[], float | None]) -> None:
        """Run a task, if it is one of these; what it gave is in `results`.

        Args:
            name: the task's.
            later: how many seconds are expected for all that comes after it.

        Raises:
            EvaluationError: it cannot be run.
        """
        run = self._prepared.get(name)
        if run is None:
            return
        done = run.known(self._both)
        if done < run.steps:
            self._progress.start(
                name,
                "both" if len(self._loaded) > 1 else self._loaded[0],
                documents=run.steps,
                done=done,
                work=run.steps - done,
                later=later(),
                unit=run.unit,
            )
        try:
            self.results[name] = run.result(self._both, lambda: self._progress.advance(1, 1))
        finally:
            self._progress.finish()

    @property
    def begun_anew(self) -> list[str]:
        """Tasks that were planned and gave nothing yet, of which nothing is kept."""
        return [name for name, run in self._prepared.items() if name not in self.results and not run.is_kept]

    @property
    def _loaded(self) -> list[Side]:
        """The sides that no file takes the place of."""
        return [side for side, facts in self._preparation.facts.items() if facts.file is None]

    def _refuse_absent(self, task: GateTask, run: Run) -> None:
        for side, facts in self._preparation.facts.items():
            if facts.served or (facts.file and (side == "pruned" or run.kept is None)):
                what = "answers from a server" if facts.served else "is a file of answers"
                raise TaskError(
                    f"{task.spec.name}: runs both models here, and the {facts.title} {what}. Name its checkpoint, or leave {task.spec.name} out "
                    "with -m."
                )  # fmt: skip

    def _refuse_large(self, task: GateTask) -> None:
        """A CPU's memory that runs out ends the process; it is looked at before."""
        facts, conditions = self._preparation.facts, self._preparation.conditions
        device = resolve_device(self._device)
        found = free_memory(device)
        loaded = self._loaded
        if found is None or not all(is_knowable(facts[side], conditions[side]) for side in loaded):
            return
        wanted = sum(weights_estimate(facts[side], conditions[side]).size for side in loaded)
        if wanted > found[0] and len(loaded) > 1:
            raise TaskError(
                f"{task.spec.name}: both models have to be in memory at once, and their weights take about {size_text(wanted)}; "
                f"{size_text(found[0])} are free on {device} ({found[1]}). Take a smaller --prunegate-dtype, or spread them with "
                "device_map=auto among their arguments."
            )
