"""Reads the results of an earlier run back into the records that wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_prunegate.report.summary.records import SUMMARY_VERSION, Summary
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.report.summary.check_records import CheckSummary, DecisionSummary


_MEASURED = {Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.RECORDED}


class UnreadableError(ValueError):
    """A file is not what this version writes. The message says what is wrong with it; the file's name is the caller's to say."""


class OtherVersionError(UnreadableError):
    """A file is not of the version that this one reads, or says none."""


def read_results(path: Path) -> Summary:
    """Read the results of a run. Of the answers that changed they hold how many there are and where.

    Raises:
        OSError: the file cannot be read.
        UnreadableError: it is no JSON, of another version, or damaged.
    """
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"is not JSON: {error}") from None
    version = found.get("version") if isinstance(found, dict) else None
    if version != SUMMARY_VERSION:
        raise OtherVersionError(f"is not of version {SUMMARY_VERSION} (found: {version})")
    try:
        return msgspec.convert(_without_answers(found), Summary)
    except msgspec.ValidationError as error:
        raise UnreadableError(f"is damaged: {error}") from None


def _without_answers(found: dict[str, Any]) -> dict[str, Any]:
    """Results as a summary has them; of the answers that the HTML report shows they know only how many they are."""
    changed = found.get("changed")
    return found | {"changed": changed | {"shown": ()}} if isinstance(changed, dict) else found


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A check with its exact figures, and how it was decided; `drop` is positive where the pruned model is worse."""

    check: CheckSummary
    original: Fraction | None
    pruned: Fraction
    drop: Fraction | None
    documents: int
    decision: DecisionSummary

    @property
    def relative_drop(self) -> Fraction | None:
        """The drop over the original's score; None where that is 0."""
        return self.drop / abs(self.original) if self.drop is not None and self.original else None


def measured_of(check: CheckSummary) -> Measured | None:
    """What was measured of a check; None where nothing was.

    Raises:
        UnreadableError: it has a verdict and no figures.
    """
    if check.outcome not in _MEASURED:
        return None
    exact, decision = check.exact, check.decision
    if exact is None or exact.pruned is None or decision is None or check.documents is None:
        raise UnreadableError(f"is damaged: {check.task}.{check.name} has a verdict and no figures")
    return Measured(
        check=check, original=None if exact.original is None else Fraction(exact.original), pruned=Fraction(exact.pruned),
        drop=None if exact.drop is None else Fraction(exact.drop), documents=check.documents, decision=decision,
    )  # fmt: skip
