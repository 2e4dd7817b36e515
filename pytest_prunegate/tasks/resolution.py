"""Joins thresholds.yaml, the options and the index of lm-eval's tasks into the checks of a run.

A mistake that only the index can tell (an unknown task, an ambiguous metric) gets the same file and line as
one of the file itself, and all of them are reported together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.input.thresholds import Decide, Decision, Inconclusive, MetricSpec, TaskSpec
from pytest_prunegate.tasks.checks import Check, GateTask, Measure, TaskKind
from pytest_prunegate.tasks.metric_names import (
    for_metric,
    group_problem,
    has_both,
    has_metric,
    metrics_of,
    own_metrics,
    resolve_metric,
    task_problem,
)
from pytest_prunegate.tasks.task_info import GroupInfo, TaskInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_prunegate.input.thresholds import PerplexitySpec, SparsitySpec, TaskOptions, ThresholdsFile
    from pytest_prunegate.input.yaml_nodes import Mistakes
    from pytest_prunegate.tasks.index import TaskIndex

_SUGGESTED_FOR = 20  # unknown tasks; each search takes a tenth of a second
_DEFAULT_TEXT = "wikitext2"


def resolve_tasks(
    file: ThresholdsFile,
    index: TaskIndex,
    mistakes: Mistakes,
    *,
    only: tuple[str, ...],
    options: TaskOptions,
    built_in: ThresholdsFile,
) -> tuple[GateTask, ...]:
    """The tasks and checks of a run: what the files say first, then perplexity, then the tasks in the file's order.

    Args:
        file: the thresholds file as it was read.
        index: lm-eval's tasks.
        mistakes: takes what is wrong; the result is usable only if it stays empty.
        only: the names of ``--prunegate-tasks``: the file's others are left out, unknown ones are added.
        options: the command line's settings for every task.
        built_in: the thresholds that ship with the package: metrics for a task that names none.
    """
    resolver = _Resolver(file, index, mistakes, built_in, options)
    found = [_sparsity(file.sparsity, mistakes)] if file.sparsity else []
    found += [_perplexity(spec, options, mistakes) for spec in file.perplexity]
    for spec in file.tasks:
        found += resolver.tasks(spec)
    known = {name for task in found for name in (task.name, *task.origins)} | {spec.name for spec in file.tasks}
    for name in dict.fromkeys(only):
        if name not in known:
            found += resolver.tasks(TaskSpec(name=name, line=0, decision=file.decision))
    _refuse_twin_tasks(found, mistakes)
    return tuple(
        replace(
            task, selected=not only or bool({task.name, *task.origins} & set(only)),
            checks=tuple(replace(check, decision=_decision(check, options, mistakes)) for check in task.checks)
            if task.kind.is_of_lm_eval else task.checks,
        ) for task in found
    )  # fmt: skip


def _decision(check: Check, options: TaskOptions, mistakes: Mistakes) -> Decision:
    """How a check of documents is decided, the command line first."""
    given = replace(check.decision, **options.decision.said())
    if given.decide is Decide.CONFIDENT and given.inconclusive is Inconclusive.CONTINUE:
        mistakes.add(
            check.line, f"{check.label}: `inconclusive: continue` goes on until the full run is known, which says nothing of other "
            "documents. Take it out, or decide: full.",
        )  # fmt: skip
    return given


def _sparsity(spec: SparsitySpec, mistakes: Mistakes) -> GateTask:
    checks = tuple(
        Check(
            task=spec.name, name=threshold.rule.key, measure=Measure.METRIC, metric="sparsity", filter="none",
            thresholds=(threshold,), file=mistakes.display, line=threshold.line,
        ) for threshold in spec.thresholds
    )  # fmt: skip
    return GateTask(kind=TaskKind.SPARSITY, spec=spec, checks=checks, selected=True)


def _text_decision(spec: PerplexitySpec, options: TaskOptions) -> Decision:
    """How a perplexity is decided, the command line first; not early, for windows of a text are no random sample."""
    written = spec.decision.settled()
    given = replace(written, **options.decision.said())
    decide = written.decide if given.decide is Decide.EARLY else given.decide
    decide = Decide.FULL if decide is Decide.EARLY else decide  # of the file's defaults
    return Decision(decide=decide, error_rate=given.error_rate)


def _perplexity(spec: PerplexitySpec, options: TaskOptions, mistakes: Mistakes) -> GateTask:
    if spec.dataset is None and spec.name != _DEFAULT_TEXT:
        mistakes.add(
            spec.line, f"perplexity.{spec.name}: only {_DEFAULT_TEXT} is known by name. Give the text of {spec.name} with "
            "`dataset: {path: text, data_files: {test: my.txt}}`.",
        )  # fmt: skip
    check = Check(
        task=spec.name, name="perplexity", measure=Measure.METRIC, metric="perplexity", filter="none",
        thresholds=spec.thresholds, file=mistakes.display, line=spec.line, decision=_text_decision(spec, options),
    )  # fmt: skip
    return GateTask(kind=TaskKind.PERPLEXITY, spec=spec, checks=(check,), selected=True)


def _refuse_twin_tasks(tasks: list[GateTask], mistakes: Mistakes) -> None:
    seen: dict[str, GateTask] = {}
    for task in tasks:
        twin = seen.setdefault(task.name, task)
        if twin is not task:
            through = f" through {task.origins[0]}" if task.origins else ""
            mistakes.add(task.spec.line, f"{task.name}: is there twice{through} (first in line {twin.spec.line}). Keep one.")  # fmt: skip


class _Resolver:
    def __init__(
        self, file: ThresholdsFile, index: TaskIndex, mistakes: Mistakes, built_in: ThresholdsFile, options: TaskOptions
    ) -> None:
        self._index = index
        self._mistakes = mistakes
        self._options = options
        self._unknown = 0
        self._built_in = {spec.name: spec for spec in built_in.tasks}
        said = [replace(threshold, text=f"{threshold.text} (built-in)") for threshold in built_in.defaults]
        self._defaults = file.defaults or tuple(said)

    def tasks(self, spec: TaskSpec) -> list[GateTask]:
        """The task or group of a name; for a tag, and a group that aggregates nothing, what stands in it."""
        info = self._index.find(spec.name)
        if info is None:
            self._unknown += 1
            near = self._index.suggest(spec.name) if self._unknown <= _SUGGESTED_FOR else []
            hint = f"Did you mean {', '.join(near)}?" if near else "`lm-eval ls tasks` lists them."
            self._wrong(spec, f"lm-eval has no task of this name. {hint}")
            return []
        return list(self._found(spec, info, ()))

    def _found(self, spec: TaskSpec, info: TaskInfo | GroupInfo, origins: tuple[str, ...]) -> Iterator[GateTask]:
        if isinstance(info, TaskInfo):
            task = self._task(spec, info)
            if task:
                yield replace(task, origins=origins)
            return
        problem = group_problem(spec, info)
        if problem:
            self._wrong(spec, problem)
        elif info.aggregates:
            yield replace(self._group(spec, info), origins=origins)
        else:
            for child in info.children:
                yield from self._found(self._for_child(spec, info, child), child, (*origins, info.name))

    def _for_child(self, spec: TaskSpec, info: GroupInfo, child: TaskInfo | GroupInfo) -> TaskSpec:
        """What a tag's settings mean for one of its tasks: those of the named metrics that it has."""
        if spec.metrics is None:
            return replace(spec, name=child.name)
        for metric in spec.metrics:
            if not any(has_metric(one, metric) for one in info.children):
                self._mistakes.add(metric.line, f"{spec.name}.{metric.name}: no task of {spec.name} has this metric.")
        metrics = tuple(metric for metric in spec.metrics if has_metric(child, metric))
        if not metrics and spec.metrics:
            names = ", ".join(metric.name for metric in metrics_of(child))
            self._wrong(spec, f"its task {child.name} has none of the metrics that are named here. It has: {names}.")
        return replace(spec, name=child.name, metrics=metrics)

    def _task(self, written: TaskSpec, info: TaskInfo) -> GateTask | None:
        problem = task_problem(written, info)
        if problem:
            self._wrong(written, problem)
            return None
        spec = self._with_metrics(written, info)
        checks = [check for metric in spec.metrics or () for check in resolve_metric(spec, info, metric, self._mistakes)]  # fmt: skip
        checks += [self._output(spec, info.output_type, output) for output in spec.outputs]
        self._refuse_twins(checks)
        return GateTask(
            kind=TaskKind.TASK, spec=self._settled(spec, info), info=info, checks=tuple(checks), selected=True,
        )  # fmt: skip

    def _group(self, written: TaskSpec, info: GroupInfo) -> GateTask:
        own = own_metrics(info)
        spec = self._with_metrics(written, own, lambda metric, name: has_both(info, metric, name))
        checks = [
            check for metric in spec.metrics or ()
            for check in resolve_metric(spec, for_metric(own, info, metric), metric, self._mistakes)
        ]  # fmt: skip
        generates = any(leaf.output_type in {None, "generate_until"} for leaf in info.leaves)
        checks += [self._output(spec, None if generates else "multiple_choice", output) for output in spec.outputs]
        self._refuse_twins(checks)
        members = tuple(replace(self._member(spec, leaf, checks), copies=info.copies(leaf.name)) for leaf in info.leaves)  # fmt: skip
        return GateTask(
            kind=TaskKind.GROUP, spec=spec, info=own, checks=tuple(checks), selected=True, members=members,
            aggregates=info.aggregates,
        )  # fmt: skip

    def _member(self, spec: TaskSpec, leaf: TaskInfo, checks: list[Check]) -> GateTask:
        own = replace(spec, name=leaf.name, metrics=(), outputs=())
        has = {metric.name for metric in leaf.metrics}
        return GateTask(
            kind=TaskKind.TASK, spec=self._settled(own, leaf), info=leaf, selected=True, parent=spec.name,
            checks=tuple(replace(check, task=leaf.name) for check in checks if check.metric in has and check.filter in leaf.filters),
        )  # fmt: skip

    def _settled(self, spec: TaskSpec, info: TaskInfo) -> TaskSpec:
        """The settings with the command line's in place of the file's. As in lm-eval, a task fixed at no examples keeps none."""
        given, generates = self._options, info.output_type in {None, "generate_until"}
        fewshot = spec.num_fewshot if given.num_fewshot is None else given.num_fewshot
        return replace(
            spec,
            limit=given.limit or spec.limit,
            unsafe_code=given.unsafe_code,
            num_fewshot=None if info.num_fewshot == 0 else fewshot,
            fewshot_seed=spec.fewshot_seed if given.fewshot_seed is None else given.fewshot_seed,
            gen_kwargs={**spec.gen_kwargs, **given.gen_kwargs} if generates else {},
            max_gen_toks=(given.max_gen_toks or spec.max_gen_toks) if generates else None,
            repeats=spec.repeats if generates else None,
            apply_chat_template=spec.apply_chat_template if given.apply_chat_template is None else given.apply_chat_template,
            system_instruction=given.system_instruction or spec.system_instruction,
            fewshot_as_multiturn=spec.fewshot_as_multiturn if given.fewshot_as_multiturn is None else given.fewshot_as_multiturn,
        )  # fmt: skip

    def _with_metrics(
        self, spec: TaskSpec, info: TaskInfo, goes_with: Callable[[str, str], bool] | None = None
    ) -> TaskSpec:
        """A task that names no metric takes the built-in file's, or else all it has, under the defaults."""
        if spec.metrics is not None:
            return spec
        if spec.name in self._built_in:
            shipped = self._built_in[spec.name]
            metrics = tuple(
                replace(metric, thresholds=self._defaults, line=spec.line, decision=spec.decision)
                for metric in shipped.metrics or ()
            )
            return replace(
                spec,
                metrics=metrics,
                num_fewshot=shipped.num_fewshot if spec.num_fewshot is None else spec.num_fewshot,
            )
        if not info.metrics:
            self._wrong(spec, "name its metrics: lm-eval defines this task in Python and lists none.")
        several = len(info.filters) > 1
        return replace(spec, metrics=tuple(
            MetricSpec(
                name=f"{metric.name},{name}" if several else metric.name, line=spec.line, thresholds=self._defaults, decision=spec.decision
            )
            for metric in info.metrics for name in info.filters if goes_with is None or goes_with(metric.name, name)
        ))  # fmt: skip

    def _output(self, spec: TaskSpec, output_type: str | None, written: MetricSpec) -> Check:
        if output_type not in {None, "generate_until"}:
            self._mistakes.add(written.line, f"{spec.name}.outputs.{written.name}: is for tasks that generate text; "
                                             f"this one is of type {output_type}.")  # fmt: skip
        return Check(
            task=spec.name, name=written.name, measure=Measure(written.name), metric=written.name, filter="none",
            thresholds=written.thresholds, file=self._mistakes.display, line=written.line, decision=written.decision.settled(),
        )  # fmt: skip

    def _refuse_twins(self, checks: list[Check]) -> None:
        seen: dict[tuple[str, str], Check] = {}
        for check in checks:
            twin = seen.setdefault((check.metric, check.filter), check)
            if twin is not check:
                self._mistakes.add(check.line, f"{check.label}: is the same metric as {twin.name} (line {twin.line}). "
                                               "Put their thresholds together.")  # fmt: skip

    def _wrong(self, spec: TaskSpec, message: str) -> None:
        self._mistakes.add(spec.line, f"{spec.name}: {message}")
