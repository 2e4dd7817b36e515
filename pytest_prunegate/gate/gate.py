"""Plans a comparison and carries it out: models, tasks, one verdict for each check."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.baseline.run_baselines import Baselines
from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.execution.answering import Answering, FileAnswers
from pytest_prunegate.execution.executor import Settings
from pytest_prunegate.execution.models import Models
from pytest_prunegate.execution.side_by_side import BothModels
from pytest_prunegate.gate.noise_floor import NoiseFloor, SecondAsking
from pytest_prunegate.gate.pair import Pair
from pytest_prunegate.gate.plan import NO_DEVICE, Plan
from pytest_prunegate.gate.run_notes import run_notes
from pytest_prunegate.gate.runs import Runs
from pytest_prunegate.gate.task_runner import TaskRunner, outlooks
from pytest_prunegate.plain import plain
from pytest_prunegate.tasks.chat import ChatTemplates
from pytest_prunegate.tasks.checks import CountingKind, FigureKind, Preparation, RunningKind
from pytest_prunegate.tasks.kinds import figure_metric
from pytest_prunegate.verdict.answers import first_answers
from pytest_prunegate.verdict.check_scores import member_results, scores_of
from pytest_prunegate.verdict.compare import Comparison, UnjudgedError, compare_figure, outcome_of
from pytest_prunegate.verdict.judge import Judge
from pytest_prunegate.verdict.ledger import Ledger
from pytest_prunegate.verdict.outcome import Basis, Outcome
from pytest_prunegate.verdict.verdicts import CheckResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.gate.pair import Shared
    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.gate.sides import Sides
    from pytest_prunegate.tasks.checks import Check, Figure, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.noise import Noise
    from pytest_prunegate.verdict.sampling import Draws

_log = logging.getLogger("pytest_prunegate")


class Gate(Pair):
    """One opened comparison: measures tasks when they are asked for, and remembers how each check ended.

    Making one builds the named tasks, and plans them. A task that cannot be built fails when it is measured; the others go on.

    Args:
        pair: what is compared.
        sides: what was found of the models.
        names: of the tasks that will be measured.
        shared: with the other candidates of the run; has the open store.
        progress: is told how it goes on.
        stop: asked between two batches.
    """

    def __init__(
        self, pair: Pair, sides: Sides, names: Sequence[str], shared: Shared, *, progress: Progress, stop: StopRequest
    ) -> None:
        super().__init__(pair.options, pair.tasks)
        self.facts, self.conditions, self.files = sides.facts, sides.conditions, sides.files
        self.shared = shared
        self.stop = stop
        self.results: dict[Check, CheckResult] = {}
        self.measurements: dict[str, tuple[Measurement, ...]] = {}
        self._progress = progress
        self._answering = self._start_answering()
        self.baselines = Baselines(shared.store, self._answering, self.files, dtype=self.options.dtype)
        self._ledger = Ledger(
            shared.store, self.facts, self._answering.keys, seed=self.options.seed, checks=self.thresholds,
            candidates=shared.candidates,
        )  # fmt: skip
        templates = ChatTemplates(self.facts)
        preparation = Preparation(facts=self.facts, conditions=self.conditions, templates=templates)
        both = BothModels(self._answering, shared.store, stop)
        self.runs = Runs(
            both, self._answering, preparation, baselines=self.baselines, progress=progress, device=self.options.device
        )
        self._runner = TaskRunner(
            self._answering, preparation, progress=progress, ledger=self._ledger, baselines=self.baselines, shared=shared, runs=self.runs,
            candidate=self.candidate,
        )  # fmt: skip
        self.judging = Judge(self._runner.draws, self._ledger.of)
        self.noise_floor = NoiseFloor(self._second_asking()) if self.options.noise_floor else None
        self.plan, self.warned = self._planned(names, templates)

    def _start_answering(self) -> Answering:
        options = self.options
        settings = Settings(batch_size=options.batch_size, device=options.device)
        return Answering(
            self.shared.store, self.facts, conditions=self.conditions, device=options.device, batch_size=options.batch_size,
            models=Models(self.conditions, settings, self.stop), turns=self.shared.turns,
            files={side: FileAnswers(self.facts[side].fingerprint, file.responses) for side, file in self.files.items()},
        )  # fmt: skip

    def _second_asking(self) -> SecondAsking:
        return SecondAsking(
            self.shared.store, self.facts["original"], conditions=self.conditions["original"], device=self.options.device,
            batch_size=self.options.batch_size, stop=self.stop, progress=self._progress, turns=self.shared.turns,
        )  # fmt: skip

    def _planned(self, names: Sequence[str], templates: ChatTemplates) -> tuple[Plan, dict[Check, str]]:
        """What will be done, and what is wrong with a check's original as a baseline, by what the store knew before the run."""
        tasks = tuple(self._runner.plan(task) for task in self.tasks if task.name in names)
        plan = Plan(facts=self.facts, conditions=self.conditions, tasks=tasks, device=self.options.device)
        # Where nothing is asked, torch is not imported to look; and a resumed run says what an undisturbed one says.
        device = NO_DEVICE if len(self.files) == len(self.facts) else self._device() if plan.pending else plan.device
        expected, warned = outlooks(plan, self.tasks, self._runner, self._ledger.of)
        plan = replace(plan, device=device, outlooks=expected)
        told = (*self._ledger.notes, *self._runner.prompt_notes)
        notes = run_notes(
            plan, self.tasks, templates, files=self.files, prepared=self.prepared, told=told, warned=warned.values()
        )
        return replace(plan, notes=tuple(notes)), warned

    @property
    def prepared(self) -> Mapping[str, tuple[PreparedTask, ...]]:
        """The parts of the tasks that were built, by task."""
        return self._runner.prepared

    @property
    def draws(self) -> Mapping[str, Draws]:
        """The order of each task's documents, by task."""
        return self._runner.draws

    def probe(self) -> None:
        """Time the first requests of each task whose time is not known; their answers are kept."""
        self._runner.time_first_requests(self._untimed)
        self.plan_again()

    def plan_again(self) -> None:
        """Plan the tasks anew whose time was not known; another candidate may have told it."""
        unknown = {name: self._runner.plan(self.task(name)) for name in self._untimed}
        self.plan = replace(self.plan, tasks=tuple(unknown.get(plan.name, plan) for plan in self.plan.tasks))

    @property
    def _untimed(self) -> list[str]:
        return [task.name for task in self.plan.tasks if task.seconds is None and not task.problem]

    def measure(self, name: str) -> tuple[Measurement, ...]:
        """Let the models answer a task, once.

        Returns:
            One measurement for each of its parts: the task itself, or a group's members.

        Raises:
            EvaluationError: the task or a model broke; and again whenever it is asked for.
        """
        if name not in self.measurements:
            self.measurements[name] = self._runner.measure(name, lambda measured: self._undecided(name, measured))
            if line := first_answers(self.task(name), self.measurements[name]):
                _log.info("%s", line)
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
        result = CheckResult(check=check, outcome=Outcome.ERROR, error=reason)
        if isinstance(error, UnjudgedError):
            measured = self.measurements[check.task]
            result = replace(
                result, comparison=error.comparison, documents=error.comparison.documents, unit=measured[0].prepared.unit,
                total=sum(part.prepared.total_documents for part in measured),
            )  # fmt: skip
        self.results[check] = result

    def comparison(self, check: Check) -> Comparison:
        """Compare both models on a check, which need not be one of the file's.

        Raises:
            EvaluationError: there is no verdict, and why.
        """
        task = self.task(check.task)
        return self._compared(task, check)[0]

    def unfinished(self) -> dict[str, dict[str, tuple[int, int]]]:
        """How many requests are answered, and of how many, by task that was planned and not measured, and by side."""
        waiting = [name for name in self._runner.draws if name not in self.measurements]
        return {name: sides for name in waiting if (sides := self._runner.answered(name))}

    @property
    def remarks(self) -> tuple[str, ...]:
        """How the answers of this run were made, where that is worth a word."""
        return tuple(self._answering.remarks)

    def close(self) -> None:
        """Free the model."""
        self._answering.close()

    def _judged(self, check: Check) -> CheckResult:
        task = self.task(check.task)
        measured = self.measure(task.name)
        figure = figure_metric(check.metric) if isinstance(task.kind, FigureKind) else None
        unit = figure.unit if figure else measured[0].prepared.unit
        if self.baseline_only and figure:
            return CheckResult(check=check, outcome=Outcome.BASELINE, unit=unit)
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
        measured = self.measure(task.name)
        if isinstance(task.kind, FigureKind):
            figure = self._figure(task, check)
            comparison = compare_figure(check, figure)
            note = " ".join(filter(None, (figure.worst if comparison.broken else "", figure.looked_at)))
            return comparison, Verdict(
                outcome=outcome_of(comparison, figure), basis=_basis(figure), strictest=_strictest(check, figure),
                used=comparison.documents, note=note or None, error_rate=figure.error_rate if check.thresholds else None,
            )  # fmt: skip
        try:
            return self.judging.judge(task, check, measured)
        except UnjudgedError as error:
            example = first_answers(task, measured)
            raise UnjudgedError(f"{error} For example {example}.", error.comparison) if example else error from None

    def _figure(self, task: GateTask, check: Check) -> Figure:
        if isinstance(task.kind, RunningKind):
            return self.runs.figure(task, task.kind, check)
        assert isinstance(task.kind, CountingKind)
        return task.kind.count(check, task.spec, self.facts)

    def _undecided(self, name: str, measured: tuple[Measurement, ...]) -> bool:
        """Whether a check of a task needs more documents; a baseline alone is measured in full."""
        return self.baseline_only or self.judging.is_undecided(self.task(name), measured)

    def _device(self) -> str:
        from pytest_prunegate.execution.devices import resolve_device

        return resolve_device(self.options.device)

    def _noise(self, task: GateTask, check: Check) -> Noise | None:
        if self.noise_floor is None or not task.asks_models or check.is_of_answers:
            return None
        return self.noise_floor.of(task, check, self.measurements[task.name])


def _basis(figure: Figure) -> Basis:
    """What an interval of a figure is about: other runs like these, or what was not looked at of these."""
    if figure.interval is None:
        return Basis.MEASURED
    return Basis.CONFIDENT if figure.error_rate is not None else Basis.SAMPLE


def _strictest(check: Check, figure: Figure) -> tuple[float, ...]:
    """The values of a check's thresholds that a figure's interval would just meet."""
    if figure.interval is None:
        return ()
    low, high = map(float, figure.interval)
    return tuple(low if threshold.rule.at_least else high for threshold in check.thresholds)
