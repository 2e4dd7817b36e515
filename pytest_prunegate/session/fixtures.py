"""What the fixtures ``prunegate`` and ``prunegate_check`` give to a user's own test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.errors import EvaluationError, FixtureError
from pytest_prunegate.report.summary.wording import verdict_sentence
from pytest_prunegate.session.collection import GATES, mark_names
from pytest_prunegate.tasks.guarded import warnings_logged
from pytest_prunegate.tasks.metric_names import find_check
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from pytest_prunegate.gate.candidate_gates import CandidateGates
    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.tasks.checks import Check
    from pytest_prunegate.verdict.compare import Comparison

_HOW = '@pytest.mark.prunegate(tasks=["gsm8k"])'


class Prunegate:
    """The original and each candidate on the tasks that a test declared, or on those of all tests of the session."""

    def __init__(self, gates: CandidateGates, tasks: tuple[str, ...]) -> None:
        self._gates = gates
        self.tasks = tasks

    @property
    def candidates(self) -> tuple[str, ...]:
        """The names of the candidates; none where a single one has no name."""
        named = (pair.options.pruned.name for pair in self._gates.pairs if pair.options.pruned)
        return tuple(name for name in named if name is not None)

    def compare(self, task: str, metric: str, *, candidate: str | None = None) -> Comparison:
        """Compare the original and a candidate on a metric.

        Args:
            task: one of the declared tasks.
            metric: as thresholds.yaml would name it: ``accuracy``, ``exact_match,strict-match``.
            candidate: the pruned model's name; needed where there are several.

        Raises:
            FixtureError: the task is not declared, or has no such metric, or there is no such candidate. The test then ends as an error.
            EvaluationError: the metric cannot be computed.
        """
        gate = self._gate_of(candidate)
        if task not in self.tasks:
            raise FixtureError(
                f"the task {task} is not declared by this test. Declare it: {_HOW.replace('gsm8k', task)}."
            )
        with warnings_logged():
            return gate.comparison(find_check(gate.task(task), metric))

    def _gate_of(self, candidate: str | None) -> Gate:
        pairs = self._gates.pairs
        named = {pair.options.pruned.name: pair for pair in pairs if pair.options.pruned and pair.options.pruned.name}
        pair = pairs[0] if candidate is None and len(pairs) == 1 else named.get(str(candidate))
        if pair:
            return self._gates.of(pair.candidate)
        known = (
            f"candidate= is one of {', '.join(self.candidates)}"
            if self.candidates
            else "the only candidate has no name"
        )
        raise FixtureError(
            f"this run has several candidates: {known}."
            if candidate is None
            else f"this run has no candidate {candidate}: {known}."
        )


@dataclass(frozen=True, kw_only=True)
class CandidateCheck:
    """A check of one candidate, as tests are parametrized with it."""

    candidate: str | None
    check: Check


def declared_tasks(item: pytest.Item, gates: CandidateGates) -> list[tuple[str | None, tuple[str, ...]]]:
    """The tasks that an item needs through a fixture, by candidate."""
    fixtures = getattr(item, "fixturenames", ())
    callspec = getattr(item, "callspec", None)
    if "prunegate_check" in fixtures and callspec is not None:
        param: CandidateCheck = callspec.params["prunegate_check"]
        return [(param.candidate, (param.check.task,))]
    tasks = _marked_tasks(item) if {"prunegate", "prunegate_session"} & set(fixtures) else ()
    return [(candidate, tasks) for candidate in gates.candidates]


def _marked_tasks(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("prunegate")
    tasks = marker.kwargs.get("tasks", ()) if marker else ()
    return tuple(tasks) if isinstance(tasks, (list, tuple)) and all(isinstance(task, str) for task in tasks) else ()


def measured_tasks(request: pytest.FixtureRequest) -> Prunegate:
    """Measure the tasks that the test declares; in its setup, so that what breaks there is an error."""
    tasks = _marked_tasks(request.node)
    if not tasks:
        raise FixtureError(f"this test uses the fixture prunegate, and declares no tasks. Declare them: {_HOW}.")
    gates = _comparing_gates(request)
    with warnings_logged():
        for gate in gates.opened:
            for task in tasks:
                gate.measure(task)
    return Prunegate(gates, tasks)


def session_tasks(request: pytest.FixtureRequest) -> Prunegate:
    """The tasks that the selected tests declare which use the session's fixture, themselves or through another."""
    items = (item for item in request.session.items if "prunegate_session" in getattr(item, "fixturenames", ()))
    tasks = tuple(dict.fromkeys(task for item in items for task in _marked_tasks(item)))
    if not tasks:
        raise FixtureError(f"no test that uses the fixture prunegate_session declares tasks. Declare them: {_HOW}.")
    return Prunegate(_comparing_gates(request), tasks)


def measured_check(request: pytest.FixtureRequest) -> Comparison:
    """Measure the check that the test was parametrized with; where the documents do not decide it, that is an error."""
    param: CandidateCheck = request.param
    gate, check = _comparing_gates(request).of(param.candidate), param.check
    with warnings_logged():
        result = gate.judge(check)
    if result.outcome is Outcome.INCONCLUSIVE:
        raise EvaluationError(f"{check.location}: {verdict_sentence(result)}")
    assert result.comparison is not None
    return result.comparison


def _comparing_gates(request: pytest.FixtureRequest) -> CandidateGates:
    gates = request.config.stash[GATES]
    if request.config.option.setuponly:
        pytest.skip("nothing is measured with --setup-only")
    if gates.baseline_only:
        raise FixtureError("this test compares two models, and --prunegate-baseline-only measures one.")
    return gates


def check_parameters(config: pytest.Config) -> list[Any]:
    """A parameter for each check of the selected tasks of each candidate, with the marks of its task."""
    gates = config.stash[GATES]
    parameters = []
    for candidate in gates.candidates:
        for task in gates.tasks:
            marks = [getattr(pytest.mark, name) for name in mark_names(task)] if task.selected else []
            checks = [CandidateCheck(candidate=candidate, check=check) for check in task.checks if task.selected]
            parameters += [_parameter(one, marks) for one in checks]
    return parameters


def _parameter(one: CandidateCheck, marks: list[pytest.MarkDecorator]) -> Any:
    whose = f"{one.candidate}-" if one.candidate else ""
    return pytest.param(one, id=f"{whose}{one.check.task}-{one.check.name}", marks=marks)
