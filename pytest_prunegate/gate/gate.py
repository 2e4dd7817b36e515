"""Plans a run and carries it out: models, tasks, one comparison for each check."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.gate.expectations import outlooks
from pytest_prunegate.gate.measuring import Measuring
from pytest_prunegate.gate.plan import NO_DEVICE, Plan
from pytest_prunegate.plain import plain
from pytest_prunegate.tasks.checks import CountingKind, Preparation
from pytest_prunegate.verdict.check_scores import member_results, scores_of
from pytest_prunegate.verdict.compare import Comparison, Outcome, compare_counted
from pytest_prunegate.verdict.judging import Judge
from pytest_prunegate.verdict.ledger import Ledger
from pytest_prunegate.verdict.result import CheckResult
from pytest_prunegate.verdict.verdicts import Basis, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.baseline.keeping import Baselines
    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.gate.second_asking import NoiseFloor
    from pytest_prunegate.gate.shared import Shared
    from pytest_prunegate.gate.sides import Sides
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions
    from pytest_prunegate.verdict.measurement import Measurement
    from pytest_prunegate.verdict.noise import Noise

_log = logging.getLogger("pytest_prunegate")


@dataclass(kw_only=True)
class Gate:
    """One run: measures tasks when they are asked for, and remembers how each check ended."""

    options: Options
    tasks: tuple[GateTask, ...]
    progress: Progress
    stop: StopRequest = field(default_factory=StopRequest)
    results: dict[Check, CheckResult] = field(default_factory=dict)
    measurements: dict[str, tuple[Measurement, ...]] = field(default_factory=dict)
    plan: Plan | None = None
    facts: dict[str, ModelFacts] = field(default_factory=dict)
    conditions: dict[str, Conditions] = field(default_factory=dict)
    warned: dict[Check, str] = field(default_factory=dict)
    """What is wrong with a check's original as a baseline, by what the store knew before the run."""
    noise_floor: NoiseFloor | None = None
    files: dict[str, Baseline] = field(default_factory=dict)
    """The baselines that take the place of models, by side."""
    baselines: Baselines | None = None
    shared: Shared | None = None
    """With the other candidates of the run."""
    judging: Judge | None = None
    _measuring: Measuring | None = None
    _ledger: Ledger | None = None
    _answering: Answering | None = None

    @property
    def candidate(self) -> str | None:
        """The pruned model's name, where it is one of several."""
        return self.options.candidate

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the file, asked for or not."""
        return tuple(check for task in self.tasks for check in task.checks)

    @property
    def thresholds(self) -> int:
        """All thresholds of the file, each of which may fail falsely."""
        return sum(len(check.thresholds) for check in self.checks)

    @property
    def baseline_only(self) -> bool:
        """Whether the original alone is measured."""
        return self.options.pruned is None

    @property
    def prompt_notes(self) -> tuple[str, ...]:
        """What a reader must know of the tasks' prompts."""
        return tuple(self._measuring.prompt_notes) if self._measuring else ()

    @property
    def ledger_notes(self) -> tuple[str, ...]:
        """Where this run asks for what was fixed otherwise before."""
        return self._ledger.notes if self._ledger else ()

    @property
    def prepared(self) -> Mapping[str, tuple[PreparedTask, ...]]:
        """The parts of the tasks that were built, by task."""
        return self._measuring.prepared if self._measuring else {}

    def task(self, name: str) -> GateTask:
        """The task of that name, which there is."""
        return next(task for task in self.tasks if task.name == name)

    def adopt(self, sides: Sides) -> None:
        """Take what was found of the models."""
        self.facts, self.conditions, self.files = sides.facts, sides.conditions, sides.files

    def open(self, names: Sequence[str], shared: Shared) -> Plan:
        """Build the named tasks.

        A task that cannot be built fails when it is measured; the others go on.

        Args:
            names: of the tasks that will be measured.
            shared: with the other candidates of the run; has the open store.
        """
        from pytest_prunegate.baseline.keeping import Baselines
        from pytest_prunegate.execution.answering import Answering
        from pytest_prunegate.execution.executor import Settings
        from pytest_prunegate.execution.file_answers import FileAnswers
        from pytest_prunegate.execution.models import Models
        from pytest_prunegate.gate.run_notes import run_notes
        from pytest_prunegate.tasks.chat import ChatTemplates

        self.shared = shared
        self._answering = Answering(
            shared.store, self.facts, conditions=self.conditions, device=self.options.device, batch_size=self.options.batch_size,
            models=Models(self.conditions, Settings(batch_size=self.options.batch_size, device=self.options.device), self.stop),
            files={side: FileAnswers(self.facts[side].fingerprint, file.responses) for side, file in self.files.items()},
            turns=shared.turns,
        )  # fmt: skip
        self.baselines = Baselines(shared.store, self._answering, self.files, dtype=self.options.dtype)
        templates = ChatTemplates(self.facts)
        self._ledger = Ledger(
            shared.store, self.facts, self._answering.keys, seed=self.options.seed, checks=self.thresholds,
            candidates=shared.candidates,
        )  # fmt: skip
        self._measuring = Measuring(
            self._answering, Preparation(facts=self.facts, conditions=self.conditions, templates=templates),
            progress=self.progress, ledger=self._ledger,
            baselines=self.baselines, shared=shared, candidate=self.candidate,
        )  # fmt: skip
        self.judging = Judge(self._measuring.draws, self._ledger.of)
        plans = tuple(self._measuring.plan(task) for task in self.tasks if task.name in names)
        plan = Plan(facts=self.facts, conditions=self.conditions, tasks=plans, device=self.options.device)
        # Where nothing is asked, torch is not imported to look; and a resumed run says what an undisturbed one says.
        device = NO_DEVICE if len(self.files) == len(self.facts) else self._device() if plan.pending else plan.device
        expected, self.warned = outlooks(plan, self.tasks, self._measuring, self._ledger.of)
        plan = replace(plan, device=device, outlooks=expected)
        self.plan = replace(
            plan,
            notes=tuple(
                run_notes(
                    plan,
                    self.tasks,
                    templates,
                    files=self.files,
                    prepared=self.prepared,
                    told=(*self.ledger_notes, *self.prompt_notes),
                    warned=self.warned.values(),
                )
            ),
        )
        return self.plan

    def probe(self) -> None:
        """Time the first requests of each task whose time is not known; their answers are kept."""
        assert self._measuring is not None
        self._measuring.time_first_requests(self._untimed)
        self.plan_again()

    def plan_again(self) -> None:
        """Plan the tasks anew whose time was not known; another candidate may have told it."""
        assert self.plan is not None
        assert self._measuring is not None
        unknown = {name: self._measuring.plan(self.task(name)) for name in self._untimed}
        self.plan = replace(self.plan, tasks=tuple(unknown.get(plan.name, plan) for plan in self.plan.tasks))

    @property
    def _untimed(self) -> list[str]:
        assert self.plan is not None
        return [task.name for task in self.plan.tasks if task.seconds is None and not task.problem]

    def measure(self, name: str) -> tuple[Measurement, ...]:
        """Let the models answer a task, once.

        Returns:
            One measurement for each of its parts: the task itself, or a group's members.

        Raises:
            EvaluationError: the task or a model broke; and again whenever it is asked for.
        """
        assert self._measuring is not None
        if name not in self.measurements:
            self.measurements[name] = self._measuring.measure(name, lambda measured: self._undecided(name, measured))
        return self.measurements[name]

    def judge(self, check: Check) -> CheckResult:
        """Compare both models on a check (or measure the baseline alone), and remember how it ended.

        Raises:
            EvaluationError: there is no verdict, and why.
        """
        try:
            self.results[check] = self._judged(check)
        except Exception as error:
            self.record_error(check, error)
            raise
        return self.results[check]

    def record_error(self, check: Check, error: Exception) -> None:
        """Remember that a check ended without a verdict."""
        reason = str(error) if isinstance(error, EvaluationError) else plain(f"{type(error).__name__}: {error}")
        whose = f"[{self.candidate}]" if self.candidate else ""
        _log.error("%s%s: %s", check.label, whose, reason, exc_info=error.__cause__)
        self.results[check] = CheckResult(check=check, outcome=Outcome.ERROR, error=reason)

    def comparison(self, check: Check) -> Comparison:
        """Compare both models on a check, which need not be one of the file's.

        Raises:
            EvaluationError: there is no verdict, and why.
        """
        task = self.task(check.task)
        return self._compared(task, check)[0]

    def unfinished(self) -> dict[str, dict[str, tuple[int, int]]]:
        """How many requests are answered, and of how many, by task that was planned and not measured, and by side."""
        assert self._measuring is not None
        waiting = [name for name in self._measuring.draws if name not in self.measurements]
        return {name: sides for name in waiting if (sides := self._measuring.answered(name))}

    def close(self) -> None:
        """Free the model."""
        if self._answering:
            self._answering.close()

    def _judged(self, check: Check) -> CheckResult:
        task = self.task(check.task)
        measured = self.measure(task.name)
        unit = task.kind.unit if isinstance(task.kind, CountingKind) else measured[0].prepared.unit
        if self.baseline_only:
            scores = scores_of(task, check, measured, "original")
            total = sum(measurement.prepared.total_documents for measurement in measured)
            return CheckResult(
                check=check, outcome=Outcome.BASELINE, baseline=scores.aggregate, documents=scores.documents, total=total, unit=unit
            )  # fmt: skip
        comparison, verdict = self._compared(task, check)
        return CheckResult(
            check=check, outcome=Outcome.RECORDED if self.options.record else verdict.outcome, comparison=comparison,
            documents=verdict.used, total=verdict.total or comparison.documents, unit=unit,
            members=member_results(task, check, measured, comparison), verdict=verdict, noise=self._noise(task, check),
        )  # fmt: skip

    def _compared(self, task: GateTask, check: Check) -> tuple[Comparison, Verdict]:
        if isinstance(task.kind, CountingKind):
            comparison = compare_counted(check, task.kind.count(check, self.facts))
            return comparison, Verdict(outcome=comparison.outcome, basis=Basis.MEASURED, used=comparison.documents)
        measured = self.measure(task.name)
        assert self.judging is not None
        return self.judging.judge(task, check, measured)

    def _undecided(self, name: str, measured: tuple[Measurement, ...]) -> bool:
        """Whether a check of a task needs more documents; a baseline alone is measured in full."""
        assert self.judging is not None
        return self.baseline_only or self.judging.is_undecided(self.task(name), measured)

    def _device(self) -> str:
        from pytest_prunegate.execution.devices import resolve_device

        return resolve_device(self.options.device)

    def _noise(self, task: GateTask, check: Check) -> Noise | None:
        from pytest_prunegate.gate.second_asking import NoiseFloor, SecondAsking

        if not self.options.noise_floor or not task.asks_models:
            return None
        assert self.shared is not None
        if self.noise_floor is None:
            self.noise_floor = NoiseFloor(SecondAsking(
                self.shared.store, self.facts["original"], conditions=self.conditions["original"], device=self.options.device,
                batch_size=self.options.batch_size, stop=self.stop, progress=self.progress, turns=self.shared.turns,
            ))  # fmt: skip
        return self.noise_floor.of(task, check, self.measurements[task.name])
