"""The records of a summary: plain values, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.summary.changed_records import ChangedAnswers
from pytest_prunegate.tasks.kinds import counting_kind

if TYPE_CHECKING:
    from pytest_prunegate.report.summary.provenance_records import Environment, ModelProvenance, RunProvenance
    from pytest_prunegate.verdict.noise import Noise

SUMMARY_VERSION = 6
RESULTS_FILE = "comparison_results.json"
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """Zeros among the linear weights of one decoder layer, by its number in the tensors' names."""

    layer: int
    zeros: int
    weights: int
    share: float


@dataclass(frozen=True, kw_only=True)
class LossOnScale:
    """A check on the scale that all checks share: its relative drop, positive for a loss, with 95% bounds.

    `limit` is the largest relative drop that all of its thresholds allow (thresholds in score units are brought to it by the
    original's score); None where they allow no loss to be named so. A bound is None where it is unbounded.
    """

    drop: float
    low: float | None
    high: float | None
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class IntervalSummary:
    """95% bounds of a loss, relative and absolute (positive is worse, None where unbounded), and of the pruned model's score.

    `relative_change` has the sign that people know, and `text` says it. `of_full_run`, `unit` and `subject` tell whose bounds they are,
    `is_anytime` that they hold although the data decided when to stop.
    """

    relative: Bounds
    absolute: Bounds
    pruned: Bounds
    of_full_run: bool
    is_anytime: bool
    unit: str
    confidence: float
    relative_change: Bounds
    text: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class DecisionSummary:
    """How a check was decided: what was `asked` for, what the verdict rests on (`basis`: measured, sample, confident, early), and its errors.

    Where `is_estimate`, the scores on `documents` are an estimate of those on all `of` them. `strictest` has the threshold, by its
    rule, that an interval at that error rate would just meet. `checks` and `candidates` share the error rate, as do `earlier_looks`.
    """

    asked: dict[str, str]
    outcome: str
    basis: str
    error_rate: float | None
    indifference: float
    documents: int
    of: int | None
    is_estimate: bool
    estimate_of: str | None
    needed: tuple[int, int] | None
    seed: int | None
    checks: int | None
    candidates: int
    earlier_looks: tuple[str, ...]
    strictest: dict[str, float | None]
    note: str | None


@dataclass(frozen=True, kw_only=True)
class MemberSummary:
    """What a task of a group scored; `exact` are both scores as fractions."""

    name: str
    documents: int
    original: float
    pruned: float
    difference: float
    exact: tuple[str, str]
    lost: int | None
    gained: int | None


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """A check's figures on a part of its documents. `by` names what parts them: answerable, or a field of the documents.

    `difference` is pruned - original, `relative` has the sign that people know (None where the original scores 0).
    """

    by: str
    name: str
    documents: int
    original: float
    pruned: float
    difference: float
    relative: float | None
    lost: int | None
    gained: int | None


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model. Size in bytes. None: not measured, or unknown; `sparsity_problem` says why zeros were not counted.

    `zeros` and `weights` count the decoder's linear weights. `base` is an adapter's. `wikitext_windows` says what the
    perplexity was measured on: seqlen, windows, of.
    """

    side: str
    name: str | None
    path: str
    revision: str | None
    base: str | None
    fingerprint: str
    architecture: str | None
    parameters: int | None
    size: int | None
    quantised: str | None
    backend: str
    dtype: str
    arguments: dict[str, Any]
    max_length: int
    sparsity: float | None
    zeros: int | None
    weights: int | None
    sparsity_problem: str | None
    base_sparsity: float | None
    router_zeros: int
    router_weights: int
    wikitext_ppl: float | None
    wikitext_windows: str | None
    layers: tuple[LayerSparsity, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """A check. `relative` has the sign that people know (negative is a loss); `reason` is a sentence.

    `noise` is what moved when the original was asked twice: answers, and shares of its score.
    `documents` and `total_documents` count what `unit` says. `exact` holds the figures as fractions, `identity` what they
    depend on, `measured` when the run began that measured them, `is_earlier` whether that was another run.
    """

    task: str
    name: str
    metric: str
    filter: str
    location: str
    line: int
    thresholds: tuple[str, ...]
    outcome: str
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
    documents: int | None
    total_documents: int | None
    unit: str
    lost: int | None
    gained: int | None
    reason: str
    members: tuple[MemberSummary, ...]
    exact: dict[str, str | None] | None
    identity: dict[str, str] | None
    measured: str | None
    is_earlier: bool
    parts: tuple[PartSummary, ...] = ()
    scale: LossOnScale | None = None

    @property
    def is_partial(self) -> bool:
        """Whether its figures are of a part of the documents."""
        return self.documents != self.total_documents

    @property
    def is_counted(self) -> bool:
        """Whether its figures were counted in files; models answered for all others."""
        return counting_kind(self.metric) is not None


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """A task that was measured. What of it was executed in this run is in evaluation.log: a resumed run ends in the same files.

    `answered_in` says where its answers were made, by side. `ties` counts the documents with several choices, and those of them whose best
    log-likelihood is that of more than one; None where the task has no choices.
    """

    name: str
    version: str
    num_fewshot: int
    documents: int
    total_documents: int
    unit: str
    data_fingerprint: str
    requests: int
    outputs: dict[str, dict[str, float | int | None] | None]
    started: str
    seconds: float
    fewshot_seeds: tuple[int, ...] = ()
    answered_in: dict[str, tuple[Environment, ...]] = field(default_factory=dict)
    ties: dict[str, dict[str, int] | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole run, with what earlier runs into the same folder measured of the same models, settings and data.

    `differences` are what differs between the models besides their weights. `asked` is what was asked for of each task, in the words of
    thresholds.yaml: enough to ask for it again.
    `provenance` tells the models' by side, `run` this run's.
    """

    version: int
    verdict: str
    headline: str
    notes: tuple[str, ...]
    differences: tuple[str, ...]
    stale: tuple[dict[str, str], ...]
    archive: str | None
    checks_measured: int
    checks_total: int
    models: dict[str, ModelSummary]
    checks: tuple[CheckSummary, ...]
    tasks: tuple[TaskSummary, ...]
    asked: dict[str, dict[str, Any]]
    thresholds_file: str
    built_in_thresholds: bool
    seed: int
    batch_size: str
    device: str
    command: str
    started: str
    finished: str
    python: str
    libraries: dict[str, str]
    changed: ChangedAnswers = field(default_factory=ChangedAnswers)
    provenance: dict[str, ModelProvenance] = field(default_factory=dict)
    run: RunProvenance | None = None

    @property
    def has_outputs(self) -> bool:
        """Whether a task generated any."""
        return any(any(task.outputs.values()) for task in self.tasks)

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values; of the answers that changed, how many there are and where."""
        return asdict(replace(self, changed=ChangedAnswers())) | {"changed": self.changed.counts()}
