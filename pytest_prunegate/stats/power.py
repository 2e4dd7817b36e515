"""What a number of documents can resolve, and how many a verdict needs: for planning, and decides nothing."""

from __future__ import annotations

import math

from scipy.special import ndtri

_POWER = 0.8
_OVERHEAD = 10.4 / (2 * math.log(100))  # documents of rule U over the limit of a test that knows the drift


def detectable_gap(
    *, changed: float, original: float, documents: int, error_rate: float = 0.01, of: int | None = None
) -> float:
    """The smallest distance of a relative drop from its threshold that is resolved in four cases of five.

    (z(1 - error_rate) + z(0.8)) * sqrt(changed) / (original * sqrt(documents)): 3.17 * ... at 1%. Source: the normal
    approximation for paired differences, as in Miller 2024 (arXiv 2411.00640), section 5; optimistic below 100 documents.

    Args:
        changed: share of documents whose answer changes either way.
        original: the original's mean score.
        documents: those that are looked at.
        error_rate: one-sided.
        of: size of the set that they are drawn from, where the question is what it would say; None for documents like these.

    Returns:
        A relative drop; infinite where the original scores 0, 0 where all documents are looked at.

    Raises:
        ValueError: there is no document, there are more than the set has, or a share lies outside [0, 1].
    """
    _refuse_no_share(changed, original)
    if documents < 1:
        raise ValueError("no document resolves anything")
    if of is not None and documents > of:
        raise ValueError(f"{documents} documents cannot be drawn from {of}")
    if original == 0:
        return math.inf
    spread = math.sqrt(changed / documents * (1 - documents / of if of else 1))
    return float(ndtri(1 - error_rate) + ndtri(_POWER)) * spread / original


def documents_needed(*, drift: float, total: int, error_rate: float = 0.01) -> int:
    """How many documents rule U uses on average.

    total * k / (k + drift^2), where k is 10.4 at 1%: 13% over the Gaussian limit 2 ln(1 / error_rate) of a test that knows
    the drift. In nine cases of ten it is at most 1.6 times as many.

    Args:
        drift: sqrt(total) * |mean| / standard deviation of the contributions to the threshold's margin.
        total: documents of the full set.
        error_rate: one-sided.
    """
    k = _OVERHEAD * 2 * math.log(1 / error_rate)
    return min(total, max(1, math.ceil(total * k / (k + drift * drift))))


def _refuse_no_share(*shares: float) -> None:
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"expected shares between 0 and 1, got {shares}")
