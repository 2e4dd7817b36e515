"""Joins thresholds.yaml, the options and the index of lm-eval's tasks into the checks of a run.

A mistake that only the index can tell (an unknown task, an ambiguous metric) gets the same file and line as
one of the file itself, and all of them are reported together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_prunegate.errors import FixtureError
from pytest_prunegate.thresholds import MetricSpec, Rule, TaskSpec, Threshold
from pytest_prunegate.yaml_nodes import Mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_prunegate.evaluation.index import MetricInfo, TaskIndex, TaskInfo
    from pytest_prunegate.thresholds import ThresholdsFile

_ALIASES = {
    "accuracy": ("acc", "exact_match"),
    "EM": ("exact", "exact_match"),
    "exact_match": ("exact",),
    "HasAns_exact_match": ("HasAns_exact",),
    "NoAns_exact_match": ("NoAns_exact",),
}
_SUPPORTED = ("generate_until", "loglikelihood", "multiple_choice")


class Measure(StrEnum):
    """What a check measures: a metric of the task, or a share of the model's outputs."""

    METRIC = "metric"
    EMPTY = "max_empty"
    CUT = "max_cut"


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
    """A task of the run with its checks, and where lm-eval keeps it."""

    spec: TaskSpec
    info: TaskInfo
    checks: tuple[Check, ...]
    selected: bool
    """Whether this run evaluates it (``--prunegate-tasks`` may leave it out; it then counts as not measured)."""


def resolve_tasks(
    file: ThresholdsFile,
    index: TaskIndex,
    mistakes: Mistakes,
    *,
    only: tuple[str, ...],
    limit: int | None,
    built_in: ThresholdsFile,
) -> tuple[GateTask, ...]:
    """The tasks and checks of a run.

    Args:
        file: the thresholds file as it was read.
        index: lm-eval's tasks.
        mistakes: takes what is wrong; the result is usable only if it stays empty.
        only: the names of ``--prunegate-tasks``: the file's others are left out, unknown ones are added.
        limit: documents per task, in place of the file's.
        built_in: the thresholds that ship with the package: metrics for a task that names none.
    """
    specs = list(file.tasks)
    known = {spec.name for spec in specs}
    specs += [TaskSpec(name=name, line=0) for name in dict.fromkeys(only) if name not in known]
    resolver = _Resolver(file, index, mistakes, built_in)
    found = []
    for spec in specs:
        selected = not only or spec.name in only
        task = resolver.task(spec if limit is None else replace(spec, limit=limit), selected=selected)
        found += [task] if task else []
    return tuple(found)


def find_check(task: GateTask, metric: str) -> Check:
    """A check of a task by its name in the thresholds file, or else one without thresholds on any of the task's metrics.

    Raises:
        FixtureError: the task has no such metric, or the name is ambiguous.
    """
    for check in task.checks:
        if check.name == metric:
            return check
    written = MetricSpec(name=metric, line=1, thresholds=())
    mistakes = Mistakes(display="prunegate.compare")
    found = list(resolve_metric(task.spec, task.info, written, mistakes))
    if not found:
        raise FixtureError("; ".join(mistake.message for mistake in mistakes.found))
    return found[0]


