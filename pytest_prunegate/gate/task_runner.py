"""Builds the tasks of a run, says what they will cost, and lets the models answer them."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError, ModelError, TaskError
from pytest_prunegate.execution.batch_runner import work_of
from pytest_prunegate.gate.plan import TaskPlan
from pytest_prunegate.gate.progress import DocumentCounter
from pytest_prunegate.gate.waiting import Waiting
from pytest_prunegate.tasks.checks import CountingKind, RunningKind
from pytest_prunegate.verdict.check_scores import Measurement, refuse_silent_original
from pytest_prunegate.verdict.outlook import Outlook, baseline_warning, outlook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_prunegate.baseline.run_baselines import Baselines
    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.gate.pair import Shared
    from pytest_prunegate.gate.plan import Plan
    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.gate.runs import Runs
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.checks import Check, GateTask, Preparation
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Request
    from pytest_prunegate.tasks.scorer import Scorer
    from pytest_prunegate.verdict.ledger import Commitment, Ledger
    from pytest_prunegate.verdict.sampling import Draws


_log = logging.getLogger("pytest_prunegate")


def _unheard(_: Request) -> None:
    """Nobody waits for these."""


class _Clock:
    """When something began and how long it has taken, whatever is done to the computer's clock meanwhile."""

    def __init__(self) -> None:
        self.started, self._began = datetime.now(UTC), time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began


