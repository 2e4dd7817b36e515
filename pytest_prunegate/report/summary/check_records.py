"""The records of a check in the results: plain values, as templates see them and JSON has them."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_prunegate.input.thresholds import Decide, Inconclusive
from pytest_prunegate.report.summary.values import Bounds, Count, Fraction, Moment, Share
from pytest_prunegate.report.summary.wording import change_text
from pytest_prunegate.tasks.kinds import figure_metric
from pytest_prunegate.verdict.noise import Noise
from pytest_prunegate.verdict.outcome import Basis, Outcome


@dataclass(frozen=True, kw_only=True)
class LossOnScale:
    """A check's loss on the scale that all checks share.

    Attributes:
        drop: Relative drop; positive is a loss.
        low: Lower 95% bound; null where there is none.
        high: Upper 95% bound; null where there is none.
        limit: The largest relative drop that all thresholds allow, those in score units brought to it by the original's
            score; null where they allow none to be named so.
    """

    drop: float
    low: float | None
    high: float | None
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class IntervalSummary:
    """95% interval of a check's loss; a bound is null where the scores do not bound it.

    Attributes:
        relative: Of the relative drop; positive is worse.
        absolute: Of the drop in score units; positive is worse.
        pruned: Of the pruned model's own score.
        of_full_run: Whether it is about the full run, from a random sample of its documents; otherwise about other
            documents like these.
        is_anytime: Whether it holds although the data decided when to stop.
        unit: What is counted: documents, or windows of how many tokens.
        confidence: Of the interval: 0.95.
        relative_change: The relative interval with the sign of `relative`: negative is a loss.
        text: The same in words.
        subject: Whose interval it is, in words.
    """

    relative: Bounds
    absolute: Bounds
    pruned: Bounds
    of_full_run: bool
    is_anytime: bool
    unit: str
    confidence: Share
    relative_change: Bounds
    text: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class AskedDecision:
    """What thresholds.yaml asked for of a decision.

    Attributes:
        decide: What decides.
        error_rate: The largest probability of a wrong verdict; a decimal number.
        indifference: How near to the threshold either verdict is right; a decimal number.
        inconclusive: What happens where a sample does not decide.
    """

    decide: Decide
    error_rate: str
    indifference: str
    inconclusive: Inconclusive


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """How a check was decided.

    Attributes:
        asked: What was asked for in thresholds.yaml.
        outcome: The verdict by the thresholds, of a recorded check too.
        basis: What the verdict rests on: the figures, an interval for the full run, one for other documents, or the
            rule that stops early.
        error_rate: The largest probability that the full run, or other documents, would say otherwise; null where
            nothing is concluded beyond the figures.
        indifference: By which an opposite verdict may miss the threshold; a share, or score units for an absolute
            threshold.
        documents: Documents that decided.
        of: Documents that have the metric; null where they are not known.
        is_estimate: Whether the figures are of a part of the documents.
        estimate_of: What they are an estimate of, in words.
        needed: Further documents that a verdict needs: by the rule that stops early on average, and in nine cases of ten; by an
            interval in four of five (twice the same number).
        seed: Seed that drew the documents.
        checks: Thresholds that share the error rate.
        candidates: Candidates of the run that share it too.
        earlier_looks: Numbers of documents at which this pair of models was judged before.
        strictest: By rule, the threshold that an interval at this error rate would just meet.
        note: What must be known of how it was decided.
    """

    asked: AskedDecision
    outcome: Outcome
    basis: Basis
    error_rate: Share | None
    indifference: float
    documents: Count
    of: Count | None
    is_estimate: bool
    estimate_of: str | None
    needed: tuple[Count, Count] | None
    seed: int | None
    checks: Count | None
    candidates: Count
    earlier_looks: tuple[str, ...]
    strictest: dict[str, float | None]
    note: str | None


@dataclass(frozen=True, kw_only=True)
class MemberSummary:
    """What a task of a group scored.

    Attributes:
        name: A task of a group.
        documents: Its documents.
        original: Score of the original.
        pruned: Score of the pruned model.
        difference: pruned - original.
        exact: Both scores as fractions.
        lost: Its documents with a worse score; null where the metric has none for each.
        gained: Its documents with a better score.
    """

    name: str
    documents: Count
    original: float
    pruned: float
    difference: float
    exact: tuple[Fraction, Fraction]
    lost: Count | None
    gained: Count | None


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """A check's figures on a part of its documents.

    Attributes:
        by: What parts the documents: answerable, or a field of theirs.
        name: The part: a value of that field.
        documents: Documents in it.
        original: Score of the original on them.
        pruned: Score of the pruned model.
        difference: pruned - original.
        relative: Relative change, negative for a loss; null where the original scores 0.
        lost: Documents with a worse score.
        gained: Documents with a better score.
    """

    by: str
    name: str
    documents: Count
    original: float
    pruned: float
    difference: float
    relative: float | None
    lost: Count | None
    gained: Count | None


@dataclass(frozen=True, kw_only=True)
class ExactFigures:
    """A check's figures as fractions.

    Attributes:
        original: Score of the original; null where it has none.
        pruned: Score of the pruned model.
        drop: The loss in score units; positive is worse.
    """

    original: Fraction | None
    pruned: Fraction | None
    drop: Fraction | None


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """A check.

    Attributes:
        task: The task.
        name: The check's name within its task, as node ids have it.
        metric: lm-eval's metric, or ours: perplexity, empty, cut, and what is counted in files.
        filter: lm-eval's filter; empty where there is none.
        location: File and line of its thresholds.
        line: That line.
        thresholds: The thresholds in words.
        outcome: How it ended. An error has no verdict; recorded is measured and not judged.
        original: Score of the original; null where it was not measured.
        pruned: Score of the pruned model; null where it was not measured.
        difference: pruned - original, in score units.
        relative: Relative change, negative for a loss whichever direction is better; null where the original scores 0.
        recovery: pruned / original.
        interval: 95% interval of its loss; null where there is none.
        decision: How it was decided; null without a verdict.
        noise: The noise floor; null without --prunegate-noise-floor.
        broken: The thresholds that the figures break.
        silent: How the pruned model shows that it says nothing at all; null where it speaks.
        documents: What was measured, in `unit`.
        total_documents: All there is of that.
        unit: What is counted: documents, windows of how many tokens, or weights.
        lost: Documents with a worse score; null where the metric has none per document.
        gained: Documents with a better score.
        reason: One sentence or more on how it ended.
        members: A group's tasks; none for any other task.
        exact: The figures as fractions; null where there are none.
        identity: Digests of all that the figures depend on. Null where there are no figures.
        measured: When the run began that measured it; null where there are no figures.
        is_earlier: Whether an earlier run measured it.
        parts: Its figures by parts of the documents.
        scale: The loss on the scale that all checks share; null where it has no place there.
    """

    task: str
    name: str
    metric: str
    filter: str
    location: str
    line: Count
    thresholds: tuple[str, ...]
    outcome: Outcome
    original: float | None
    pruned: float | None
    difference: float | None
    relative: float | None
    recovery: float | None
    interval: IntervalSummary | None
    decision: DecisionSummary | None
    noise: Noise | None
    broken: tuple[str, ...]
    silent: str | None
    documents: Count | None
    total_documents: Count | None
    unit: str
    lost: Count | None
    gained: Count | None
    reason: str
    members: tuple[MemberSummary, ...]
    exact: ExactFigures | None
    identity: dict[str, str] | None
    measured: Moment | None
    is_earlier: bool
    parts: tuple[PartSummary, ...]
    scale: LossOnScale | None

    @property
    def is_partial(self) -> bool:
        """Whether its figures are of a part of the documents."""
        return self.documents != self.total_documents

    @property
    def is_counted(self) -> bool:
        """Whether its figures were counted in files; models answered for all others."""
        return figure_metric(self.metric) is not None

    @property
    def is_lower_better(self) -> bool:
        """Whether a rise of the figure is a loss."""
        return (self.relative or 0) * (self.difference or 0) < 0

    @property
    def change(self) -> str:
        """The relative change in words, with its own sign; where a rise is a loss, a word says worse or better."""
        return change_text(self.relative, is_lower_better=self.is_lower_better)
