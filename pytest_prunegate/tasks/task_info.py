"""What lm-eval's YAML says of its tasks, groups and tags, as plain records: small enough to be kept, and complete enough to plan a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric of a task: its direction (None: the task decides when it is loaded), and whether it is a mean of documents."""

    name: str
    higher_is_better: bool | None
    is_mean: bool


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task. `kind` is task or class (written in Python); `overrides` is what a group changes of its configuration."""

    name: str
    kind: str
    path: Path | None
    output_type: str | None
    metrics: tuple[MetricInfo, ...]
    filters: tuple[str, ...]
    num_fewshot: int | None
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A metric that a group computes from its members: by their numbers of documents, or each member alike.

    `filters` is None where lm-eval takes those that the members have.
    """

    metric: str
    filters: tuple[str, ...] | None
    weight_by_size: bool


@dataclass(frozen=True, kw_only=True)
class GroupInfo:
    """A group, or a tag (which aggregates nothing), with what stands directly in it.

    `missing` are the names that stand directly in it, and that there is no task of.
    """

    name: str
    kind: str
    aggregates: tuple[Aggregate, ...]
    children: tuple[TaskInfo | GroupInfo, ...]
    missing: tuple[str, ...] = ()

    @property
    def leaves(self) -> tuple[TaskInfo, ...]:
        """All tasks below, each once."""
        return tuple({task.name: task for task in self._leaves()}.values())

    def copies(self, task: str) -> int:
        """How often a task counts: lm-eval counts one that two groups below share twice."""
        return sum(leaf.name == task for leaf in self._leaves())

    @property
    def all_missing(self) -> tuple[str, ...]:
        """What is missing here and below."""
        below = (name for child in self.children if isinstance(child, GroupInfo) for name in child.all_missing)
        return (*self.missing, *below)

    def _leaves(self) -> Iterator[TaskInfo]:
        for child in self.children:
            if isinstance(child, GroupInfo):
                yield from child._leaves()  # noqa: SLF001 - of this class
            else:
                yield child


_KINDS = {"TASK": "task", "PY_TASK": "class", "GROUP": "group", "TAG": "tag"}
_GROUP_FIELDS = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag")
FUNCTION = "!function"


def records_of(entries: Iterable[Any], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and record of each entry of lm-eval's index; paths below the folder of its tasks are relative to it."""
    base = folder.resolve()
    for entry in entries:
        record: dict[str, Any] = {"kind": _KINDS[entry.kind.name]}
        if entry.yaml_path is not None:
            path = entry.yaml_path.resolve()
            record["path"] = str(path.relative_to(base) if path.is_relative_to(base) else path)
        if record["kind"] == "task":
            record |= task_record(entry.cfg)
        elif record["kind"] == "group":
            record |= _group_record(entry.cfg, str(entry.yaml_path.parent))
        elif record["kind"] == "tag":
            record["tasks"] = sorted(entry.tags)
        yield entry.name, record


def task_record(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a task's configuration says of its type, examples, metrics and filters."""
    from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

    output_type = config.get("output_type", "generate_until")
    metric_list = config.get("metric_list")
    if metric_list is None:
        metric_list = [{"metric": name} for name in DEFAULT_METRIC_REGISTRY[output_type]]
    record = {
        "output_type": output_type,
        "num_fewshot": config.get("num_fewshot"),
        "metrics": [_metric(metric) for metric in metric_list],
    }
    if isinstance(config.get("filter_list"), list):
        record["filters"] = [item["name"] for item in config["filter_list"]]
    return record


def _group_record(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    tasks = config.get("task") or []
    overrides = {key: value for key, value in config.items() if key not in _GROUP_FIELDS}
    return {
        "tasks": _with_functions(tasks if isinstance(tasks, list) else [tasks], folder),
        "overrides": _with_functions(overrides, folder),
        "aggregates": aggregates_of(config),
    }


def aggregates_of(config: Mapping[str, Any]) -> list[list[Any]]:
    """A group's own metrics: name, filters (None: those of its members), weighting."""
    written = config.get("aggregate_metric_list") or []
    listed = written if isinstance(written, list) else [written]
    filters = [entry.get("filter_list") for entry in listed]
    return [
        [entry["metric"], [names] if isinstance(names, str) else names, bool(entry.get("weight_by_size", True))]
        for entry, names in zip(listed, filters, strict=True)
    ]


def _with_functions(value: Any, folder: str) -> Any:
    """Mark Python functions, which an index that does not import them holds as ``folder/module.name``."""
    if isinstance(value, dict):
        return {key: _with_functions(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_functions(inner, folder) for inner in value]
    if isinstance(value, str) and value.startswith(f"{folder}/"):
        return {FUNCTION: [folder, value.removeprefix(f"{folder}/")]}
    return value


def _metric(config: Mapping[str, Any]) -> list[Any]:
    from lm_eval.api.registry import HIGHER_IS_BETTER_REGISTRY, METRIC_AGGREGATION_REGISTRY

    # A registry's own get() raises where it knows nothing.
    directions, aggregations = dict(HIGHER_IS_BETTER_REGISTRY), dict(METRIC_AGGREGATION_REGISTRY)
    written = config["metric"]
    if isinstance(written, dict):
        written = written[FUNCTION][1]
    name = str(written)
    if "/" in name or isinstance(
        config["metric"], dict
    ):  # a Python function: the index gives its path, lm-eval uses its name
        name = name.rpartition(".")[2]
    aggregation = config.get("aggregation")
    if aggregation is None:
        aggregation = getattr(aggregations.get(name), "__name__", None)
    is_mean = isinstance(aggregation, str) and aggregation in {
        "mean",
        "nanmean",
    }  # a function of the task's own is none
    return [name, config.get("higher_is_better", directions.get(name)), is_mean]
