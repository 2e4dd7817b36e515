"""How a check ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

    from pytest_prunegate.tasks.checks import Check
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.measurement import MemberResult
    from pytest_prunegate.verdict.noise import Noise
    from pytest_prunegate.verdict.outcome import Outcome
    from pytest_prunegate.verdict.verdicts import Verdict


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """How a check ended in this run: with a comparison, with the reason of an error, or with the baseline alone.

    `total` and `unit` say what the comparison's documents are a part of.
    """

    check: Check
    outcome: Outcome
    comparison: Comparison | None = None
    error: str | None = None
    baseline: Fraction | None = None
    documents: int | None = None
    total: int | None = None
    unit: str = "documents"
    members: tuple[MemberResult, ...] = ()
    verdict: Verdict | None = None
    noise: Noise | None = None
