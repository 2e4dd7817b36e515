"""Plans a run and carries it out: tasks, documents, both models, one comparison for each check."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pytest_prunegate.checks import Check, Measure
from pytest_prunegate.compare import Comparison, Outcome, compare
from pytest_prunegate.errors import EvaluationError, TaskError
from pytest_prunegate.plan import SIDES, CheckResult, Measurement, Plan, TaskPlan
from pytest_prunegate.scores import MetricScores, OutputShares

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checks import GateTask
    from pytest_prunegate.evaluation.answering import Answering, Executor
    from pytest_prunegate.evaluation.requests import Conditions, Request
    from pytest_prunegate.evaluation.tasks import PreparedTask
    from pytest_prunegate.options import Options
    from pytest_prunegate.store import Store

_log = logging.getLogger("pytest_prunegate")


class Progress(Protocol):
    """Is told how a measurement goes on."""

    def start(self, task: str, side: str, documents: int) -> None:
        """A model begins with documents that the store cannot answer."""

    def advance(self, documents: int) -> None:
        """So many of them are answered now."""

    def finish(self) -> None:
        """The model has answered them all, or failed."""


@dataclass(kw_only=True)
class Gate:
    """One run: measures tasks when they are asked for, and remembers how each check ended."""

    options: Options
    tasks: tuple[GateTask, ...]
    progress: Progress
    results: dict[Check, CheckResult] = field(default_factory=dict)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    plan: Plan | None = None
    _facts: dict[str, ModelFacts] = field(default_factory=dict)
    _prepared: dict[str, PreparedTask] = field(default_factory=dict)
    _failures: dict[str, EvaluationError] = field(default_factory=dict)
    _answering: Answering | None = None
    _store: Store | None = None

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the file, asked for or not."""
        return tuple(check for task in self.tasks for check in task.checks)

    def find_models(self) -> None:
        """Find both models' files and read what they say. Writes nothing.

        Raises:
            InputError: a model cannot be found.
            ModelError: a checkpoint is damaged.
        """
        from pytest_prunegate.checkpoint.facts import read_facts
        from pytest_prunegate.checkpoint.location import locate
        from pytest_prunegate.evaluation.environment import prepare_environment

        options = self.options
        prepare_environment(options.cache_dir)
        for side, argument in zip(SIDES, (options.original, options.pruned), strict=True):
            self._facts[side] = read_facts(locate(argument, cache_dir=options.cache_dir))

    def open(self, names: Sequence[str]) -> Plan:
        """Open the store, and build the named tasks.

        A task that cannot be built fails when it is measured; the others go on.

        Raises:
            StoreError: responses cannot be kept.
        """
        from pytest_prunegate.evaluation.answering import Answering
        from pytest_prunegate.store import Store

        self._store = Store(self.options.store)
        self._answering = Answering(
            self._store,
            self._facts,
            dtype=self.options.dtype,
            device=self.options.device,
            start_executor=self._start_executor,
        )
        plans = tuple(self._plan_task(task) for task in self.tasks if task.spec.name in names)
        self.plan = Plan(facts=self._facts, conditions=self._answering.conditions, tasks=plans)
        return self.plan

    def measure(self, name: str) -> Measurement:
        """Let both models answer a task, once; a failure is remembered and raised again.

        Raises:
            EvaluationError: the task or a model broke.
        """
        if name in self._failures:
            raise self._failures[name]
        if name not in self.measurements:
            try:
                self.measurements[name] = self._measure(self._prepared[name])
            except EvaluationError as error:
                _log.error("%s: %s", name, error)
                self._failures[name] = error
                raise
        return self.measurements[name]

    def judge(self, check: Check) -> Comparison:
        """Compare both models on a check, and remember how it ended.

        Raises:
            EvaluationError: there is no verdict, and why.
        """
        try:
            comparison = self.comparison(check)
        except Exception as error:
            self.record_error(check, error)
            raise
        self.results[check] = CheckResult(check=check, outcome=comparison.outcome, comparison=comparison)
        return comparison

    def record_error(self, check: Check, error: Exception) -> None:
        """Remember that a check ended without a verdict."""
        reason = str(error) if isinstance(error, EvaluationError) else f"{type(error).__name__}: {error}"
        self.results[check] = CheckResult(check=check, outcome=Outcome.ERROR, error=reason)

    def comparison(self, check: Check) -> Comparison:
        """Compare both models on a check, which need not be one of the file's.

        Raises:
            EvaluationError: there is no verdict, and why.
        """
        measurement = self.measure(check.task)
        if check.measure is Measure.METRIC:
            scores = {side: measurement.scorers[side].score((check.metric, check.filter)) for side in SIDES}
        else:
            scores = {side: _share_scores(check, measurement.shares[side]) for side in SIDES}
        pruned_shares = measurement.shares["pruned"]
        silent = pruned_shares is not None and pruned_shares.all_empty
        return compare(check, scores["original"], scores["pruned"], silent=silent)

    def close(self) -> None:
        """Free the model and close the store."""
        if self._answering:
            self._answering.close()
        if self._store:
            self._store.close()

    def _plan_task(self, task: GateTask) -> TaskPlan:
        from pytest_prunegate.evaluation.tasks import prepare_task

        assert self._answering is not None
        try:
            prepared = prepare_task(task, seed=self.options.seed)
        except EvaluationError as error:
            self._failures[task.spec.name] = error
            return TaskPlan(
                name=task.spec.name, num_fewshot=0, documents=0, total_documents=0, requests=0,
                missing=dict.fromkeys(SIDES, 0), seconds=0, problem=str(error),
            )  # fmt: skip
        self._prepared[task.spec.name] = prepared
        missing = {side: len(self._answering.missing(prepared, side)) for side in SIDES}
        times = [self._answering.expected_seconds(prepared, side, count) for side, count in missing.items() if count]
        return TaskPlan(
            name=prepared.name, num_fewshot=prepared.num_fewshot, documents=len(prepared.documents),
            total_documents=prepared.total_documents, requests=len(prepared.requests), missing=missing,
            seconds=None if None in times else sum(time for time in times if time is not None),
        )  # fmt: skip

    def _measure(self, prepared: PreparedTask) -> Measurement:
        from pytest_prunegate.evaluation.scoring import Scorer

        answering = self._answering
        assert answering is not None
        started = datetime.now(UTC)
        missing = {side: answering.missing(prepared, side) for side in SIDES}
        long = answering.long_prompts(prepared)
        answering.load_both(prepared)
        scorers = {}
        for side in answering.cheapest_order():
            counter = _DocumentCounter(prepared, missing[side], self.progress)
            if missing[side]:
                self.progress.start(prepared.name, side, counter.documents)
            try:
                responses = answering.responses(prepared, side, long=long[side], progress=counter.answered)
            finally:
                self.progress.finish()
            scorers[side] = Scorer(prepared, responses)
        shares = {side: scorers[side].shares() for side in SIDES}
        _refuse_silent_original(prepared, shares["original"])
        return Measurement(
            prepared=prepared, scorers=scorers, shares=shares, executed={side: len(requests) for side, requests in missing.items()},
            started=started, finished=datetime.now(UTC),
        )  # fmt: skip

    def _start_executor(self, conditions: dict[str, Conditions]) -> Executor:
        from pytest_prunegate.evaluation.models import LoadSettings, LocalModels, resolve_device

        device = resolve_device(self.options.device)
        return LocalModels(LoadSettings(batch_size=self.options.batch_size, device=device), conditions)


