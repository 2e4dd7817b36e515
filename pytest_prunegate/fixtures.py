"""What the fixtures ``prunegate`` and ``prunegate_check`` give to a user's own test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.checks import find_check
from pytest_prunegate.collection import known_error, mark_names
from pytest_prunegate.compare import Outcome
from pytest_prunegate.errors import EvaluationError, FixtureError
from pytest_prunegate.report.log import warnings_logged
from pytest_prunegate.report.wording import verdict_sentence
from pytest_prunegate.run import GATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.checks import Check
    from pytest_prunegate.compare import Comparison
    from pytest_prunegate.gate import Gate
    from pytest_prunegate.plan import CheckResult

_HOW = '@pytest.mark.prunegate(tasks=["gsm8k"])'


class Prunegate:
    """Both models on the tasks that a test declared; they are measured already."""

    def __init__(self, gate: Gate, tasks: tuple[str, ...]) -> None:
        self._gate = gate
        self.tasks = tasks

    def compare(self, task: str, metric: str) -> Comparison:
        """Compare both models on a metric.

        Args:
            task: one of the declared tasks.
            metric: as thresholds.yaml would name it: ``accuracy``, ``exact_match,strict-match``.

        Raises:
            FixtureError: the task is not declared, or has no such metric. The test then ends as an error.
            EvaluationError: the metric cannot be computed.
        """
        if task not in self.tasks:
            raise FixtureError(
                f"the task {task} is not declared by this test. Declare it: {_HOW.replace('gsm8k', task)}."
            )
        with warnings_logged():
            return self._gate.comparison(find_check(self._gate.task(task), metric))


def declared_tasks(item: pytest.Item) -> tuple[str, ...]:
    """The tasks that an item needs through a fixture."""
    fixtures = getattr(item, "fixturenames", ())
    callspec = getattr(item, "callspec", None)
    if "prunegate_check" in fixtures and callspec is not None:
        return (callspec.params["prunegate_check"].task,)
    if "prunegate" not in fixtures:
        return ()
    marker = item.get_closest_marker("prunegate")
    tasks = marker.kwargs.get("tasks", ()) if marker else ()
    return tuple(tasks) if isinstance(tasks, (list, tuple)) and all(isinstance(task, str) for task in tasks) else ()


def measured_tasks(request: pytest.FixtureRequest) -> Prunegate:
    """Measure the tasks that the test declares; in its setup, so that what breaks there is an error."""
    tasks = declared_tasks(request.node)
    if not tasks:
        pytest.fail(
            f"this test uses the fixture prunegate, and declares no tasks. Declare them: {_HOW}.",
            pytrace=False,
        )
    gate = _comparing_gate(request)
    _or_error(lambda: [gate.measure(task) for task in tasks])
    return Prunegate(gate, tasks)


def measured_check(request: pytest.FixtureRequest) -> Comparison:
    """Measure the check that the test was parametrized with; where the documents do not decide it, that is an error."""
    gate, check = _comparing_gate(request), request.param
    result: CheckResult = _or_error(lambda: gate.judge(check))
    if result.outcome is Outcome.INCONCLUSIVE:
        pytest.fail(f"{check.location}: {verdict_sentence(result)}", pytrace=False)
    assert result.comparison is not None
    return result.comparison


def _comparing_gate(request: pytest.FixtureRequest) -> Gate:
    gate = request.config.stash[GATE]
    if gate.baseline_only:
        pytest.fail("this test compares two models, and --prunegate-baseline-only measures one.", pytrace=False)
    return gate


def check_parameters(config: pytest.Config) -> list[Any]:
    """A parameter for each check of the selected tasks, with the marks of its task."""
    parameters = []
    for task in config.stash[GATE].tasks:
        marks = [getattr(pytest.mark, name) for name in mark_names(task)] if task.selected else []
        parameters += [_parameter(check, marks) for check in task.checks if task.selected]
    return parameters


def _parameter(check: Check, marks: list[pytest.MarkDecorator]) -> Any:
    return pytest.param(check, id=f"{check.task}-{check.name}", marks=marks)


def _or_error(measure: Callable[[], Any]) -> Any:
    try:
        with warnings_logged():
            return measure()
    except EvaluationError as error:
        raise known_error(error) from None
