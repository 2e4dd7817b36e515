"""The checks of a run: what thresholds.yaml, the options and the index of lm-eval's tasks make together."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_prunegate.errors import FixtureError
from pytest_prunegate.thresholds import Decision, MetricSpec, PerplexitySpec, SparsitySpec, TaskSpec, Threshold

if TYPE_CHECKING:
    from pytest_prunegate.evaluation.task_info import Aggregate, TaskInfo


class Measure(StrEnum):
    """What a check measures: a metric of the task, or a share of the model's outputs."""

    METRIC = "metric"
    EMPTY = "max_empty"
    CUT = "max_cut"


class TaskKind(StrEnum):
    """What stands behind a name in thresholds.yaml."""

    TASK = "task"
    GROUP = "group"
    PERPLEXITY = "perplexity"
    SPARSITY = "sparsity"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One metric of one task with its thresholds: one pytest item.

    `name` is what thresholds.yaml calls it, `metric` and `filter` are lm-eval's words.
    """

    task: str
    name: str
    measure: Measure
    metric: str
    filter: str
    thresholds: tuple[Threshold, ...]
    file: str
    line: int
    decision: Decision = field(default_factory=Decision)

    @property
    def location(self) -> str:
        """Where the check is written: ``thresholds.yaml:12``; the option for a task that only it names."""
        return f"{self.file}:{self.line}" if self.line else "--prunegate-tasks"

    @property
    def label(self) -> str:
        """Task and metric in one word, for messages."""
        return f"{self.task}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class GateTask:
    """A name of thresholds.yaml with its checks.

    `info` is lm-eval's task (a group's own metrics, for a group); None for perplexity and sparsity. `members` are a
    group's tasks, with `parent` as their group, which counts each of them `copies` times. `origins` are the tags and
    groups that it was expanded from.
    """

    kind: TaskKind
    spec: TaskSpec | PerplexitySpec | SparsitySpec
    checks: tuple[Check, ...]
    selected: bool
    """Whether this run evaluates it (``--prunegate-tasks`` may leave it out; it then counts as not measured)."""
    info: TaskInfo | None = None
    members: tuple[GateTask, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    parent: str | None = None
    copies: int = 1
    origins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that node ids and marks carry."""
        return self.spec.name

    @property
    def key(self) -> str:
        """The name under which it is measured: a member's holds its group's."""
        return f"{self.parent}::{self.name}" if self.parent else self.name

    @property
    def parts(self) -> tuple[GateTask, ...]:
        """What is built and executed for it: its members, or itself; nothing for sparsity."""
        if self.kind is TaskKind.SPARSITY:
            return ()
        return self.members or (self,)

    @property
    def settings(self) -> TaskSpec:
        """The settings of an lm-eval task or group."""
        assert isinstance(self.spec, TaskSpec)
        return self.spec

    @property
    def generates(self) -> bool:
        """Whether outputs are generated; a task in Python may do it without saying so."""
        return any(part.info is not None and part.info.output_type in {None, "generate_until"} for part in self.parts)


def find_check(task: GateTask, metric: str) -> Check:
    """A check of a task by its name in the thresholds file, or else one without thresholds on any of the task's metrics.

    Raises:
        FixtureError: the task has no such metric, or the name is ambiguous.
    """
    from pytest_prunegate.metric_names import resolve_metric
    from pytest_prunegate.yaml_nodes import Mistakes

    for check in task.checks:
        if check.name == metric:
            return check
    if task.info is None:
        raise FixtureError(f"{task.name} has no check {metric}. It has: {', '.join(check.name for check in task.checks)}.")  # fmt: skip
    written = MetricSpec(name=metric, line=1, thresholds=())
    mistakes = Mistakes(display="prunegate.compare")
    found = list(resolve_metric(task.settings, task.info, written, mistakes))
    if not found:
        raise FixtureError("; ".join(mistake.message for mistake in mistakes.found))
    return found[0]