class _DocumentCounter:
    """Turns answered requests into answered documents."""

    def __init__(self, prepared: PreparedTask, missing: Sequence[Request], progress: Progress) -> None:
        self._progress = progress
        self._documents_of: dict[Request, list[int]] = {request: [] for request in missing}
        self._open: dict[int, int] = {}
        for document in prepared.documents:
            requests = {prepared.requests[position] for positions in document.requests for position in positions}
            waiting = requests & self._documents_of.keys()
            if waiting:
                self._open[document.doc_id] = len(waiting)
            for request in waiting:
                self._documents_of[request].append(document.doc_id)
        self.documents = len(self._open)

    def answered(self, request: Request) -> None:
        """One request is answered."""
        finished = 0
        for doc_id in self._documents_of[request]:
            self._open[doc_id] -= 1
            finished += self._open[doc_id] == 0
        self._progress.advance(finished)


def _share_scores(check: Check, shares: OutputShares | None) -> MetricScores:
    if shares is None:
        raise TaskError(f"{check.location}: {check.label}: the task {check.task} generates no outputs.")
    share: Fraction | None = shares.empty if check.measure is Measure.EMPTY else shares.cut
    if share is None:
        raise TaskError(f"{check.location}: {check.label}: the backend does not say which outputs were cut.")
    return MetricScores(by_document={}, aggregate=share, documents=shares.outputs, higher_is_better=False)


def _refuse_silent_original(prepared: PreparedTask, shares: OutputShares | None) -> None:
    if shares is not None and shares.all_empty:
        raise TaskError(
            f"{prepared.name}: all {shares.outputs} outputs of the original model are empty, so that there is nothing to compare with. "
            "Look at its prompts: a missing chat template or a wrong stop string is the usual reason."
        )
