"""What both models gave when they ran side by side, as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_prunegate.report.summary.running_records import (
    AgreementStretch,
    AgreementSummary,
    ModelSpeed,
    SpeedRatio,
    SpeedSummary,
)
from pytest_prunegate.tasks.agreement import Agreement
from pytest_prunegate.tasks.speed import Speed

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
        sampling_error=found.sampling_error,
        kl_p99=None if found.sampling_error else found.kl_p99, perplexity_ratio=found.ratio, ratio_error=found.ratio_error,
        original_perplexity=original,
        pruned_perplexity=pruned, along=tuple(AgreementStretch(**asdict(stretch)) for stretch in found.along_windows()),
    )  # fmt: skip


_SPARSE = 0.1  # of the weights: zeros that somebody may expect something of
_REMARK = (
    "Zeros that leave the matrices as large as they were make dense kernels no faster: each of them is multiplied like any other number. "
    "Smaller matrices do, or kernels and runtimes for this pattern of zeros."
)


def speed_summary(gate: Gate) -> SpeedSummary | None:
    """What pruning bought; None where this run did not ask."""
    found = next((result for result in gate.runs.results.values() if isinstance(result, Speed)), None)
    if found is None:
        return None
    total, prefill, decode = (SpeedRatio(**asdict(ratio)) for ratio in (found.total, found.prefill, found.decode))
    return SpeedSummary(
        prompt=found.prompt, generate=found.generate, batch=found.batch, pairs=len(found.pairs), place=found.place,
        total=total, prefill=prefill, decode=decode, original=_model(found, 0), pruned=_model(found, 1), remark=_remark(gate, total),
    )  # fmt: skip


def _model(found: Speed, number: int) -> ModelSpeed:
    prefill, decode = found.tokens_per_second(number)
    return ModelSpeed(prefill=prefill, decode=decode, memory=found.memory(number), weights=found.weights[number])


def _remark(gate: Gate, total: SpeedRatio) -> str | None:
    """Where many zeros made it no faster, and it is as large as it was."""
    original, pruned = gate.facts["original"], gate.facts["pruned"]
    is_sparse = (pruned.sparsity.share or 0) > _SPARSE
    return _REMARK if is_sparse and original.parameters == pruned.parameters and total.low <= 1 else None