class _Resolver:
    def __init__(self, file: ThresholdsFile, index: TaskIndex, mistakes: Mistakes, built_in: ThresholdsFile) -> None:
        self._file = file
        self._index = index
        self._mistakes = mistakes
        self._built_in = {spec.name: spec for spec in built_in.tasks}
        said = [replace(threshold, text=f"{threshold.text} (built-in)") for threshold in built_in.defaults]
        self._defaults = file.defaults or tuple(said)

    def task(self, spec: TaskSpec, *, selected: bool) -> GateTask | None:
        info = self._index.find(spec.name)
        problem = self._task_problem(spec, info)
        if info is None or problem:
            self._mistakes.add(spec.line, f"{spec.name}: {problem}")
            return None
        spec = self._with_metrics(spec, info)
        checks = [
            check for metric in spec.metrics or () for check in resolve_metric(spec, info, metric, self._mistakes)
        ]
        checks += [self._output(spec, info, output) for output in spec.outputs]
        self._refuse_twins(checks)
        return GateTask(spec=spec, info=info, checks=tuple(checks), selected=selected)

    def _task_problem(self, spec: TaskSpec, info: TaskInfo | None) -> str | None:
        if info is None:
            near = self._index.suggest(spec.name)
            hint = f"Did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists them."
            return f"lm-eval has no task of this name. {hint}"
        if info.kind in {"group", "tag"}:
            return f"this is a {info.kind} of tasks; those are not supported yet. Name its tasks one by one."
        if info.kind == "task" and info.output_type not in _SUPPORTED:
            return f"tasks of type {info.output_type} are not supported yet; supported are {', '.join(_SUPPORTED)}."
        if spec.num_fewshot and info.num_fewshot == 0:
            return "lm-eval fixes num_fewshot of this task at 0 and ignores any other. Take num_fewshot out."
        if spec.max_gen_toks and info.kind == "task" and info.output_type != "generate_until":
            return f"max_gen_toks is for tasks that generate; this one is of type {info.output_type}."
        return None

    def _with_metrics(self, spec: TaskSpec, info: TaskInfo) -> TaskSpec:
        """A task that names no metric takes the built-in file's, or else all it has, under the defaults."""
        if spec.metrics is not None:
            return spec
        if spec.name in self._built_in:
            shipped = self._built_in[spec.name]
            metrics = tuple(
                replace(metric, thresholds=self._defaults, line=spec.line) for metric in shipped.metrics or ()
            )
            return replace(
                spec,
                metrics=metrics,
                num_fewshot=shipped.num_fewshot if spec.num_fewshot is None else spec.num_fewshot,
            )
        if not info.metrics:
            self._mistakes.add(
                spec.line,
                f"{spec.name}: name its metrics: lm-eval defines this task in Python and lists none.",
            )
        several = len(info.filters) > 1
        return replace(spec, metrics=tuple(
            MetricSpec(name=f"{metric.name},{name}" if several else metric.name, line=spec.line, thresholds=self._defaults)
            for metric in info.metrics for name in info.filters
        ))  # fmt: skip

    def _output(self, spec: TaskSpec, info: TaskInfo, written: MetricSpec) -> Check:
        if info.kind == "task" and info.output_type != "generate_until":
            self._mistakes.add(written.line, f"{spec.name}.outputs.{written.name}: is for tasks that generate text; "
                                             f"this one is of type {info.output_type}.")  # fmt: skip
        return _check(
            spec,
            written,
            self._file.display,
            measure=Measure(written.name),
            metric=written.name,
            filter_name="none",
        )

    def _refuse_twins(self, checks: list[Check]) -> None:
        seen: dict[tuple[str, str], Check] = {}
        for check in checks:
            twin = seen.setdefault((check.metric, check.filter), check)
            if twin is not check:
                self._mistakes.add(check.line, f"{check.label}: is the same metric as {twin.name} (line {twin.line}). "
                                               "Put their thresholds together.")  # fmt: skip


def resolve_metric(spec: TaskSpec, info: TaskInfo, written: MetricSpec, mistakes: Mistakes) -> Iterable[Check]:
    """The check of one metric as it is written; nothing where it is a mistake."""
    where = f"{spec.name}.{written.name}"
    base, _, suffix = written.name.partition(",")
    wanted = suffix or written.filter
    metric = _find_metric(base, info.metrics)
    if suffix and written.filter and suffix != written.filter:
        mistakes.add(written.line, f"{where}: names two filters, {suffix} and {written.filter}. Keep one.")
    elif info.metrics and metric is None:
        choices = ", ".join(known.name for known in info.metrics)
        mistakes.add(written.line, f"{where}: {spec.name} has no metric of this name. It has: {choices}.")
    elif wanted and wanted not in info.filters:
        mistakes.add(
            written.line,
            f"{where}: there is no filter {wanted}. Filters of {spec.name}: {', '.join(info.filters)}.",
        )
    elif not wanted and len(info.filters) > 1:
        choices = " or ".join(f"{base},{name}" for name in info.filters)
        mistakes.add(
            written.line,
            f"{where}: is ambiguous, {spec.name} has several filters. Write {choices}, or add `filter:`.",
        )
    else:
        if metric is not None:
            _judge_rules(where, written, metric, mistakes)
        name = metric.name if metric else base
        yield _check(
            spec,
            written,
            mistakes.display,
            measure=Measure.METRIC,
            metric=name,
            filter_name=wanted or info.filters[0],
        )


def _judge_rules(where: str, written: MetricSpec, metric: MetricInfo, mistakes: Mistakes) -> None:
    for threshold in written.thresholds:
        if metric.higher_is_better is False and threshold.rule in {Rule.MIN_RECOVERY, Rule.MIN_SCORE}:
            mistakes.add(threshold.line, f"{where}: {threshold.rule} is for metrics where higher is better; "
                                         f"lower is better for {metric.name}. Use max_relative_drop.")  # fmt: skip
        if metric.is_mean and threshold.rule is Rule.MAX_ABSOLUTE_DROP and threshold.value > 1:
            mistakes.add(threshold.line, f"{where}: max_absolute_drop is {threshold.text}: scores lie between 0 and 1. "
                                         f"For {threshold.text} points write {threshold.value / 100}.")  # fmt: skip


def _check(spec: TaskSpec, written: MetricSpec, file: str, *, measure: Measure, metric: str, filter_name: str) -> Check:
    return Check(
        task=spec.name, name=written.name, measure=measure, metric=metric, filter=filter_name,
        thresholds=written.thresholds, file=file, line=written.line,
    )  # fmt: skip


def _find_metric(base: str, metrics: tuple[MetricInfo, ...]) -> MetricInfo | None:
    by_name = {metric.name: metric for metric in metrics}
    for name in (base, *_ALIASES.get(base, ())):
        if name in by_name:
            return by_name[name]
    return None
