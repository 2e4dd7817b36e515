"""Kinds of checks, and the checks of a run: what thresholds.yaml, the options and the index of lm-eval's tasks make together."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pytest_prunegate.input.task_reader import decision_words
from pytest_prunegate.input.thresholds import Decision, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.thresholds import Spec, TaskOptions, Threshold, ThresholdsFile
    from pytest_prunegate.input.yaml_nodes import Mistakes, Node
    from pytest_prunegate.tasks.chat import ChatTemplates
    from pytest_prunegate.tasks.index import TaskIndex
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.tasks.side_by_side import Run
    from pytest_prunegate.tasks.task_info import Aggregate, TaskInfo


_WITHIN_ONE = re.compile(r"acc(_\w+)?|em|((HasAns|NoAns)_)?(exact|exact_match|f1)")
"""Names of scores in [0, 1]: to see that those drawn so far are is not to know that all are."""


class Measure(StrEnum):
    """What a check measures: a metric of the task, a share of the model's outputs, or a share of the documents by both models' scores."""

    METRIC = "metric"
    EMPTY = "max_empty"
    CUT = "max_cut"
    LOST = "max_lost"
    FLIPS = "max_flips"


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What entries of a thresholds file are resolved with.

    `built_in` are the thresholds that ship with the package: metrics for a task that names none. `options` are the
    command line's settings for every task. The result is usable only if `mistakes` stay empty.
    """

    file: ThresholdsFile
    index: TaskIndex
    mistakes: Mistakes
    built_in: ThresholdsFile
    options: TaskOptions


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What requests are made of: the models' facts and conditions, by side, and their chat templates."""

    facts: Mapping[Side, ModelFacts]
    conditions: Mapping[Side, Conditions]
    templates: ChatTemplates


@dataclass(frozen=True, kw_only=True)
class FigureMetric:
    """A figure of both models at once: its `key` as the metric of checks, and the `unit` of what is looked at, all of it.

    `what` is counted of it, and the figure is its share; None where the figure is no such share. `form` is how it is written.
    """

    key: str
    unit: str
    what: str | None = None
    form: Literal["share", "bytes", "number"] = "share"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was found of both models: the figures, the original's None where it has none, and `of` how many of the unit.

    `looked_at` says in a sentence what was looked at, and `worst` what a failure is due to. `interval` are the bounds of a figure that noise
    moves, which are judged in its place, with the probability `error_rate` that it lies outside; None where the figure is what it is.
    """

    metric: FigureMetric
    original: Fraction | None
    pruned: Fraction
    of: int
    looked_at: str = ""
    worst: str = ""
    interval: tuple[Fraction, Fraction] | None = None
    error_rate: float | None = None


class Kind(ABC):
    """A kind of check: what stands below one key of thresholds.yaml, and how it comes to figures.

    One object serves all checks of its kind, and its module is the only one that knows it. `AskingKind` lets models answer,
    `CountingKind` counts in their files, `RunningKind` runs both side by side. `key` names it in results. `section` is its key in
    thresholds.yaml, None where another kind reads its entries; it holds one entry where `is_single`, else entries by names, which the
    user makes up where `names_are_free`. `is_of_lm_eval` says whether lm-eval knows its entries by their names.
    """

    key: ClassVar[str]
    section: ClassVar[str | None]
    is_single: ClassVar[bool] = False
    names_are_free: ClassVar[bool] = False
    is_of_lm_eval: ClassVar[bool] = False

    @abstractmethod
    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The entries of its section; everything wrong goes to the file's mistakes."""

    @abstractmethod
    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """The tasks of a run that its entries ask for, with their checks."""

    @abstractmethod
    def marks(self, task: GateTask) -> list[str]:
        """The pytest marks that say how a task is measured."""

    def decision_words(self, decision: Decision) -> dict[str, Any]:
        """How an entry is decided, as thresholds.yaml would say it."""
        return decision_words(decision, within=Decision())


class AskingKind(Kind):
    """A kind that models answer requests for. `is_sampled`: some of its documents are a random sample of all."""

    is_sampled: ClassVar[bool] = True

    @abstractmethod
    def prepare(self, part: GateTask, preparation: Preparation) -> PreparedTask:
        """Load the data, and make the requests.

        Raises:
            TaskError: the task or its data cannot be loaded, or says nothing of these models.
            ModelError: a tokenizer cannot be loaded.
        """

    @abstractmethod
    def depends_on_models(self, part: GateTask) -> bool:
        """Whether the requests depend on the pair of models."""

    @abstractmethod
    def load_data(self, part: GateTask) -> int | None:
        """Load the data as a run does, without any model.

        Returns:
            Bytes that the prepared data takes; None where nobody says.

        Raises:
            TaskError: it cannot be loaded.
        """

    @abstractmethod
    def settled_settings(self, part: GateTask, prepared: PreparedTask) -> dict[str, Any]:
        """The settings that decide requests and that came out of preparing, by their keys of thresholds.yaml."""


