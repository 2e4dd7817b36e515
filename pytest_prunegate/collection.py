"""pytest's nodes: ThresholdsFile -> TaskCollector -> CheckItem. They decide nothing; the gate does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.compare import Comparison, Outcome
from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.report.log import warnings_logged
from pytest_prunegate.report.wording import relative_change, rerun_command, verdict_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_prunegate.checks import Check, GateTask
    from pytest_prunegate.gate import Gate

_NOT_IN_MARKS = re.compile(r"[^\w:+.\-\[\]\\/]")  # what pytest's -m expressions do not accept


class CheckFailedError(Exception):
    """A check is outside of its thresholds; carries its comparison."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__(comparison.check.label)
        self.comparison = comparison


def known_error(error: EvaluationError) -> BaseException:
    """What pytest shows without a traceback; raised in a setup it is an ERROR."""
    return pytest.fail.Exception(str(error), pytrace=False)


def mark_name(name: str) -> str:
    """A task's name as a mark; a few of lm-eval's names hold characters that ``-m`` does not take."""
    return _NOT_IN_MARKS.sub("_", name).lstrip("_")


def mark_names(task: GateTask) -> list[str]:
    """All marks of a task's items."""
    kind = "generation" if task.info.output_type == "generate_until" else "loglikelihood"
    kinds = [kind] if task.info.output_type else []
    return [mark_name(task.spec.name), *kinds, *task.spec.marks]


class ThresholdsFile(pytest.File):
    """The collected thresholds file."""

    gate: Gate

    @classmethod
    def from_gate(cls, parent: pytest.Collector, *, gate: Gate, **kwargs: Any) -> ThresholdsFile:
        """Make the node, with the gate that its items ask."""
        node: ThresholdsFile = cls.from_parent(parent, **kwargs)
        node.gate = gate
        return node

    def collect(self) -> Iterator[TaskCollector]:
        """One collector for each selected task."""
        for task in self.gate.tasks:
            if task.selected:
                yield TaskCollector.from_task(self, task=task)


class TaskCollector(pytest.Collector):
    """A task; its setup measures once for all of its selected checks."""

    parent: ThresholdsFile
    task: GateTask

    @classmethod
    def from_task(cls, parent: ThresholdsFile, *, task: GateTask) -> TaskCollector:
        """Make the node with the task's marks."""
        node: TaskCollector = cls.from_parent(parent, name=task.spec.name)
        node.task = task
        for name in mark_names(task):
            node.add_marker(name)
        node.add_marker(pytest.mark.prunegate)
        return node

    def collect(self) -> Iterator[CheckItem]:
        """One item for each check."""
        for check in self.task.checks:
            yield CheckItem.from_check(self, check=check)

    def setup(self) -> None:
        """Let both models answer. pytest remembers a failure for each of the items below."""
        try:
            with warnings_logged():
                self.parent.gate.measure(self.task.spec.name)
        except Exception as error:
            for item in self.session.items:
                if isinstance(item, CheckItem) and item.parent is self:
                    self.parent.gate.record_error(item.check, error)
            if isinstance(error, EvaluationError):
                raise known_error(error) from None
            raise


class CheckItem(pytest.Item):
    """One check: set up by a comparison, run by asserting its verdict."""

    parent: TaskCollector
    check: Check
    comparison: Comparison

    @classmethod
    def from_check(cls, parent: TaskCollector, *, check: Check) -> CheckItem:
        """Make the node; a named candidate stands behind the check's name, in brackets."""
        candidate = parent.parent.gate.options.pruned.name
        node: CheckItem = cls.from_parent(parent, name=f"{check.name}[{candidate}]" if candidate else check.name)
        node.check = check
        return node

    @property
    def gate(self) -> Gate:
        """The gate of the file."""
        return self.parent.parent.gate

    def setup(self) -> None:
        """Compare; what broke is an error, not a failure."""
        try:
            with warnings_logged():
                self.comparison = self.gate.judge(self.check)
        except EvaluationError as error:
            raise known_error(error) from None
        self.user_properties += _properties(self.comparison)

    def runtest(self) -> None:
        """Assert the verdict.

        Raises:
            CheckFailedError: the pruned model lost more than its threshold allows.
        """
        if self.comparison.outcome is Outcome.FAIL:
            raise CheckFailedError(self.comparison)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict in words, and how to run the item alone; no traceback."""
        if not isinstance(excinfo.value, CheckFailedError):
            return super().repr_failure(excinfo, style)
        total = self.gate.measurements[self.check.task].prepared.total_documents
        sentence = verdict_sentence(excinfo.value.comparison, total_documents=total)
        folder = self.config.invocation_params.dir  # a node id would be relative to rootdir, where nobody stands
        file = self.path.relative_to(folder) if self.path.is_relative_to(folder) else self.path
        command = rerun_command(self.gate.options.given, f"{file}::{self.check.task}::{self.name}")
        return f"{self.check.location}: {sentence}\nRun it alone: {command}"

    def reportinfo(self) -> tuple[Any, int, str]:
        """File, line (from 0) and name, for pytest's reports."""
        return self.path, max(self.check.line - 1, 0), f"{self.check.task}::{self.name}"


def _properties(comparison: Comparison) -> list[tuple[str, object]]:
    """A check's numbers, as JUnit properties."""
    relative = relative_change(comparison.relative_drop)
    numbers: dict[str, object] = {
        "task": comparison.check.task,
        "metric": f"{comparison.check.metric},{comparison.check.filter}",
        "original": float(comparison.original),
        "pruned": float(comparison.pruned),
        "difference": float(comparison.difference),
        "relative": relative,
        "thresholds": "; ".join(threshold.describe() for threshold in comparison.check.thresholds),
        "documents": comparison.documents,
        "lost": comparison.lost,
        "gained": comparison.gained,
        "verdict": comparison.outcome.value,
    }
    return [(f"prunegate_{name}", value) for name, value in numbers.items() if value is not None]