class TaskRunner:
    """The tasks of a run and the models that answer them.

    Args:
        answering: gets a request answered.
        preparation: what requests are made of.
        progress: is told how it goes on.
        ledger: what is fixed for a pair of models on a task.
        baselines: files in a model's place, which have to answer a task.
        shared: with the other candidates of the run.
        runs: what is run on both models side by side.
        candidate: the pruned model's name, where there are several.
    """

    def __init__(
        self,
        answering: Answering,
        preparation: Preparation,
        *,
        progress: Progress,
        ledger: Ledger,
        baselines: Baselines,
        shared: Shared,
        runs: Runs,
        candidate: str | None,
    ) -> None:
        self._answering = answering
        self._facts = answering.facts
        self._preparation = preparation
        self._progress = progress
        self._ledger = ledger
        self._baselines = baselines
        self._shared = shared
        self._runs = runs
        self._candidate = candidate
        shared.add_later(self._later)
        self._tasks: dict[str, GateTask] = {}
        self.prepared: dict[str, tuple[PreparedTask, ...]] = {}
        self.draws: dict[str, Draws] = {}
        self.failures: dict[str, EvaluationError] = {}
        self.prompt_notes: list[str] = []
        self._uncomputable: dict[str, tuple[str, ...]] = {}
        self._long: dict[str, dict[Side, frozenset[Request]]] = {}
        self._waiting = Waiting(answering)

    def plan(self, task: GateTask) -> TaskPlan:
        """Build a task's requests, once, and count what the store lacks. What goes wrong is remembered for `measure`."""
        self._tasks[task.name] = task
        try:
            if task.name not in self.prepared:
                self.prepared[task.name] = tuple(self._prepare(part) for part in task.parts)
                self.draws[task.name] = self._ledger.draw(task, self.prepared[task.name])
                self._baselines.attend(task, self._may_be_asked(task.name), seed=self._ledger.of[task.name].seed)
                self._refuse_other_encoding(task.name)
                self._look_at_prompts(task.name)
                self._note_long_prompts(
                    self.draws[task.name].first(self._rounds(task)[0])
                )  # those are asked for certain
                self._uncomputable[task.name] = self._refuse_uncomputable(task)
            return self._runs.plan(task, task.kind) if isinstance(task.kind, RunningKind) else self._plan_parts(task)
        except EvaluationError as error:
            self.failures[task.name] = error
            return TaskPlan(
                name=task.name, members=len(task.members), num_fewshot=0, documents=0, least=0, total_documents=0, unit="documents", requests=0,
                missing={}, seconds=0, problem=str(error),
            )  # fmt: skip

    def kept(self, name: str) -> tuple[tuple[Measurement, ...], tuple[Side, ...]]:
        """The documents of a task that the store can answer for all models, or else for the original; and for whom.

        None where what is kept cannot be used, which is told when the task is measured.
        """
        parts = self._may_be_asked(name)
        for sides in (tuple(self._facts), ("original",)):
            try:
                known = tuple(self._kept(part, sides) for part in parts)
            except TaskError:
                return (), ()
            if any(part.prepared.documents for part in known):
                return known, sides
        return (), ()

    def answered(self, name: str) -> dict[str, tuple[int, int]]:
        """How many of a task's requests are answered, and of how many, by side; nothing for a task without requests."""
        parts = self._may_be_asked(name)
        total = sum(len(part.requests) for part in parts)
        lacking = {side: sum(len(self._answering.missing(part, side)) for part in parts) for side in self._facts}
        return {side: (total - missing, total) for side, missing in lacking.items() if total}

    def time_first_requests(self, names: Sequence[str]) -> None:
        """Answer the first requests of tasks on each side, for the sake of their time; the answers are kept.

        A model that cannot be loaded, and a task that cannot run, are told when the task is measured.
        """
        for side in reversed(self._answering.cheapest_order()):
            whose = (self._candidate if side == "pruned" else None) or side
            self._progress.work(f"{whose}: timing the first requests of each task")
            try:
                for name in names:
                    self._time_guarded(name, side)
            except ModelError as error:
                _log.error("%s", error)
                return
            finally:
                self._progress.finish()

    def _time_guarded(self, name: str, side: Side) -> None:
        try:
            self._time(name, side)
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the task's own measurement meets it again
            _log.error("%s: %s", name, error)

    def measure(self, name: str, undecided: Callable[[tuple[Measurement, ...]], bool]) -> tuple[Measurement, ...]:
        """Let the models answer a task, in rounds of documents.

        Args:
            name: the task's.
            undecided: whether a check needs more documents than were measured.

        Returns:
            One measurement for each of its parts: the task itself, or a group's members; none where there are no documents.

        Raises:
            EvaluationError: the task or a model broke; and again whenever it is asked for.
        """
        if name in self.failures:
            raise self.failures[name]
        try:
            return self._measure(name, undecided)
        except EvaluationError as error:
            _log.error("%s: %s", name, error)
            self.failures[name] = error
            raise

    def _measure(self, name: str, undecided: Callable[[tuple[Measurement, ...]], bool]) -> tuple[Measurement, ...]:
        task, draws, clock = self._tasks[name], self.draws[name], _Clock()
        measured: tuple[Measurement, ...] = ()
        if not draws.parts:
            self._runs.measure(name, self._shared.later)
            return measured
        self._ledger.fix(task)
        for count in self._rounds(task):
            measured = self._answered(draws.first(count), clock)
            if not undecided(measured):
                break
        self._log_executed(name, measured)
        refuse_silent_original(name, measured)
        return measured

    def _log_executed(self, name: str, measured: Sequence[Measurement]) -> None:
        """How much of a task this run itself had answered; the reports do not tell a resumed run from an undisturbed one."""
        executed = self._answering.executed
        counts = {side: sum(executed[part.prepared.key, side] for part in measured) for side in self._facts}
        whose = f"[{self._candidate}]" if self._candidate else ""
        told = ", ".join(f"{side} {number}" for side, number in counts.items())
        _log.info("%s%s: requests executed in this run: %s", name, whose, told)

    def _answered(self, parts: tuple[PreparedTask, ...], clock: _Clock) -> tuple[Measurement, ...]:
        answering = self._answering
        if any(answering.missing(part, side) for part in parts for side in self._facts):
            self._note_long_prompts(parts)  # what is refused is told before a model is loaded
        answering.load_all(lambda side: self._first_missing(parts, side))
        scorers: dict[str, dict[Side, Scorer]] = {part.key: {} for part in parts}
        for side in answering.cheapest_order():  # all parts of a group on one model, then on the other
            for part in parts:
                scorers[part.key][side] = self._answer(part, side)
        return tuple(self._measurement(part, scorers[part.key], clock) for part in parts)

    def _measurement(self, part: PreparedTask, scorers: dict[Side, Scorer], clock: _Clock) -> Measurement:
        return Measurement(
            prepared=part, scorers=scorers, shares={side: scorer.shares() for side, scorer in scorers.items()},
            started=clock.started, seconds=clock.seconds(),
        )  # fmt: skip

    def _answer(self, part: PreparedTask, side: Side) -> Scorer:
        missing = self._answering.missing(part, side)
        long = self._long[part.key][side] if missing else frozenset()
        counter = DocumentCounter(part, missing, self._progress)
        self._waiting.work[part.key, side] = 0
        if missing:
            documents = len(part.documents)
            self._progress.start(
                part.name, (self._candidate if side == "pruned" else None) or side, documents=documents,
                done=documents - counter.waiting, work=counter.work, later=self._shared.later(), unit=part.unit,
            )  # fmt: skip
        try:
            return self._scorer(part, side, long, counter.answered)
        finally:
            self._progress.finish()

    def _scorer(
        self, part: PreparedTask, side: Side, long: frozenset[Request], progress: Callable[[Request], None] = _unheard
    ) -> Scorer:
        from pytest_prunegate.tasks.scorer import Scorer

        responses = self._answering.responses(part, side, long=long, progress=progress)
        return Scorer(part, responses, model=self._facts[side].title)

    def _kept(self, part: PreparedTask, sides: tuple[Side, ...]) -> Measurement:
        missing = {request for side in sides for request in self._answering.missing(part, side)}
        lacking = {position for position, request in enumerate(part.requests) if request in missing}
        whole = part.only({
            document.doc_id for document in part.documents
            if not any(position in lacking for positions in document.requests for position in positions)
        })  # fmt: skip
        scorers = {side: self._scorer(whole, side, frozenset()) for side in sides}
        return self._measurement(whole, scorers, _Clock())

    def _prepare(self, part: GateTask) -> PreparedTask:
        kind = part.asking_kind
        if kind.depends_on_models(part):
            return kind.prepare(part, self._preparation)
        return self._shared.built(part.key, lambda: kind.prepare(part, self._preparation))

    def _plan_parts(self, task: GateTask) -> TaskPlan:
        draws = self.draws[task.name]
        most, least = draws.most(task), self._rounds(task)[0]
        parts = draws.first(most)
        sides = [side for side in self._facts if side != "original" or all(self._shared.asks_original(part.key, self) for part in parts)]  # fmt: skip
        lacking = {(part.key, side): self._answering.missing(part, side) for part in parts for side in sides}
        self._waiting.work |= {key: work_of(requests) for key, requests in lacking.items()}
        return TaskPlan(
            name=task.name, members=len(task.members), num_fewshot=max((part.num_fewshot for part in parts), default=0),
            documents=most, least=least, total_documents=draws.total,
            unit=task.kind.metrics[0].unit if isinstance(task.kind, CountingKind) else parts[0].unit,
            requests=sum(len(part.requests) for part in parts),
            missing={side: sum(len(lacking[part.key, side]) for part in parts) for side in sides},
            seconds=self._waiting.seconds(parts), uncomputable=self._uncomputable.get(task.name, ()),
        )  # fmt: skip

    def _rounds(self, task: GateTask) -> list[int]:
        """Documents drawn after each round; a baseline alone is measured at once, because nothing can be decided."""
        draws = self.draws[task.name]
        return list(draws.rounds(task)) if len(self._facts) > 1 else [draws.most(task)]

    def _refuse_other_encoding(self, name: str) -> None:
        from pytest_prunegate.tasks.tokenizers import refuse_other_encoding

        for part in self._may_be_asked(name):
            refuse_other_encoding(part, self._facts)

    def _look_at_prompts(self, name: str) -> None:
        """What would make a figure say nothing: choices without a token of their own are refused, the rest is noted."""
        from pytest_prunegate.tasks.unmeasurable import prompt_notes, refuse_unscored

        for part in self._may_be_asked(name):
            for side, facts in self._facts.items():
                if missing := self._answering.missing(part, side):  # what is kept was looked at before it was asked
                    refuse_unscored(part, facts, missing)
            if part.task is not None:
                self.prompt_notes += prompt_notes(part)

    def _refuse_uncomputable(self, task: GateTask) -> tuple[str, ...]:
        from pytest_prunegate.tasks.unmeasurable import refuse_uncomputable

        if isinstance(task.kind, CountingKind):
            return tuple(self._uncountable(task, task.kind))
        return refuse_uncomputable(task, self.prepared[task.name])

    def _uncountable(self, task: GateTask, kind: CountingKind) -> Iterator[str]:
        """What of a task cannot be counted, which is told before hours of other tasks; its other checks are judged."""
        for check in task.checks if len(self._facts) > 1 else ():
            try:
                kind.count(check, task.spec, self._facts)
            except TaskError as error:
                yield str(error)

    def _may_be_asked(self, name: str) -> tuple[PreparedTask, ...]:
        """The parts with all documents that the run may come to."""
        return self.draws[name].first(self.draws[name].most(self._tasks[name]))

    def _note_long_prompts(self, parts: Sequence[PreparedTask]) -> None:
        """The prompts that are cut; where that is refused, documents that are not drawn refuse nothing."""
        for part in parts:
            self._long[part.key] = self._answering.long_prompts(part)

    def _time(self, name: str, side: Side) -> None:
        """The first part that lacks answers stands for all parts of a group."""
        draws = self.draws[name]
        for part in draws.first(self._rounds(self._tasks[name])[0]):
            if self._answering.missing(part, side):
                self._note_long_prompts([part])
                self._ledger.fix(self._tasks[name])
                self._answering.time_requests(part, side, self._long[part.key][side])
                return

    def _first_missing(self, parts: Sequence[PreparedTask], side: Side) -> Request | None:
        return next((missing[0] for part in parts if (missing := self._answering.missing(part, side))), None)

    def _later(self) -> float | None:
        """Seconds expected for everything that has not begun."""
        times = [self._waiting.seconds(draws.parts) for name, draws in self.draws.items() if name not in self.failures]
        return None if None in times else sum(time for time in times if time is not None)


def outlooks(
    plan: Plan, tasks: Sequence[GateTask], runner: TaskRunner, commitments: Mapping[str, Commitment]
) -> tuple[tuple[Outlook, ...], dict[Check, str]]:
    """What is expected of the checks that a model has to answer for, and what is wrong with their baselines; a comparison needs two models.

    Args:
        plan: of the run.
        tasks: of the run.
        runner: knows the order of the documents, and what the store can answer.
        commitments: what was fixed for each task, by task.
    """
    found: list[Outlook | None] = []
    warned: dict[Check, str] = {}
    for planned in plan.tasks if len(plan.facts) > 1 else ():
        if planned.problem or not any(planned.missing.values()) or not runner.draws[planned.name].parts:
            continue
        task = next(task for task in tasks if task.name == planned.name)
        draws, (kept, sides) = runner.draws[task.name], runner.kept(task.name)
        warnings = {check: baseline_warning(task, check, kept) for check in task.checks if kept}
        warned |= {check: warning for check, warning in warnings.items() if warning}
        found += [
            outlook(task, check, draws, commitments[task.name].terms(task, check, draws), kept=kept, sides=sides)
            for check in task.checks
        ]
    return tuple(one for one in found if one is not None), warned
