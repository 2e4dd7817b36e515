"""What both models gave when they ran side by side, as plain values and in words."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.model_records import AgreementStretch, AgreementSummary
from pytest_prunegate.tasks.agreement import Agreement

if TYPE_CHECKING:
    from pytest_prunegate.gate.gate import Gate


def agreement_summary(gate: Gate) -> AgreementSummary | None:
    """How far apart both models' distributions are; None where this run did not ask."""
    found = next((result for result in gate.runs.results.values() if isinstance(result, Agreement)), None)
    if found is None:
        return None
    original, pruned = found.perplexities
    return AgreementSummary(
        windows=len(found.windows), positions=found.positions, top1=float(found.top1), kl=found.kl, kl_error=found.kl_error,
        kl_p99=found.kl_p99, perplexity_ratio=found.ratio, ratio_error=found.ratio_error, original_perplexity=original,
        pruned_perplexity=pruned, along=tuple(AgreementStretch(**asdict(stretch)) for stretch in found.along_windows()),
    )  # fmt: skip
