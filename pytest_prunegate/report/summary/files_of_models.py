"""What the files of a run's models say, as plain values: the models themselves, and what became of the zeros since pruning."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_prunegate.errors import ModelError
from pytest_prunegate.report.summary.model_records import (
    LayerRegrowth,
    LayerSparsity,
    MaskSurvival,
    ModelSummary,
    PartSparsity,
    PatternSummary,
)

if TYPE_CHECKING:
    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.report.summary.check_records import CheckSummary


def model_summary(gate: Gate, side: Side, checks: tuple[CheckSummary, ...]) -> ModelSummary:
    """A model of a run.

    Args:
        gate: the run.
        side: which of its models.
        checks: of the run, of which one may be WikiText2's perplexity.
    """
    facts, conditions = gate.facts[side], gate.conditions[side]
    share, base = facts.sparsity.share, facts.base_sparsity.share if facts.base_sparsity else None
    text = next((check for check in checks if (check.task, check.metric) == ("wikitext2", "perplexity")), None)
    return ModelSummary(
        side=side, name=facts.name, path=facts.path, revision=facts.revision, base=facts.base, fingerprint=facts.fingerprint,
        architecture=facts.architecture, parameters=facts.parameters, size=facts.size, quantised=facts.quantised,
        backend=conditions.backend, dtype=conditions.dtype, arguments=dict(facts.arguments), max_length=conditions.max_length,
        sparsity=None if share is None else float(share), zeros=facts.sparsity.zeros, weights=facts.sparsity.elements,
        sparsity_problem=facts.sparsity.problem, base_sparsity=None if base is None else float(base),
        router_zeros=facts.sparsity.router_zeros, router_weights=facts.sparsity.router_elements,
        wikitext_ppl=None if text is None else text.original if side == "original" else text.pruned,
        wikitext_windows=None if text is None or text.documents is None else f"{text.documents} of {text.total_documents} {text.unit}",
        layers=tuple(
            LayerSparsity(layer=layer.layer, zeros=layer.zeros, weights=layer.elements, share=layer.zeros / layer.elements)
            for layer in facts.sparsity.layers
        ),
        patterns=tuple(PatternSummary(**asdict(pattern)) for pattern in facts.sparsity.overview.patterns),
        parts=tuple(PartSparsity(**asdict(part), share=part.zeros / part.weights) for part in facts.sparsity.overview.parts),
        blocks=facts.sparsity.overview.blocks,
    )  # fmt: skip


def mask_survival(gate: Gate) -> MaskSurvival | None:
    """What became of the pruned model's zeros; None where no model was named to compare with, or they cannot be compared."""
    pruned = gate.facts.get("pruned")
    if pruned is None or pruned.mask_from is None:
        return None
    try:
        found = pruned.survival
    except ModelError:  # its check says so; without one, the summary has no such line
        return None
    return MaskSurvival(
        source=pruned.mask_from.path, fingerprint=pruned.mask_from.fingerprint, zeros=found.zeros, regrown=found.regrown, new=found.new,
        share=found.regrown / max(1, found.zeros),
        layers=tuple(
            LayerRegrowth(layer=layer, zeros=zeros, regrown=regrown, share=regrown / max(1, zeros))
            for layer, zeros, regrown in found.by_layer()
        ),
    )  # fmt: skip
