"""A check's figures in other ways: on the scale that all checks share, and by part (answerable questions and the others, fields of the documents)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.thresholds import TaskSpec
from pytest_prunegate.report.summary.check_records import LossOnScale, PartSummary
from pytest_prunegate.report.summary.wording import relative_change
from pytest_prunegate.tasks.own_scorers import OWN_SCORERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from fractions import Fraction

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.report.summary.earlier import Earlier
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.verdicts import CheckResult


def scale_of(result: CheckResult | None) -> LossOnScale | None:
    """A check on the common scale; None for shares of outputs and of zeros, and where nothing is lost from a score of 0."""
    comparison = result.comparison if result else None
    if result is None or comparison is None or comparison.relative_drop is None:
        return None
    if result.check.is_share:
        return None
    interval = result.verdict.interval if result.verdict else None
    low, high = interval.relative if interval else (None, None)
    allowed = [_allowed(threshold, comparison) for threshold in result.check.thresholds]
    limit = min((drop for drop in allowed if drop is not None), default=None)
    return LossOnScale(
        drop=float(comparison.relative_drop), low=low, high=high, limit=None if limit is None else float(limit)
    )


def _allowed(threshold: Threshold, comparison: Comparison) -> Fraction | None:
    """The largest relative drop that a threshold allows; negative where it asks for a gain, None where it names no drop."""
    original = comparison.original
    assert original
    higher_is_better = comparison.drop == original - comparison.pruned
    return threshold.rule.relative_limit(threshold.value, original, higher_is_better=higher_is_better)


_MOST = 50  # parts by one field; the rest stand together
_LONGEST = 200  # characters of a value


def parts_of_check(gate: Gate, check: Check, earlier: Earlier) -> tuple[PartSummary, ...]:
    """A check's parts; of one that an earlier run measured, those that it was asked for then and is asked for now."""
    result, task = gate.results.get(check), gate.task(check.task)
    if result is None and check in earlier.results:
        wanted = _ways(task, check)
        return tuple(part for part in earlier.results[check].parts if part.by in wanted)
    if result is None or result.comparison is None:
        return ()
    return parts_of(task, check, result.comparison, gate.measurements.get(check.task, ()))


def unknown_parts(gate: Gate, earlier: Earlier) -> Iterator[str]:
    """What was measured before the thresholds file asked for its parts."""
    for check, kept in earlier.results.items():
        comparison, known = kept.result.comparison, {part.by for part in kept.parts}
        lacking = [by for by in _ways(gate.task(check.task), check) if by not in known]
        if lacking and comparison is not None and comparison.lost is not None:
            yield (
                f"{check.label}: its figures by {', '.join(lacking)} are not known: it was measured ({kept.measured}) before they were asked "
                "for. Run the check again to have them; its answers are kept."
            )


def parts_of(
    task: GateTask, check: Check, comparison: Comparison, measured: Sequence[Measurement]
) -> tuple[PartSummary, ...]:
    """The parts of a check, by each thing that parts its documents: the very ones that its own figures are over.

    A part's score is the plain mean over its documents, whatever weights a group gives its tasks. A metric without scores
    of documents has no parts. Beyond the fifty largest, the values of a field stand together as one part.
    """
    if not comparison.scores:
        return ()
    contents: dict[DocumentKey, Any] = {
        task.document_key(part.prepared.name, document.doc_id): document.content
        for part in measured
        for document in part.prepared.documents
    }
    found: list[PartSummary] = []
    own = _own_ways(task, check)
    for by, value_of in _ways(task, check).items():
        groups = _grouped(comparison.scores, contents, value_of)
        found += _parts(by, groups, comparison, in_full=by in own)
    return tuple(found)


def _own_ways(task: GateTask, check: Check) -> Mapping[str, Callable[[Any], str]]:
    """What the task's scorer parts documents by."""
    own = OWN_SCORERS.get(task.name)
    return own.parts(check.metric) if own else {}


def _ways(task: GateTask, check: Check) -> dict[str, Callable[[Any], str]]:
    """What parts the documents of a check, and its value of a document's content."""
    ways: dict[str, Callable[[Any], str]] = dict(_own_ways(task, check))
    fields = task.spec.slice_by if isinstance(task.spec, TaskSpec) else ()
    return ways | {field: lambda content, field=field: _in_words(content.get(field)) for field in fields}


def _in_words(value: Any) -> str:
    if value is None:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _grouped(
    keys: Iterable[DocumentKey], contents: Mapping[DocumentKey, Any], value_of: Callable[[Any], str]
) -> dict[str, list[DocumentKey]]:
    found: dict[str, list[DocumentKey]] = {}
    for key in keys:
        found.setdefault(value_of(contents[key]), []).append(key)
    return found


def _parts(
    by: str, groups: Mapping[str, list[DocumentKey]], comparison: Comparison, *, in_full: bool
) -> list[PartSummary]:
    """By name where all are shown; else the largest first, and as many at most as a report can show."""
    ranked = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    shown, rest = (ranked, []) if in_full or len(ranked) <= _MOST else (ranked[:_MOST], ranked[_MOST:])
    if in_full:
        shown = sorted(shown)
    parts = [_part(by, _short(value), keys, comparison) for value, keys in shown]
    if rest:
        together = [key for _, keys in rest for key in keys]
        parts.append(_part(by, f"({len(rest):,} other values together)", together, comparison))
    return parts


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}... ({len(value):,} characters)"


def _part(by: str, name: str, keys: Sequence[DocumentKey], comparison: Comparison) -> PartSummary:
    part = comparison.part(keys)
    return PartSummary(
        by=by, name=name, documents=len(keys), original=float(part.original), pruned=float(part.pruned),
        difference=float(part.pruned - part.original), relative=relative_change(part.drop / abs(part.original) if part.original else None),
        lost=part.lost, gained=part.gained,
    )  # fmt: skip
