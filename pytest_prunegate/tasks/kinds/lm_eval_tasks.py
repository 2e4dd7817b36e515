"""Tasks and groups of lm-eval: what thresholds.yaml, the options and the index of lm-eval's tasks say of them.

A mistake that only the index can tell (an unknown task, an ambiguous metric) gets the same file and line as
one of the file itself, and all of them are reported together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_prunegate.input.task_reader import TaskReader
from pytest_prunegate.input.thresholds import Decide, Inconclusive, MetricSpec, Spec, TaskSpec
from pytest_prunegate.tasks.checks import AskingKind, Check, GateTask, Measure
from pytest_prunegate.tasks.guarded import seeded_as_lm_eval
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
from pytest_prunegate.tasks.requests import canonical_json
from pytest_prunegate.tasks.task_builder import FEWSHOT_SEED
from pytest_prunegate.tasks.task_info import GroupInfo, TaskInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Preparation, Resolution
    from pytest_prunegate.tasks.prepared import PreparedTask

_SUGGESTED_FOR = 20  # unknown tasks; each search takes a tenth of a second


class LmEvalTask(AskingKind):
    """A task of lm-eval. Its section names tasks, groups and tags; what stands behind a name, lm-eval's index tells."""

    key = "task"
    section: ClassVar[str | None] = "tasks"
    is_of_lm_eval = True

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """Tasks by name, with their settings and metrics."""
        reader = TaskReader(around)
        entries = node.entries(what="tasks with their metrics")
        return tuple(reader.task(name, replace(value, path=name)) for name, value in entries)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """The task or group of each name; for a tag, and a group that aggregates nothing, what stands in it."""
        resolver = _Resolver(resolution)
        found = [task for spec in specs if isinstance(spec, TaskSpec) for task in resolver.tasks(spec)]
        return [replace(task, checks=tuple(_decided(check, resolution) for check in task.checks)) for task in found]

    def marks(self, task: GateTask) -> list[str]:
        """How it is asked; a task in Python does not say."""
        types = {part.info.output_type for part in task.parts if part.info is not None and part.info.output_type}
        return sorted({"generation" if name == "generate_until" else "loglikelihood" for name in types})

    def prepare(self, part: GateTask, preparation: Preparation) -> PreparedTask:
        """Let lm-eval load it and build its requests."""
        from pytest_prunegate.tasks.task_builder import prepare_task

        return prepare_task(part, chat_template=preparation.templates.of)

    def depends_on_models(self, part: GateTask) -> bool:
        """A chat template is a model's."""
        return bool(part.settings.apply_chat_template)

    def load_data(self, part: GateTask) -> int | None:
        """Let lm-eval load it."""
        from pytest_prunegate.tasks.task_builder import load_guarded

        with seeded_as_lm_eval():
            task, _ = load_guarded(part)
        splits = getattr(task, "dataset", None) or {}
        sizes = [getattr(getattr(split, "data", None), "nbytes", None) for split in splits.values()]
        known = [int(size) for size in sizes if size is not None]
        return sum(known) if known else None

    def settled_settings(self, part: GateTask, prepared: PreparedTask) -> dict[str, Any]:
        """Its examples and generation arguments."""
        found: dict[str, Any] = {"num_fewshot": prepared.num_fewshot}
        if prepared.num_fewshot:
            seed = part.settings.fewshot_seed
            found["fewshot_seed"] = FEWSHOT_SEED if seed is None else seed
        if part.settings.gen_kwargs:
            found["gen_kwargs"] = canonical_json(dict(part.settings.gen_kwargs))
        return found


class LmEvalGroup(LmEvalTask):
    """A group of lm-eval's tasks that aggregates their metrics. It is named like a task."""

    key = "group"
    section = None


TASK, GROUP = LmEvalTask(), LmEvalGroup()


def _decided(check: Check, resolution: Resolution) -> Check:
    """A check with how it is decided, the command line first."""
    given = replace(check.decision, **resolution.options.decision.said())
    if given.decide is Decide.CONFIDENT and given.inconclusive is Inconclusive.CONTINUE:
        resolution.mistakes.add(
            check.line, f"{check.label}: `inconclusive: continue` goes on until the full run is known, which says nothing of other "
            "documents. Take it out, or decide: full.",
        )  # fmt: skip
    return replace(check, decision=given)


class _Resolver:
    def __init__(self, resolution: Resolution) -> None:
        self._index = resolution.index
        self._mistakes = resolution.mistakes
        self._options = resolution.options
        self._unknown = 0
        self._built_in = {spec.name: spec for spec in resolution.built_in.tasks}
        said = [replace(threshold, text=f"{threshold.text} (built-in)") for threshold in resolution.built_in.defaults]
        self._defaults = resolution.file.defaults or tuple(said)

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
            kind=TASK, spec=self._settled(spec, info), info=info, checks=tuple(checks), selected=True,
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
            kind=GROUP, spec=spec, info=own, checks=tuple(checks), selected=True, members=members,
            aggregates=info.aggregates,
        )  # fmt: skip

    def _member(self, spec: TaskSpec, leaf: TaskInfo, checks: list[Check]) -> GateTask:
        own = replace(spec, name=leaf.name, metrics=(), outputs=())
        has = {metric.name for metric in leaf.metrics}
        return GateTask(
            kind=TASK, spec=self._settled(own, leaf), info=leaf, selected=True, parent=spec.name,
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
        seen: dict[tuple[str, str, str], Check] = {}
        for check in checks:
            twin = seen.setdefault((check.metric, check.filter, check.measure), check)
            if twin is not check:
                self._mistakes.add(check.line, f"{check.label}: is the same metric as {twin.name} (line {twin.line}). "
                                               "Put their thresholds together.")  # fmt: skip

    def _wrong(self, spec: TaskSpec, message: str) -> None:
        self._mistakes.add(spec.line, f"{spec.name}: {message}")
