"""The checks of a run: what thresholds.yaml, the options and the index of lm-eval's tasks make together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_prunegate.input.thresholds import Decision, PerplexitySpec, SparsitySpec, TaskSpec, Threshold

if TYPE_CHECKING:
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.tasks.task_info import Aggregate, TaskInfo


_WITHIN_ONE = re.compile(r"acc(_\w+)?|em|((HasAns|NoAns)_)?(exact|exact_match|f1)")
"""Names of scores in [0, 1]: to see that those drawn so far are is not to know that all are."""


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

    @property
    def asks_models(self) -> bool:
        """Whether models have to answer anything; sparsity is counted in files."""
        return self is not TaskKind.SPARSITY

    @property
    def is_of_lm_eval(self) -> bool:
        """Whether lm-eval knows it under its name; a text is this package's own, and so are weights."""
        return self in {TaskKind.TASK, TaskKind.GROUP}

    @property
    def is_sampled(self) -> bool:
        """Whether some of its documents are a random sample of all; windows of a text are not."""
        return self is not TaskKind.PERPLEXITY

    @property
    def mark(self) -> str | None:
        """The pytest mark of all of its kind; None where it depends on what the task asks."""
        return {TaskKind.SPARSITY: "checkpoint", TaskKind.PERPLEXITY: "perplexity"}.get(self)


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
    def is_of_outputs(self) -> bool:
        """Whether it measures a share of the model's outputs, which is no metric of the task."""
        return self.measure is not Measure.METRIC

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
        if not self.kind.asks_models:
            return ()
        return self.members or (self,)

    @property
    def settings(self) -> TaskSpec:
        """The settings of an lm-eval task or group."""
        assert isinstance(self.spec, TaskSpec)
        return self.spec

    def document_key(self, part: str, doc_id: int) -> DocumentKey:
        """The key of a document's scores, by the name of the part that it is of."""
        return (part, doc_id) if self.kind is TaskKind.GROUP else doc_id

    def is_aggregated(self, check: Check) -> bool:
        """Whether a check's metric is aggregated from those of a group's members; shares of outputs are over all of them."""
        return self.kind is TaskKind.GROUP and not check.is_of_outputs

    def aggregate_of(self, check: Check) -> Aggregate:
        """How a group aggregates a check's metric; the last of several, as in lm-eval."""
        *_, last = (
            aggregate for aggregate in self.aggregates
            if aggregate.metric == check.metric and (aggregate.filters is None or check.filter in aggregate.filters)
        )  # fmt: skip
        return last

    def is_plain_mean(self, check: Check) -> bool:
        """Whether a check is the mean over all documents: a group may weight its members otherwise."""
        if not self.is_aggregated(check):
            return True
        return self.aggregate_of(check).weight_by_size and all(member.copies == 1 for member in self.members)

    def stops_early(self, check: Check) -> bool:
        """Whether the rule that stops early can judge a check: a plain mean of scores that are known to lie in [0, 1]."""
        if not self.kind.is_of_lm_eval:
            return False
        if check.is_of_outputs:
            return all(part.settings.repeats in {None, 1} for part in self.parts)
        known = {metric.name: metric for part in self.parts if part.info for metric in part.info.metrics}
        is_mean = check.metric not in known or known[check.metric].is_mean
        return is_mean and bool(_WITHIN_ONE.fullmatch(check.metric)) and self.is_plain_mean(check)

    @property
    def generates(self) -> bool:
        """Whether outputs are generated; a task in Python may do it without saying so."""
        return any(part.info is not None and part.info.output_type in {None, "generate_until"} for part in self.parts)
