"""From a metric as thresholds.yaml names it to lm-eval's metric and filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.errors import FixtureError
from pytest_prunegate.input.thresholds import MetricSpec, Rule, TaskSpec
from pytest_prunegate.tasks.checks import Check, GateTask, Measure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_prunegate.input.yaml_nodes import Mistakes
    from pytest_prunegate.tasks.task_info import MetricInfo, TaskInfo


_ALIASES = {
    "accuracy": ("acc", "exact_match"),
    "EM": ("exact", "exact_match"),
    "exact_match": ("exact",),
    "HasAns_exact_match": ("HasAns_exact",),
    "NoAns_exact_match": ("NoAns_exact",),
}
_WANTS_HIGHER = (Rule.MIN_RECOVERY, Rule.MIN_SCORE)


def resolve_metric(spec: TaskSpec, info: TaskInfo, written: MetricSpec, mistakes: Mistakes) -> Iterable[Check]:
    """The check of one metric as it is written; nothing where it is a mistake."""
    where = f"{spec.name}.{written.name}"
    base, _, suffix = written.name.partition(",")
    wanted = suffix or written.filter
    metric = find_metric(base, info.metrics)
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
        yield Check(
            task=spec.name, name=written.name, measure=Measure.METRIC, metric=metric.name if metric else base,
            filter=wanted or info.filters[0], thresholds=written.thresholds, file=mistakes.display, line=written.line,
            decision=written.decision.settled(),
        )  # fmt: skip


def find_metric(base: str, metrics: tuple[MetricInfo, ...]) -> MetricInfo | None:
    """The metric of that name, or the one that people mean by it."""
    by_name = {metric.name: metric for metric in metrics}
    for name in (base, *_ALIASES.get(base, ())):
        if name in by_name:
            return by_name[name]
    return None


def _judge_rules(where: str, written: MetricSpec, metric: MetricInfo, mistakes: Mistakes) -> None:
    for threshold in written.thresholds:
        if metric.higher_is_better is False and threshold.rule in _WANTS_HIGHER:
            mistakes.add(threshold.line, f"{where}: {threshold.rule} is for metrics where higher is better; "
                                         f"lower is better for {metric.name}. Use max_relative_increase.")  # fmt: skip
        if metric.higher_is_better and threshold.rule is Rule.MAX_RELATIVE_INCREASE:
            mistakes.add(threshold.line, f"{where}: {threshold.rule} is for metrics where lower is better; "
                                         f"higher is better for {metric.name}. Use max_relative_drop.")  # fmt: skip
        if metric.is_mean and threshold.rule is Rule.MAX_ABSOLUTE_DROP and threshold.value > 1:
            mistakes.add(threshold.line, f"{where}: max_absolute_drop is {threshold.text}: scores lie between 0 and 1. "
                                         f"For {threshold.text} points write {threshold.value / 100}.")  # fmt: skip


def find_check(task: GateTask, metric: str) -> Check:
    """A check of a task by its name in the thresholds file, or else one without thresholds on any of the task's metrics.

    Raises:
        FixtureError: the task has no such metric, or the name is ambiguous.
    """
    from pytest_prunegate.input.yaml_nodes import Mistakes
    from pytest_prunegate.tasks.metric_names import resolve_metric

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
