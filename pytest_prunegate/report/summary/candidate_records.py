"""The records of several candidates against one original: plain values, ready for JSON; templates and plots compute nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pytest_prunegate.input.options import Require
from pytest_prunegate.report.summary.values import Count, Moment, RunVerdict, Share, json_values
from pytest_prunegate.tasks.kinds import figure_metric
from pytest_prunegate.verdict.outcome import Conclusion, Outcome

CANDIDATES_VERSION: Literal[1] = 1
CANDIDATES_RESULTS, CANDIDATES_MARKDOWN, CANDIDATES_PAGE = (
    "candidates_results.json", "candidates_report.md", "candidates_report.html",
)  # fmt: skip
FileKind = Literal["HTML", "Markdown", "JSON"]
FILE_KINDS: tuple[FileKind, ...] = ("HTML", "Markdown", "JSON")


@dataclass(frozen=True, kw_only=True)
class CandidateFile:
    """A candidate's own report: its file name, and the same as an address relative to the overview.

    Attributes:
        kind: What it is.
        name: Its name, in the same folder.
        address: The name as a relative address.
    """

    kind: FileKind
    name: str
    address: str


@dataclass(frozen=True, kw_only=True)
class WorstCheck:
    """The check that lies farthest beyond what its thresholds allow, or else nearest to it.

    Attributes:
        task: The task.
        name: The check.
        relative: Relative change; negative is a loss.
        limit: The least relative change that its thresholds allow.
        beyond: How far the loss exceeds the limit; negative where it does not.
    """

    task: str
    name: str
    relative: float
    limit: float
    beyond: float


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate: what it is, how its checks ended, and where its own reports are.

    Attributes:
        number: Marks it in plots.
        name: As the user named it.
        path: Where it is.
        revision: Of a hub model.
        base: Of an adapter.
        fingerprint: Of weights, configuration and tokenizer.
        quantised: How, if it is.
        parameters: How many.
        size: Bytes on disk.
        sparsity: Share of zeros among the decoder's linear weights; null where it is not known.
        sparsity_problem: Why it is not known.
        verdict: Of its own report.
        headline: Of its own report.
        passed: Checks that passed.
        failed: Checks that failed.
        errored: Checks that ended in an error.
        inconclusive: Checks that are inconclusive.
        not_run: Checks that were not run.
        other: Checks that ended otherwise, such as recorded ones.
        checks_total: Checks of the thresholds file.
        worst: The check that lies farthest beyond what its thresholds allow, or nearest to it; null where none has such
            a threshold.
        files: Its own reports.
    """

    number: Count
    name: str
    path: str
    revision: str | None
    base: str | None
    fingerprint: str
    quantised: str | None
    parameters: Count | None
    size: Count | None
    sparsity: Share | None
    sparsity_problem: str | None
    verdict: RunVerdict
    headline: str
    passed: Count
    failed: Count
    errored: Count
    inconclusive: Count
    not_run: Count
    other: Count
    checks_total: Count
    worst: WorstCheck | None
    files: tuple[CandidateFile, ...]

    @property
    def page(self) -> str:
        """The address of its HTML report."""
        return next(file.address for file in self.files if file.kind == "HTML")


@dataclass(frozen=True, kw_only=True)
class CheckOfCandidate:
    """One candidate's figures on a check.

    Attributes:
        candidate: Its name.
        outcome: How the check ended.
        original: The original's score on this candidate's documents.
        score: The candidate's score.
        relative: Relative change; negative is a loss.
        low: Lower 95% bound of it; null where unbounded, or not known.
        high: Upper 95% bound.
        interval: The bounds in words.
        documents: Documents that the figures are of.
        total_documents: Documents that there are.
        measured: When the run began that measured it.
        is_earlier: Whether that was an earlier run.
        reason: A sentence.
    """

    candidate: str
    outcome: Outcome
    original: float | None
    score: float | None
    relative: float | None
    low: float | None
    high: float | None
    interval: str | None
    documents: Count | None
    total_documents: Count | None
    measured: Moment | None
    is_earlier: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class CandidatePair:
    """Two candidates on one check, by the documents that both answered.

    Attributes:
        candidate: The one whose difference is told.
        against: The other.
        documents: Documents that both answered.
        total_documents: Documents that there are.
        score: The candidate's score on those.
        score_against: The other's.
        difference: Score of the candidate minus that of the other; null where they cannot be compared.
        relative: Of a perplexity: relative change from the other to the candidate; negative is worse. Null for other
            metrics.
        low: Lower bound of the difference (of `relative` for a perplexity); null where unbounded, or without an
            interval.
        high: Upper bound.
        interval: The bounds in words; null without an interval.
        confidence: Of this interval alone.
        of_full_run: Whether the interval is of the full run's difference; otherwise of other documents like these.
        is_anytime: Whether data decided when to stop, and the interval holds wherever that was.
        better: Documents that the candidate answers better.
        worse: Documents that it answers worse.
        conclusion: Whether the interval says that the candidate is better, or worse; open where it says neither.
        problem: Why there is no interval, or no difference at all.
    """

    candidate: str
    against: str
    documents: Count | None
    total_documents: Count | None
    score: float | None
    score_against: float | None
    difference: float | None
    relative: float | None
    low: float | None
    high: float | None
    interval: str | None
    confidence: Share | None
    of_full_run: bool
    is_anytime: bool
    better: Count | None
    worse: Count | None
    conclusion: Conclusion | None
    problem: str | None

    @property
    def subject(self) -> str:
        """Whose difference the interval holds, in words."""
        told = "the full run" if self.of_full_run else "others like these"
        return f"{told}, wherever they stopped" if self.is_anytime else told


