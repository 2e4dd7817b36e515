"""Sparsity: the least share of zeros among the pruned model's prunable weights, counted in its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.rules import MIN_SPARSITY
from pytest_prunegate.input.threshold_values import read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.checks import Check, Counted, CountingKind, GateTask, Measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Resolution


@dataclass(frozen=True, kw_only=True)
class SparsitySpec(Spec):
    """What the pruned model's sparsity has to be."""

    section = "sparsity"


class Sparsity(CountingKind):
    """The share of zeros; more of it is no loss, and the original's is for information."""

    key = section = "sparsity"
    unit = "weights"
    what = "zeros"

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The one entry: ``{min: 50%}``, or the share alone."""
        before = len(around.mistakes.found)
        thresholds = read_thresholds(node, rules=(MIN_SPARSITY,), alone=MIN_SPARSITY, extra=("marks",))
        if not thresholds and len(around.mistakes.found) == before:
            node.wrong("has no threshold. Write for example `sparsity: {min: 50%}`.")
        entries = node.entries(what="min") if node.kind == "map" else ()
        marks = next((read_marks(value) for key, value in entries if key == "marks"), ())
        return (SparsitySpec(name=self.key, line=node.line, thresholds=thresholds, marks=marks),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """A check for each threshold."""
        return [self._task(spec, resolution.file.display) for spec in specs]

    def marks(self, task: GateTask) -> list[str]:
        """That of checks on files."""
        return ["checkpoint"]

    def count(self, check: Check, facts: Mapping[Side, ModelFacts]) -> Counted:
        """The shares of zeros that reading the checkpoints counted."""
        original, pruned = facts["original"].sparsity, facts["pruned"]
        share, weights = pruned.sparsity.share, pruned.sparsity.elements
        if share is None or weights is None:
            base = pruned.base_sparsity.share if pruned.base_sparsity else None
            told = f" Its base's is {float(base):.1%}." if base is not None else ""
            raise TaskError(
                f"{check.location}: the sparsity of the {pruned.title} cannot be counted: {pruned.sparsity.problem}.{told}"
            )
        return Counted(original=original.share, pruned=share, of=weights)

    def _task(self, spec: Spec, display: str) -> GateTask:
        checks = tuple(
            Check(
                task=spec.name, name=threshold.rule.key, measure=Measure.METRIC, metric=self.key, filter="none",
                thresholds=(threshold,), file=display, line=threshold.line,
            ) for threshold in spec.thresholds
        )  # fmt: skip
        return GateTask(kind=self, spec=spec, checks=checks, selected=True)