class FigureKind(Kind):
    """A kind whose figures are found of both models at once, and are no scores of documents. `metrics` are those that its checks may have."""

    is_single = True
    metrics: ClassVar[tuple[FigureMetric, ...]]

    def task_of(self, spec: Spec, display: str, metrics: Mapping[Rule, FigureMetric]) -> GateTask:
        """An entry with a check for each of its thresholds, called after its rule.

        Args:
            spec: the entry.
            display: what the user calls the thresholds file.
            metrics: what each rule is about.
        """
        checks = tuple(
            Check(
                task=spec.name, name=threshold.rule.key, measure=Measure.METRIC, metric=metrics[threshold.rule].key, filter="none",
                thresholds=(threshold,), file=display, line=threshold.line,
            ) for threshold in spec.thresholds
        )  # fmt: skip
        return GateTask(kind=self, spec=spec, checks=checks, selected=True)


class CountingKind(FigureKind):
    """A kind that is counted in the models' files."""

    def marks(self, task: GateTask) -> list[str]:  # noqa: ARG002 - others look at it
        """That of checks on files."""
        return ["checkpoint"]

    @abstractmethod
    def count(self, check: Check, spec: Spec, facts: Mapping[Side, ModelFacts]) -> Figure:
        """Count.

        Args:
            check: one of its checks.
            spec: the entry that it is of.
            facts: of both models, by side.

        Raises:
            TaskError: the pruned model's cannot be counted.
        """


class RunningKind(FigureKind):
    """A kind that runs both models side by side, in memory at the same time.

    `is_of_machine`: its figures are of the machine, too. `is_kept`: a baseline can keep what is needed of the original.
    """

    is_of_machine: ClassVar[bool] = False
    is_kept: ClassVar[bool] = False

    def task_or_figure(
        self, spec: Spec, display: str, metrics: Mapping[Rule, FigureMetric], alone: FigureMetric
    ) -> GateTask:
        """An entry with a check for each of its thresholds; where it has none, with one that can only be told.

        Args:
            spec: the entry.
            display: what the user calls the thresholds file.
            metrics: what each rule is about.
            alone: what is told where there is no threshold.
        """
        if spec.thresholds:
            return self.task_of(spec, display, metrics)
        check = Check(
            task=spec.name, name=alone.key, measure=Measure.METRIC, metric=alone.key, filter="none", thresholds=(), file=display, line=spec.line
        )  # fmt: skip
        return GateTask(kind=self, spec=spec, checks=(check,), selected=True)

    @abstractmethod
    def prepare(self, spec: Spec, preparation: Preparation) -> Run:
        """Load the data, and say what will be run.

        Raises:
            TaskError: the data cannot be loaded, or says nothing of these models.
            ModelError: a tokenizer cannot be loaded.
        """

    def refuse_uncomputable(self, check: Check, preparation: Preparation) -> None:
        """See that a check can be told of these models.

        Raises:
            TaskError: it cannot; the task's other checks are not concerned.
        """

    @abstractmethod
    def figure(self, check: Check, found: Any) -> Figure:
        """The figure of a check.

        Args:
            check: one of its checks.
            found: what the run gave.
        """


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
    def is_share(self) -> bool:
        """Whether it measures a share of outputs or of documents, which is no metric of the task."""
        return self.measure is not Measure.METRIC

    @property
    def is_of_answers(self) -> bool:
        """Whether that is a share of the documents, by both models' scores on its metric."""
        return self.measure in {Measure.LOST, Measure.FLIPS}

    @property
    def label(self) -> str:
        """Task and metric in one word, for messages."""
        return f"{self.task}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class GateTask:
    """A name of thresholds.yaml with its checks.

    `info` is lm-eval's task (a group's own metrics, for a group); None for what lm-eval does not know. `members` are a
    group's tasks, with `parent` as their group, which counts each of them `copies` times. `origins` are the tags and
    groups that it was expanded from.
    """

    kind: Kind
    spec: Spec
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
    def asks_models(self) -> bool:
        """Whether models have to answer anything."""
        return isinstance(self.kind, AskingKind)

    @property
    def is_of_original(self) -> bool:
        """Whether the original alone can be measured for it."""
        return self.asks_models or (isinstance(self.kind, RunningKind) and self.kind.is_kept)

    @property
    def asking_kind(self) -> AskingKind:
        """The kind of what models are asked for, as each part of a task is."""
        assert isinstance(self.kind, AskingKind)
        return self.kind

    @property
    def parts(self) -> tuple[GateTask, ...]:
        """What is built and executed for it: its members, or itself; nothing where files are counted."""
        return (self.members or (self,)) if self.asks_models else ()

    @property
    def settings(self) -> TaskSpec:
        """The settings of an lm-eval task or group."""
        assert isinstance(self.spec, TaskSpec)
        return self.spec

    def document_key(self, part: str, doc_id: int) -> DocumentKey:
        """The key of a document's scores, by the name of the part that it is of."""
        return (part, doc_id) if self.members else doc_id

    def is_aggregated(self, check: Check) -> bool:
        """Whether a check's metric is aggregated from those of a group's members; shares of outputs are over all of them."""
        return bool(self.members) and not check.is_share

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
        if check.is_share:
            return all(part.settings.repeats in {None, 1} for part in self.parts)
        known = {metric.name: metric for part in self.parts if part.info for metric in part.info.metrics}
        is_mean = check.metric not in known or known[check.metric].is_mean
        return is_mean and bool(_WITHIN_ONE.fullmatch(check.metric)) and self.is_plain_mean(check)

    @property
    def generates(self) -> bool:
        """Whether outputs are generated; a task in Python may do it without saying so."""
        return any(part.info is not None and part.info.output_type in {None, "generate_until"} for part in self.parts)
