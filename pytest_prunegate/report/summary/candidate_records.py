"""The records of several candidates against one original: plain values, ready for JSON; templates and plots compute nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pytest_prunegate.tasks.kinds import counting_kind

CANDIDATES_VERSION = 1
CANDIDATES_RESULTS, CANDIDATES_MARKDOWN, CANDIDATES_PAGE = (
    "candidates_results.json", "candidates_report.md", "candidates_report.html",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CandidateFile:
    """A candidate's own report: its file name, and the same as an address relative to the overview."""

    kind: str
    name: str
    address: str


@dataclass(frozen=True, kw_only=True)
class WorstCheck:
    """The check that lies farthest beyond what its thresholds allow, or else nearest to it.

    `relative` and `limit`, the most that may be lost, have the sign that people know (negative is a loss); `beyond` is how far
    the loss exceeds the limit (negative where it does not).
    """

    task: str
    name: str
    relative: float
    limit: float
    beyond: float


@dataclass(frozen=True, kw_only=True)
class CandidateRow:
    """A candidate: what it is, how its checks ended, and where its own reports are.

    `number` marks it in plots. `passed` to `not_run` count the checks of the file by their outcome. `sparsity` is None where
    zeros were not counted, and `sparsity_problem` says why.
    """

    number: int
    name: str
    path: str
    revision: str | None
    base: str | None
    fingerprint: str
    quantised: str | None
    parameters: int | None
    size: int | None
    sparsity: float | None
    sparsity_problem: str | None
    verdict: str
    headline: str
    passed: int
    failed: int
    errored: int
    inconclusive: int
    not_run: int
    other: int
    checks_total: int
    worst: WorstCheck | None
    files: tuple[CandidateFile, ...]

    @property
    def page(self) -> str:
        """The address of its HTML report."""
        return next(file.address for file in self.files if file.kind == "HTML")


@dataclass(frozen=True, kw_only=True)
class CheckOfCandidate:
    """One candidate's figures on a check.

    `original` is the original's score on this candidate's documents. `relative` has the sign that people know (negative is a
    loss), `low` and `high` are its 95% bounds (None where unbounded, or not known). `reason` is a sentence.
    """

    candidate: str
    outcome: str
    original: float | None
    score: float | None
    relative: float | None
    low: float | None
    high: float | None
    interval: str | None
    documents: int | None
    total_documents: int | None
    measured: str | None
    is_earlier: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class CandidatePair:
    """Two candidates on one check, by the documents that both answered.

    `difference` is candidate - against in score units, on those documents; `relative` that of a perplexity over the other's,
    with the sign that people know (negative is worse). `low` and `high` are bounds of the difference (of `relative` for a
    perplexity), at `confidence`, `of_full_run` or of other documents like these; `is_anytime` where data decided when to stop.
    `better` and `worse` count documents that the candidate answers better, and worse. `conclusion` is better, worse or open
    (the interval holds 0); None without an interval, of which `interval` is the text. `problem` says why there is none, or no
    difference at all.
    """

    candidate: str
    against: str
    documents: int | None
    total_documents: int | None
    score: float | None
    score_against: float | None
    difference: float | None
    relative: float | None
    low: float | None
    high: float | None
    interval: str | None
    confidence: float | None
    of_full_run: bool
    is_anytime: bool
    better: int | None
    worse: int | None
    conclusion: str | None
    problem: str | None

    @property
    def subject(self) -> str:
        """Whose difference the interval holds, in words."""
        told = "the full run" if self.of_full_run else "others like these"
        return f"{told}, wherever they stopped" if self.is_anytime else told


@dataclass(frozen=True, kw_only=True)
class CheckAcross:
    """A check on all candidates, in their order.

    `original` is the original's score where it is the same for all of them; otherwise they were judged on different
    documents, and `originals` has the least and the greatest. `best` leads in score. `pairs` are all pairs of candidates with
    figures, the better score as `against`; the first of them are those against `best`, which `against_best` has by candidate,
    in their order (None: `best` itself, and those without a figure).
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
        return counting_kind(self.metric) is not None

    @property
    def against_best(self) -> tuple[CandidatePair | None, ...]:
        """What parts each candidate from the best."""
        found = {pair.candidate: pair for pair in self.pairs if pair.against == self.best}
        return tuple(found.get(own.candidate) for own in self.candidates)


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """A candidate in a plot: its sparsity, and what a check changed relative to the original, with 95% bounds."""

    number: int
    name: str
    outcome: str
    sparsity: float
    relative: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class PlotPanel:
    """One check in the plot. `limit` is the least relative change that its thresholds allow; None where none is named so."""

    task: str
    name: str
    limit: float | None
    points: tuple[PlotPoint, ...]


@dataclass(frozen=True, kw_only=True)
class Unplaced:
    """A candidate that has no place in the plot, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CandidatesSummary:
    """All candidates of a run against its original.

    `require` is what was asked for: that all candidates pass, or any.
    `pairs_confidence` is the confidence of each interval between two candidates, such that those of one check hold together
    with 95%, which `pairs_note` says in words. `command`, `started` and `finished` are the run's.
    """

    version: int
    verdict: str
    headline: str
    require: str
    notes: tuple[str, ...]
    original: dict[str, str | None]
    candidates: tuple[CandidateRow, ...]
    checks: tuple[CheckAcross, ...]
    plot: tuple[PlotPanel, ...]
    unplaced: tuple[Unplaced, ...]
    pairs_confidence: float | None
    pairs_note: str
    thresholds_file: str
    built_in_thresholds: bool
    command: str
    started: str
    finished: str
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
        return asdict(self)
