"""Paired scores and the terms that were fixed beforehand -> a verdict, and what it rests on: how a check ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.input.rule import Quantities
from pytest_prunegate.input.thresholds import Decide, Inconclusive
from pytest_prunegate.stats.early_stopping import EarlyStopping, Step
from pytest_prunegate.stats.margins import absolute_margin, relative_margin, score_margin, share_margin
from pytest_prunegate.stats.power import documents_needed, further_documents
from pytest_prunegate.verdict.loss_interval import (
    Distance,
    LossInterval,
    distance,
    loss_interval,
    stopped_interval,
    strictest,
)
from pytest_prunegate.verdict.outcome import Basis, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from fractions import Fraction

    from pytest_prunegate.input.thresholds import Threshold
    from pytest_prunegate.stats.margins import Margin
    from pytest_prunegate.tasks.checks import Check
    from pytest_prunegate.verdict.check_scores import MemberResult
    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.ledger import Terms
    from pytest_prunegate.verdict.noise import Noise
    from pytest_prunegate.verdict.paired import Paired


_WEIGHTS = "The interval weights the group's tasks as the full run would, the scores as they were measured."
_UPPER = 1.6  # times the average: what nine runs of ten stay below


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a check is judged, and how sure that is.

    `used` counts the documents that decided, of `total` that have the metric. `error_rate` is the largest probability that
    the full run (or other documents) would say otherwise, by more than `indifference`; None where nothing is concluded beyond
    the figures. `needed` are the further documents that a verdict needs: by the rule that stops early on average, and in nine cases of ten;
    by an interval in four of five (twice the same number). `strictest` are the values of the check's
    thresholds that an interval at its error rate would just meet (none where it stopped early, or has no interval). `note` is
    what a reader must know of how it was decided.
    """

    outcome: Outcome
    basis: Basis
    used: int
    total: int | None = None
    terms: Terms | None = None
    error_rate: float | None = None
    indifference: float = 0.0
    needed: tuple[int, int] | None = None
    interval: LossInterval | None = None
    strictest: tuple[float | None, ...] = ()
    note: str | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether the figures are of a part of the documents."""
        return self.total is not None and self.used < self.total


def judge(
    check: Check,
    terms: Terms,
    paired: Paired | None,
    compare_first: Callable[[int | None], Comparison],
    *,
    is_complete: bool,
) -> tuple[Comparison, Verdict]:
    """Judge a check on the documents that were drawn.

    Args:
        check: with its thresholds.
        terms: fixed before the first document.
        paired: scores in draw order; None where the metric has no rule.
        compare_first: compares the models on the first so many documents, or on all that are looked at (None).
        is_complete: whether those are all documents of the task.

    Raises:
        TaskError: there is nothing to compare, such as a relative threshold and an original of 0.
    """
    if paired is not None and paired.is_sequence and terms.is_sequential:
        return _early(check, terms, paired, compare_first)
    comparison = compare_first(None)
    verdict = Verdict(
        outcome=comparison.outcome, basis=Basis.MEASURED, used=comparison.documents,
        note=_why_not_early(check, terms, paired, is_complete=is_complete),
    )  # fmt: skip
    if paired is None:
        outcome = _outcome(Step.GO_ON, comparison) if not is_complete and check.thresholds else verdict.outcome
        return comparison, replace(verdict, outcome=outcome)
    if terms.decision.decide is Decide.CONFIDENT:
        return comparison, _by_interval(check, terms, paired, comparison, of_full_run=False)
    if not is_complete and paired.is_random:
        decided = _by_interval(check, terms, paired, comparison, of_full_run=True)
        return comparison, replace(decided, note=verdict.note)
    return comparison, replace(
        verdict, interval=loss_interval(paired, of_full_run=False), strictest=_strictest(check, terms, paired, of_full_run=False),
    )  # fmt: skip


def is_open(check: Check, terms: Terms, paired: Paired | None) -> bool:
    """Whether more documents may decide a check: by the rule that stops early, or because its metric needs them all."""
    if paired is None or not paired.is_sequence:
        return True
    if paired.is_complete:
        return False
    rule = _rule(check, terms, paired)
    return rule.step is Step.GO_ON or _with_a_baseline(check, paired, rule.used) is None


def margin_of(threshold: Threshold, *, higher_is_better: bool) -> Margin:
    """A threshold as what each document contributes to meeting it."""
    value = threshold.allowed
    return threshold.rule.of(Quantities(
        relative=relative_margin(value, higher_is_better=higher_is_better),
        absolute=absolute_margin(value, higher_is_better=higher_is_better),
        pruned=score_margin(value) if threshold.rule.at_least else share_margin(value),
    ))  # fmt: skip


def _why_not_early(check: Check, terms: Terms, paired: Paired | None, *, is_complete: bool) -> str | None:
    """What a reader must know where no rule could do what was asked, or nothing tells of the full run."""
    wanted = terms.decision.decide is Decide.EARLY
    goes_on = wanted or terms.decision.inconclusive is Inconclusive.CONTINUE
    if is_complete or not check.thresholds:
        return "No rule can stop this metric early: it was measured in full." if is_complete and wanted else None
    if paired is None:
        return "No rule tells from a part of the documents what all would say of this metric: take the limit out."
    if not paired.is_random:
        return "No rule tells what all windows would say: those measured decide."
    if not goes_on:
        return _WEIGHTS if paired.strata else None
    if paired.strata:
        return "A group's limit is one for each of its tasks, and no rule goes on from there: take the limit out to stop early."
    return "No rule can look at this metric document by document: its limit is its sample."


def _early(
    check: Check, terms: Terms, paired: Paired, compare_first: Callable[[int | None], Comparison]
) -> tuple[Comparison, Verdict]:
    rule = _rule(check, terms, paired)
    step, used = rule.step, _with_a_baseline(check, paired, rule.used) or len(paired.keys)
    comparison = compare_first(None if used == len(paired.keys) else used)
    if used == paired.total:
        interval = loss_interval(paired, of_full_run=False)
        return comparison, Verdict(outcome=comparison.outcome, basis=Basis.MEASURED, used=used, interval=interval)
    is_undecided = step is Step.GO_ON
    return comparison, Verdict(
        outcome=_outcome(step, comparison),
        basis=Basis.EARLY,
        used=used,
        error_rate=None if is_undecided else _stated(terms, comparison),
        indifference=0.0 if is_undecided else terms.indifference,
        needed=_needed(check, terms, paired) if is_undecided else None,
        interval=stopped_interval(rule, paired),
        note="Not the first look at this sample: the rule for any number of looks judges it." if terms.looks else None,
    )


def _rule(check: Check, terms: Terms, paired: Paired) -> EarlyStopping:
    """Rule U, fed with the documents so far."""
    margins = [margin_of(threshold, higher_is_better=paired.higher_is_better) for threshold in check.thresholds]
    rule = EarlyStopping(
        margins, total=paired.total, error_rate=terms.own_rate, checks=terms.checks, indifference=terms.indifference
    )
    rule.feed(paired.original, paired.pruned)
    return rule


def _with_a_baseline(check: Check, paired: Paired, used: int) -> int | None:
    """The first document from the decision on at which the original scores above 0, without which there is no relative drop."""
    if not any(threshold.rule.needs_original for threshold in check.thresholds):
        return used
    first = next((place + 1 for place, score in enumerate(paired.original) if score > 0), None)
    return None if first is None else max(used, first)


def _outcome(step: Step, comparison: Comparison) -> Outcome:
    if comparison.silent:  # a model that says nothing at all fails whatever silence scores
        return Outcome.FAIL
    return {Step.PASS: Outcome.PASS, Step.FAIL: Outcome.FAIL, Step.GO_ON: Outcome.INCONCLUSIVE}[step]


def _by_interval(check: Check, terms: Terms, paired: Paired, comparison: Comparison, *, of_full_run: bool) -> Verdict:
    """An interval decides that lies on one side of every threshold; a later look at a sample halves its error rate each time."""
    rate = terms.rate_of_sample
    to_pass, to_fail = (
        [distance(threshold, paired, error_rate=share, of_full_run=of_full_run) for threshold in check.thresholds]
        for share in (rate, rate / terms.checks)
    )
    step = Step.GO_ON
    if any(way.is_beyond for way in to_fail):
        step = Step.FAIL
    elif all(way.is_within for way in to_pass):
        step = Step.PASS
    verdict = Verdict(
        outcome=_outcome(step, comparison), basis=Basis.SAMPLE if of_full_run else Basis.CONFIDENT, used=len(paired.keys),
        interval=loss_interval(paired, of_full_run=of_full_run), strictest=_strictest(check, terms, paired, of_full_run=of_full_run),
    )  # fmt: skip
    if step is Step.GO_ON:
        return replace(verdict, needed=_further(terms, paired, to_pass, to_fail, of_full_run=of_full_run))
    return replace(verdict, error_rate=_stated(terms, comparison))


def _strictest(check: Check, terms: Terms, paired: Paired, *, of_full_run: bool) -> tuple[float | None, ...]:
    """What each threshold of a check may be at the strictest for an interval to meet it."""
    return tuple(
        strictest(threshold, paired, error_rate=terms.rate_of_sample, of_full_run=of_full_run)
        for threshold in check.thresholds
    )


def _stated(terms: Terms, comparison: Comparison) -> float | None:
    """The error rate of a verdict; none where silence alone decided."""
    return None if comparison.silent else terms.stated_error


def _needed(check: Check, terms: Terms, paired: Paired) -> tuple[int, int] | None:
    """Further documents until the full run is known, by the drift so far; None where nothing drifts or it is a perplexity.

    One threshold that is broken decides; otherwise the slowest one to be met does.
    """
    if paired.sizes is not None:
        return None
    n, total = len(paired.keys), paired.total
    to_pass: list[int] = []
    to_fail: list[int] = []
    for threshold in check.thresholds:
        d = margin_of(threshold, higher_is_better=paired.higher_is_better).of(paired.original, paired.pruned)
        mean, deviation = float(d.mean()), float(d.std())
        if mean == 0 or deviation == 0 or not math.isfinite(mean + deviation):
            return None
        rate = terms.own_rate if mean > 0 else terms.own_rate / terms.checks
        needed = documents_needed(drift=math.sqrt(total) * abs(mean) / deviation, total=total, error_rate=rate)
        (to_pass if mean > 0 else to_fail).append(needed)
    most = min(to_fail) if to_fail else max(to_pass)
    least = max(most - n, 1)
    return least, min(max(math.ceil(_UPPER * most) - n, least), total - n)


def _further(
    terms: Terms, paired: Paired, to_pass: Sequence[Distance], to_fail: Sequence[Distance], *, of_full_run: bool
) -> tuple[int, int] | None:
    """Further documents until the interval has left every threshold, in four cases of five, at the error rate of the next look.

    One threshold that the estimate breaks decides; otherwise the slowest one to be met does.
    """
    rate = terms.rate_of_sample
    broken = [way.low + way.high > 0 for way in to_pass]
    share = rate / terms.checks if any(broken) else rate
    ways = [way for way, is_broken in zip(to_fail, broken, strict=True) if is_broken] or list(to_pass)
    of = paired.total if of_full_run else None
    found = [
        further_documents(
            gap=abs(way.low + way.high) / 2, half_width=(way.high - way.low) / 2, documents=len(paired.keys), error_rate=share,
            next_error_rate=share / 2, of=of,
        ) if math.isfinite(way.high - way.low) else None
        for way in ways
    ]  # fmt: skip
    known = [more for more in found if more is not None]
    if not known or (not any(broken) and len(known) < len(found)):
        return None
    more = min(known) if any(broken) else max(known)
    return more, more


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
