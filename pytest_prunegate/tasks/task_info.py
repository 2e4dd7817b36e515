"""What lm-eval's YAML says of its tasks, groups and tags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
