"""Whether the zeros that pruning left survived fine-tuning and merging (``--prunegate-mask-from``)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.errors import ModelError, TaskError
from pytest_prunegate.input.file_rules import MAX_REGROWN
from pytest_prunegate.input.threshold_values import read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.checks import CountingKind, Figure, FigureMetric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checkpoint.mask_survival import Survival
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Check, GateTask, Resolution

REGROWN = FigureMetric(key="regrown_zeros", unit="zeros", what="regrown")
_NAMED = 3  # layers, and matrices, that a failure names


@dataclass(frozen=True, kw_only=True)
class MaskSpec(Spec):
    """How many of the zeros may be numbers again."""

    section = "mask"


class Mask(CountingKind):
    """The share of the zeros of the model right after pruning that are no zeros any more."""

    key = section = "mask"
    metrics = (REGROWN,)

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The one entry: ``{max_regrown: 0.1%}``, or the share alone."""
        before = len(around.mistakes.found)
        thresholds = read_thresholds(node, rules=(MAX_REGROWN,), alone=MAX_REGROWN, extra=("marks",))
        if not thresholds and len(around.mistakes.found) == before:
            node.wrong("has no threshold. Write for example `mask: {max_regrown: 0.1%}`.")
        entries = dict(node.entries(what="thresholds")) if node.kind == "map" else {}
        marks = read_marks(entries["marks"]) if "marks" in entries else ()
        return (MaskSpec(name=self.key, line=node.line, thresholds=thresholds, marks=marks),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """One check."""
        return [self.task_of(spec, resolution.file.display, {MAX_REGROWN: REGROWN}) for spec in specs]

    def count(self, check: Check, spec: Spec, facts: Mapping[Side, ModelFacts]) -> Figure:
        """Compare the zeros of the pruned model with those that it had right after pruning."""
        if facts["pruned"].mask_from is None:
            why = "the model right after pruning, before it was fine-tuned, whose zeros are compared"
            raise TaskError(f"{check.location}: --prunegate-mask-from=MODEL is missing: {why}.")
        try:
            found = facts["pruned"].survival
        except ModelError as error:
            what = f"what became of the zeros of the {facts['pruned'].title}"
            raise TaskError(f"{check.location}: {what} cannot be counted: {error}.") from error
        if not found.zeros:
            source = facts["pruned"].mask_from.path
            raise TaskError(
                f"{check.location}: {source} has no zeros that could grow again. Is it the model right after pruning?"
            )
        return Figure(
            metric=REGROWN, original=None, pruned=Fraction(found.regrown, found.zeros), of=found.zeros, worst=_worst(found),
            looked_at=f"{found.new:,} zeros are new since {facts['pruned'].mask_from.path}.",
        )  # fmt: skip


def _worst(found: Survival) -> str:
    layers = [f"{layer} ({regrown / zeros:.1%})" for layer, zeros, regrown in found.by_layer() if regrown]
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    tensors = sorted((one for one in found.tensors if one.regrown), key=lambda one: -one.regrown / one.zeros)[:_NAMED]
    named = ", ".join(f"{one.name} {one.regrown / one.zeros:.1%}" for one in tensors)
    return f"The first layers: {', '.join(layers[:_NAMED])}{more}. Most: {named}."
