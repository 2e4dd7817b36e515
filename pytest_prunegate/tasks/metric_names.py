"""From a metric as thresholds.yaml names it to lm-eval's metric and filter, of a task or of a group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import FixtureError
from pytest_prunegate.input.thresholds import MetricSpec, TaskSpec
from pytest_prunegate.tasks.checks import Check, GateTask, Measure
from pytest_prunegate.tasks.task_info import GroupInfo, MetricInfo, TaskInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_prunegate.input.yaml_nodes import Mistakes


_ALIASES = {
    "accuracy": ("acc", "exact_match"),
    "EM": ("exact", "exact_match"),
    "exact_match": ("exact",),
    "HasAns_exact_match": ("HasAns_exact",),
    "NoAns_exact_match": ("NoAns_exact",),
}


def resolve_metric(spec: TaskSpec, info: TaskInfo, written: MetricSpec, mistakes: Mistakes) -> Iterable[Check]:
    """The checks of one metric as it is written, its own first; nothing where it is a mistake."""
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
        check = Check(
            task=spec.name, name=written.name, measure=Measure.METRIC, metric=metric.name if metric else base,
            filter=wanted or info.filters[0], thresholds=tuple(one for one in written.thresholds if not one.rule.has_own_check),
            file=mistakes.display, line=written.line, decision=written.decision.settled(),
        )  # fmt: skip
        if check.thresholds or not written.thresholds:
            yield check
        for threshold in written.thresholds:
            if threshold.rule.has_own_check:
                yield replace(
                    check, name=threshold.rule.name_of(check.name), measure=Measure(threshold.rule.key), thresholds=(threshold,),
                    line=threshold.line,
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
        problem = threshold.rule.problem_with(
            metric.name,
            threshold.value,
            threshold.text,
            higher_is_better=metric.higher_is_better,
            is_mean=metric.is_mean,
        )
        if problem:
            mistakes.add(threshold.line, f"{where}: {problem}")


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


def task_problem(spec: TaskSpec, info: TaskInfo) -> str | None:
    """Why a task cannot be asked as the file says; None where it can."""
    if spec.num_fewshot and info.num_fewshot == 0:
        return "lm-eval fixes num_fewshot of this task at 0 and ignores any other. Take num_fewshot out."
    if info.kind != "task" or info.output_type == "generate_until":
        return None
    return _generation_problem(spec, f"this one is of type {info.output_type}")


def _generation_problem(spec: TaskSpec, why: str) -> str | None:
    key = next((key for key in ("max_gen_toks", "repeats", "gen_kwargs") if getattr(spec, key)), None)
    return f"{key} is for tasks that generate; {why}." if key else None


def group_problem(spec: TaskSpec, info: GroupInfo) -> str | None:
    """Why a group or tag cannot be asked as the file says; None where it can."""
    if info.all_missing:
        return f"lm-eval does not know some of the tasks of this {info.kind}: {'; '.join(info.all_missing)[:300]}."
    if not info.leaves:
        return f"there is no task in this {info.kind}."
    if spec.dataset and "data_files" in spec.dataset:
        return (
            f"this {info.kind} has {len(info.leaves)} tasks, and data_files cannot be the data of all of them. Give `path` alone (a folder that "
            "holds the data set with its configurations), or write the group as YAML of your own for --prunegate-include-path."
        )
    if not any(leaf.output_type in {None, "generate_until"} for leaf in info.leaves):
        return _generation_problem(spec, f"none of this {info.kind} does")
    return None


def own_metrics(info: GroupInfo) -> TaskInfo:
    """A group's metrics, as a task would have them: aggregated from its members, with the filters that they have."""
    metrics: dict[str, MetricInfo] = {}
    filters: dict[str, None] = {}
    for aggregate in info.aggregates:
        having = [(leaf, metric) for leaf in info.leaves for metric in leaf.metrics if metric.name == aggregate.metric]
        names = aggregate.filters or tuple(sorted({name for leaf, _ in having for name in leaf.filters}))
        filters |= dict.fromkeys(names)
        directions = {metric.higher_is_better for _, metric in having}
        better = directions.pop() if len(directions) == 1 else None
        if having:
            metrics[aggregate.metric] = MetricInfo(name=aggregate.metric, higher_is_better=better, is_mean=True)
    return TaskInfo(
        name=info.name, kind="group", path=None, output_type=None, metrics=tuple(metrics.values()), filters=tuple(filters) or ("none",),
        num_fewshot=None,
    )  # fmt: skip


def for_metric(own: TaskInfo, info: GroupInfo, written: MetricSpec) -> TaskInfo:
    """A group's metrics with the filters that go with one of them."""
    metric = find_metric(written.name.partition(",")[0], own.metrics)
    filters = tuple(name for name in own.filters if metric and has_both(info, metric.name, name))
    return replace(own, filters=filters) if filters else own


def has_both(info: GroupInfo, metric: str, name: str) -> bool:
    """Whether a group aggregates a metric after a filter, and a member has them; not every filter goes with every metric."""
    aggregated = any(
        aggregate.metric == metric and (aggregate.filters is None or name in aggregate.filters)
        for aggregate in info.aggregates
    )
    return aggregated and any(
        name in leaf.filters and metric in {known.name for known in leaf.metrics} for leaf in info.leaves
    )


def metrics_of(info: TaskInfo | GroupInfo) -> tuple[MetricInfo, ...]:
    """All metrics of a task, or of what stands in a group."""
    if isinstance(info, TaskInfo):
        return info.metrics
    if info.aggregates:
        return own_metrics(info).metrics
    return tuple(metric for child in info.children for metric in metrics_of(child))


def has_metric(info: TaskInfo | GroupInfo, written: MetricSpec) -> bool:
    """Whether a task or group may have a metric; a task in Python lists none, and may have any."""
    known = metrics_of(info)  # a task in Python lists none, and may have any
    return not known or find_metric(written.name.partition(",")[0], known) is not None
