"""What a number of documents can resolve, and how many a verdict needs: for planning, and decides nothing."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri

_POWER = 0.8
_MOST_TIMES = 1_000_000  # as many documents again: no one would ask them
_TRIED = 2_000  # numbers between, closer together than the advice is exact
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


def further_documents(
    *, gap: float, half_width: float, documents: int, error_rate: float, next_error_rate: float, of: int | None
) -> int | None:
    """How many more documents decide in four cases of five, by the interval that judges them.

    After them the interval is half as wide by `ratio` of the standard errors, and the estimate has moved by what the further documents say
    beyond these, whose standard deviation is sqrt(1 - ratio^2) of today's error. Source: the predictive distribution of a mean under a flat
    prior (Spiegelhalter, Abrams & Myles 2004, section 6.5); of a finite set with its correction (Cochran 1977, section 2.6).

    Args:
        gap: how far the estimate lies from the threshold, on either side.
        half_width: of today's interval.
        documents: those that were looked at.
        error_rate: today's, one-sided.
        next_error_rate: that of the next look.
        of: size of the set that they are drawn from, where the question is what it would say; None for documents like these.

    Returns:
        None where no number does: the estimate is too near to its threshold. Of a set, all of its documents always decide.
    """
    error = half_width / float(ndtri(1 - error_rate))
    most = of if of is not None else documents * _MOST_TIMES
    if not (error > 0 and math.isfinite(gap)):
        return None if of is None else of - documents
    numbers = (
        np.unique(np.geomspace(documents + 1, most, _TRIED).astype(np.int64))
        if most > documents + 1
        else np.array([most])
    )
    rest = 0.0 if of is None else 1 / of
    ratios = np.sqrt((1 / numbers - rest) / (1 / documents - rest))
    enough = gap >= error * (ndtri(1 - next_error_rate) * ratios + ndtri(_POWER) * np.sqrt(1 - ratios**2))
    if enough.any():
        return int(numbers[int(enough.argmax())]) - documents
    return None if of is None else of - documents


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
