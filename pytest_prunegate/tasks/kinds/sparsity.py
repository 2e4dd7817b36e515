"""What pruning left in the files: zeros, their pattern, parameters and bytes, counted without a forward pass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.checkpoint.structure import keeps_groups, pattern_of
from pytest_prunegate.errors import ModelError, TaskError
from pytest_prunegate.input.file_rules import (
    MAX_SIZE,
    MAX_SPARSITY,
    MIN_LAYER_SPARSITY,
    MIN_PARAMETER_REDUCTION,
    MIN_SPARSITY,
    ZERO_PATTERN,
    Groups,
    parse_pattern,
)
from pytest_prunegate.input.threshold_values import expect_text, read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.checks import CountingKind, Figure, FigureMetric

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checkpoint.overview import CountedTensor
    from pytest_prunegate.input.file_rules import Blocks
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Check, GateTask, Resolution

SPARSITY = FigureMetric(key="sparsity", unit="weights", what="zeros")
LEAST_SPARSE = FigureMetric(key="least_sparse_matrix", unit="matrices")
PATTERN = FigureMetric(key="zero_pattern", unit="groups", what="intact")
REDUCTION = FigureMetric(key="parameter_reduction", unit="parameters", what="fewer")
SIZE = FigureMetric(key="size_on_disk", unit="bytes", form="bytes")
_METRICS: dict[Rule, FigureMetric] = {
    MIN_SPARSITY: SPARSITY, MAX_SPARSITY: SPARSITY, MIN_LAYER_SPARSITY: LEAST_SPARSE, ZERO_PATTERN: PATTERN,
    MIN_PARAMETER_REDUCTION: REDUCTION, MAX_SIZE: SIZE,
}  # fmt: skip
_WORST = 3  # tensors that a failure names


@dataclass(frozen=True, kw_only=True)
class SparsitySpec(Spec):
    """What the pruned model's files have to be like.

    `scope` is a regular expression that selects parameters by their names; None for all that the model multiplies with.
    """

    section = "sparsity"
    scope: str | None = None


class Sparsity(CountingKind):
    """Checks on the pruned model's files; the original's figures are for information."""

    key = section = "sparsity"
    metrics = (SPARSITY, LEAST_SPARSE, PATTERN, REDUCTION, SIZE)

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The one entry: ``{min: 50%, pattern: "2:4"}``, or the least share of zeros alone."""
        before = len(around.mistakes.found)
        thresholds = read_thresholds(node, rules=tuple(_METRICS), alone=MIN_SPARSITY, extra=("scope", "marks"))
        if not thresholds and len(around.mistakes.found) == before:
            node.wrong("has no threshold. Write for example `sparsity: {min: 50%}`.")
        entries = dict(node.entries(what="thresholds")) if node.kind == "map" else {}
        marks = read_marks(entries["marks"]) if "marks" in entries else ()
        scope = _scope(entries["scope"]) if "scope" in entries else None
        return (SparsitySpec(name=self.key, line=node.line, thresholds=thresholds, marks=marks, scope=scope),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """A check for each threshold."""
        return [self.task_of(spec, resolution.file.display, _METRICS) for spec in specs]

    def count(self, check: Check, spec: Spec, facts: Mapping[Side, ModelFacts]) -> Figure:
        """What reading the checkpoints counted; a pattern is looked for in the files again."""
        assert isinstance(spec, SparsitySpec)
        count: Mapping[str, Callable[[_Files], Figure]] = {
            SPARSITY.key: _share_of_zeros, LEAST_SPARSE.key: _least_sparse, PATTERN.key: _in_pattern, REDUCTION.key: _fewer_parameters,
            SIZE.key: _size,
        }  # fmt: skip
        return count[check.metric](_Files(check, spec.scope, facts["original"], facts["pruned"]))


def _scope(node: Node) -> str | None:
    if not expect_text(node, "a regular expression over parameter names"):
        return None
    try:
        re.compile(node.text)
    except re.error as error:
        node.wrong(f"{node.text} is no regular expression: {error}.")
        return None
    return node.text


@dataclass(frozen=True)
class _Files:
    """What a check is about: which tensors of which models."""

    check: Check
    scope: str | None
    original: ModelFacts
    pruned: ModelFacts

    def tensors(self, facts: ModelFacts) -> list[CountedTensor]:
        """Those that count: what the model multiplies with, as far as the scope selects it; other parameters where it selects none of that."""
        found = [one for one in facts.sparsity.tensors if self.scope is None or re.search(self.scope, one.name)]
        return [one for one in found if one.is_linear] or ([] if self.scope is None else found)

    def of_pruned(self) -> list[CountedTensor]:
        """Those of the pruned model.

        Raises:
            TaskError: they cannot be counted, or there are none.
        """
        if problem := self.pruned.sparsity.problem:
            raise self.uncountable("sparsity", problem, base=True)
        found = self.tensors(self.pruned)
        if not found:
            raise self.uncountable(self.check.name, self._no_tensors())
        return found

    def _no_tensors(self) -> str:
        if self.scope and self.pruned.sparsity.tensors:
            return f"no parameter's name matches scope: {self.scope}"
        return "its tensors are not in this file; give the checkpoint itself"

    def uncountable(self, what: str, why: str, *, base: bool = False) -> TaskError:
        """That a figure of the pruned model cannot be told."""
        share = self.pruned.base_sparsity.share if base and self.pruned.base_sparsity else None
        told = f" Its base's is {float(share):.1%}." if share is not None else ""
        return TaskError(
            f"{self.check.location}: the {what} of the {self.pruned.title} cannot be counted: {why}.{told}"
        )


def _share_of_zeros(files: _Files) -> Figure:
    original, pruned = files.original.sparsity, files.pruned.sparsity
    if files.scope is None and pruned.share is not None and pruned.elements is not None and not pruned.tensors:
        return Figure(
            metric=SPARSITY, original=original.share, pruned=pruned.share, of=pruned.elements
        )  # of a baseline's file
    tensors, before = files.of_pruned(), files.tensors(files.original)
    share, of = _zeros(tensors)
    is_least = files.check.thresholds[0].rule.at_least
    ordered = sorted(tensors, key=lambda one: one.share, reverse=not is_least)
    return Figure(
        metric=SPARSITY, original=original.share if files.scope is None else _zeros(before)[0] if before else None, pruned=share, of=of,
        worst=_named(ordered, "Least sparse" if is_least else "Most sparse"), looked_at=_looked_at(files, tensors),
    )  # fmt: skip


def _least_sparse(files: _Files) -> Figure:
    tensors = [one for one in files.of_pruned() if len(one.tensor.shape) > 1] or files.of_pruned()
    before = files.tensors(files.original)
    return Figure(
        metric=LEAST_SPARSE, original=min((one.share for one in before), default=None), pruned=min(one.share for one in tensors),
        of=len(tensors), worst=_named(sorted(tensors, key=lambda one: one.share), "Least sparse"), looked_at=_looked_at(files, tensors),
    )  # fmt: skip


def _in_pattern(files: _Files) -> Figure:
    from pytest_prunegate.checkpoint.zero_pattern import look_for

    text = files.check.thresholds[0].text
    tensors = [one for one in files.of_pruned() if len(one.tensor.shape) > 1]
    known = [one for one in tensors if _is_known_to_keep(one, parse_pattern(text))]
    try:
        found = look_for(text, tuple(one.tensor for one in tensors if one not in known), files.pruned.fingerprint)
    except ModelError as error:
        raise files.uncountable("pattern", str(error)) from error
    total = found.total + _groups(known, text)
    if not total:
        raise files.uncountable("pattern", "what is selected has no groups or blocks")
    names = {one.name: pattern_of(one.counts, one.tensor.elements).name for one in tensors}
    worst = [
        f"{broken.tensor} ({broken.count:,} broken, the first at {broken.place}; {names[broken.tensor]})"
        for broken in found.broken[:_WORST]
    ]
    more = f" and {len(found.broken) - _WORST} more" if len(found.broken) > _WORST else ""
    return Figure(
        metric=PATTERN, original=None, pruned=Fraction(found.whole + total - found.total, total), of=total,
        worst=f"{'; '.join(worst)}{more}." if worst else "No block is all zero.", looked_at=_looked_at(files, tensors),
    )  # fmt: skip


def _groups(tensors: Sequence[CountedTensor], text: str) -> int:
    pattern = parse_pattern(text)
    return sum(one.tensor.elements // pattern.size for one in tensors) if isinstance(pattern, Groups) else 0


def _is_known_to_keep(one: CountedTensor, pattern: Groups | Blocks) -> bool:
    """Of what lies packed in its file, the counts are all there is."""
    is_packed = not isinstance(one.tensor, StoredTensor)
    return is_packed and isinstance(pattern, Groups) and keeps_groups(one.counts, pattern.most, pattern.size)


def _fewer_parameters(files: _Files) -> Figure:
    original, pruned = files.original.parameters, files.pruned.parameters
    if not original or not pruned:
        which = files.original if not original else files.pruned
        raise files.uncountable("parameter reduction", f"the parameters of the {which.title} are not known")
    fewer = Fraction(original - pruned, original)
    return Figure(
        metric=REDUCTION, original=None, pruned=fewer, of=original, looked_at=f"{original:,} -> {pruned:,} parameters."
    )


def _size(files: _Files) -> Figure:
    if files.pruned.size is None:
        raise files.uncountable("size", "its files are not here")
    original = None if files.original.size is None else Fraction(files.original.size)
    return Figure(metric=SIZE, original=original, pruned=Fraction(files.pruned.size), of=files.pruned.size)


def _zeros(tensors: Sequence[CountedTensor]) -> tuple[Fraction, int]:
    """The share of zeros among all numbers of tensors, and how many those are."""
    of = sum(one.tensor.elements for one in tensors)
    return Fraction(sum(one.counts.zeros for one in tensors), max(1, of)), of


def _named(ordered: Sequence[CountedTensor], which: str) -> str:
    return f"{which}: {', '.join(f'{one.name} {float(one.share):.1%}' for one in ordered[:_WORST])}."


def _looked_at(files: _Files, tensors: Sequence[CountedTensor]) -> str:
    scope = f" whose names match {files.scope}" if files.scope else ""
    return f"Counted in {len(tensors)} tensors{scope}."