@dataclass(frozen=True, kw_only=True)
class CheckAcross:
    """A check on all candidates, in their order.

    Attributes:
        task: The task.
        name: The check.
        metric: lm-eval's name of the metric.
        thresholds: In words.
        location: File and line.
        unit: What is counted.
        original: The original's score; null where candidates were judged on different documents, or nothing was
            measured.
        originals: Its least and greatest score over the candidates where these differ.
        candidates: The candidates' figures, in their order.
        best: The candidate with the best score.
        pairs: All pairs of candidates with a figure; the better score is `against`.
    """

    task: str
    name: str
    metric: str
    thresholds: tuple[str, ...]
    location: str
    unit: str
    original: float | None
    originals: tuple[float, float] | None
    candidates: tuple[CheckOfCandidate, ...]
    best: str | None
    pairs: tuple[CandidatePair, ...]

    @property
    def is_counted(self) -> bool:
        """Whether its figures were counted in files; models answered for all others."""
        return figure_metric(self.metric) is not None

    @property
    def against_best(self) -> tuple[CandidatePair | None, ...]:
        """What parts each candidate from the best."""
        found = {pair.candidate: pair for pair in self.pairs if pair.against == self.best}
        return tuple(found.get(own.candidate) for own in self.candidates)


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """A candidate in a plot: its sparsity, and what a check changed relative to the original, with 95% bounds.

    Attributes:
        number: The candidate's.
        name: Its name.
        outcome: How its check ended.
        sparsity: Share of zeros.
        relative: Relative change; negative is a loss.
        low: Lower 95% bound; null where unbounded, or not known.
        high: Upper 95% bound.
    """

    number: Count
    name: str
    outcome: Outcome
    sparsity: Share
    relative: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class PlotPanel:
    """One check in the plot. `limit` is the least relative change that its thresholds allow; None where none is named so.

    Attributes:
        task: The task.
        name: The check.
        limit: The least relative change that the thresholds allow; null where they name none.
        points: A point for each candidate with a figure and a sparsity.
    """

    task: str
    name: str
    limit: float | None
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """A candidate that has no place in the plot, and why.

    Attributes:
        name: The candidate.
        reason: Why it has no place.
    """

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """A model, in short.

    Attributes:
        name: The name that the command line gives it; null where it gives none.
        path: The path, hub id or address, as the user wrote it.
        fingerprint: Digest of weights, configuration and tokenizer.
    """

    name: str | None
    path: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class CandidatesSummary:
    """All candidates of a run against its original.

    Attributes:
        version: Of this format.
        verdict: Over all candidates: the worst where all have to pass, the best where one is enough.
        headline: The verdict with who passes.
        require: Whether all candidates have to pass, or any.
        notes: What must be known before candidates are compared.
        original: The original model.
        candidates: The candidates, in the order in which they were given.
        checks: The checks of the thresholds file on all candidates.
        plot: Quality against sparsity: one panel for each check that has a point.
        unplaced: Candidates without a place in the plot.
        pairs_confidence: Confidence of each interval between two candidates: those of one check hold together with 95%.
            Null for one candidate alone.
        pairs_note: The same in words; empty for one candidate alone.
        thresholds_file: The thresholds file, as it is named on the screen.
        built_in_thresholds: Whether that is the file that ships with the package.
        command: The command line.
        started: When the first candidate's run began.
        finished: When the last one's ended.
        libraries: Versions of libraries, by name.
    """

    version: Literal[1]
    verdict: RunVerdict
    headline: str
    require: Require
    notes: tuple[str, ...]
    original: NamedModel
    candidates: tuple[CandidateRow, ...]
    checks: tuple[CheckAcross, ...]
    plot: tuple[PlotPanel, ...]
    unplaced: tuple[Unplaced, ...]
    pairs_confidence: Share | None
    pairs_note: str
    thresholds_file: str
    built_in_thresholds: bool
    command: str
    started: Moment
    finished: Moment
    libraries: dict[str, str]

    @property
    def has_earlier(self) -> bool:
        """Whether an earlier run measured some of it."""
        return any(own.is_earlier for check in self.checks for own in check.candidates)

    @property
    def compared(self) -> tuple[CheckAcross, ...]:
        """The checks on which candidates are compared with each other; what is counted needs no such table."""
        return tuple(check for check in self.checks if check.pairs and not check.is_counted)

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        found: dict[str, Any] = json_values(self)
        return found
