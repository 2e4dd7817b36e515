"""The records of a run's results: plain values, as templates see them and JSON has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from pytest_prunegate.input.model_argument import Side
from pytest_prunegate.report.summary.changed_records import ChangedAnswers
from pytest_prunegate.report.summary.check_records import CheckSummary
from pytest_prunegate.report.summary.model_records import MaskSurvival, ModelSummary
from pytest_prunegate.report.summary.provenance_records import Environment, ModelProvenance, RunProvenance
from pytest_prunegate.report.summary.running_records import AgreementSummary, SpeedSummary
from pytest_prunegate.report.summary.values import Count, Moment, RunVerdict, Share, Words, json_values

SUMMARY_VERSION: Literal[8] = 8
MODEL_RESULTS_VERSION: Literal[2] = 2
RESULTS_FILE = "comparison_results.json"


@dataclass(frozen=True, kw_only=True)
class SharesOfOutputs:
    """What a model generated.

    Attributes:
        outputs: Generated outputs.
        empty: Share of those that are empty.
        cut: Share of those that ended at the token limit; null where the backend does not say.
    """

    outputs: Count
    empty: Share
    cut: Share | None


@dataclass(frozen=True, kw_only=True)
class Ties:
    """How often a model's best choices have the same log-likelihood.

    Attributes:
        documents: Documents with several choices.
        tied: Those of them whose best log-likelihood is that of more than one choice.
    """

    documents: Count
    tied: Count


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """A task that was measured. What of it was executed in this run is in evaluation.log: a resumed run ends in the same files.

    Attributes:
        name: The task.
        version: Its version, or those of a group's members.
        num_fewshot: Examples before each question.
        documents: What was measured, in `unit`.
        total_documents: All there is of that.
        unit: What is counted: documents, or windows of how many tokens.
        data_fingerprint: Digest of its documents.
        requests: Requests to each model.
        outputs: What each model generated, by side; null where the task generates nothing.
        started: When measuring it began.
        seconds: How long that took, in seconds, in the run that measured it.
        fewshot_seeds: Seeds that drew the examples; none without examples.
        answered_in: Where the answers were made, by side.
        ties: Documents whose best choices tie, by side; null where the task has no choices.
    """

    name: str
    version: str
    num_fewshot: Count
    documents: Count
    total_documents: Count
    unit: str
    data_fingerprint: str
    requests: Count
    outputs: dict[Side, SharesOfOutputs | None]
    started: Moment
    seconds: float
    fewshot_seeds: tuple[int, ...]
    answered_in: dict[Side, tuple[Environment, ...]]
    ties: dict[Side, Ties | None]


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A figure of an earlier run that is about something else.

    Attributes:
        task: The task; all where a whole file is meant.
        name: The check.
        measured: When it was measured; empty where that is not known.
        reason: What it is about instead.
    """

    task: str
    name: str
    measured: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AskedCheck:
    """What was asked for of a check.

    Attributes:
        rules: Rules of its thresholds.
        keys: Its other keys, in the words of thresholds.yaml.
    """

    rules: tuple[str, ...]
    keys: Words


@dataclass(frozen=True, kw_only=True)
class AskedTask:
    """What was asked for of a task, in the words of thresholds.yaml: enough to ask for it again.

    Attributes:
        kind: What stands behind the name: task, group, perplexity, agreement, speed, sparsity, mask.
        origins: Tags and groups that it was expanded from.
        settings: Settings, in the words of thresholds.yaml (see thresholds.schema.json).
        checks: Its checks by name.
    """

    kind: str
    origins: tuple[str, ...]
    settings: Words
    checks: dict[str, AskedCheck]


@dataclass(frozen=True, kw_only=True)
class ModelResults:
    """One model's scores, in a file of their own: `original_model_results.json`, `pruned_model_results.json`, `baseline_results.json`.

    Attributes:
        version: Of this format.
        model_path: The path, hub id or address, as the user wrote it.
        name: The name that the command line gives it; null where it gives none.
        fingerprint: Digest of weights, configuration and tokenizer.
        sparsity: Share of zeros among the decoder's linear weights; null where they were not counted.
        sparsity_problem: Why zeros were not counted.
        wikitext_ppl: Perplexity on WikiText2; null where it was not measured.
        wikitext_windows: What that was measured on, in words.
        tasks: Scores by task and check; null where one was not measured.
        members: Scores of a group's tasks, by group, task and check.
        outputs: What it generated, by task; null where a task generates nothing.
        documents: What was measured, by task.
        scored: From how many documents each score was computed, by task and check; early stopping may judge on fewer than
            were measured.
        compared_with: Of the original beside several candidates, by task and check: with which of them its score was
            compared; early stopping may judge each on other documents.
    """

    version: Literal[2]
    model_path: str
    name: str | None
    fingerprint: str
    sparsity: Share | None
    sparsity_problem: str | None
    wikitext_ppl: float | None
    wikitext_windows: str | None
    tasks: dict[str, dict[str, float | None]]
    members: dict[str, dict[str, dict[str, float]]]
    outputs: dict[str, SharesOfOutputs | None]
    documents: dict[str, Count]
    scored: dict[str, dict[str, Count | None]]
    compared_with: dict[str, dict[str, str | None]] | UnsetType = UNSET


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole run, with what earlier runs into the same folder measured of the same models, settings and data.

    Attributes:
        version: Of this format.
        verdict: The worst outcome of all checks that were run.
        headline: The verdict with its counts.
        notes: What must be known before believing the verdict.
        differences: What differs between the models besides their weights.
        reductions: What the pruned model has fewer of, by the configurations, with both numbers.
        mask: What became of the zeros since pruning; null without --prunegate-mask-from, or where it cannot be counted.
        agreement: How far apart both models' next-token distributions are; null without `agreement:` in the thresholds file.
        speed: What pruning bought in time and memory; null without `speed:` in the thresholds file.
        stale: Figures of earlier runs that are about something else, and were moved away.
        archive: The folder that took their files.
        checks_measured: Checks with a verdict.
        checks_total: Checks of the thresholds file.
        models: Both models.
        checks: All checks of the thresholds file, in its order.
        tasks: The tasks that were measured.
        asked: What was asked for, by task.
        thresholds_file: The thresholds file, as it is named on the screen.
        built_in_thresholds: Whether that is the file that ships with the package.
        seed: Seed that draws documents.
        batch_size: Batch size of this run, as it was asked for.
        device: Where this run computes; none (no model is loaded) where baseline files take the models' place.
        command: The command line.
        started: When the run began.
        finished: When it ended.
        python: Version of Python.
        libraries: Versions of libraries in this run.
        changed: How many answers changed.
        provenance: Where the models' answers come from.
        run: What this run was. Repeats what stands beside it, so that it can be kept by itself.
    """

    version: Literal[8]
    verdict: RunVerdict
    headline: str
    notes: tuple[str, ...]
    differences: tuple[str, ...]
    reductions: tuple[str, ...]
    mask: MaskSurvival | None
    agreement: AgreementSummary | None
    speed: SpeedSummary | None
    stale: tuple[Stale, ...]
    archive: str | None
    checks_measured: Count
    checks_total: Count
    models: dict[Side, ModelSummary]
    checks: tuple[CheckSummary, ...]
    tasks: tuple[TaskSummary, ...]
    asked: dict[str, AskedTask]
    thresholds_file: str
    built_in_thresholds: bool
    seed: int
    batch_size: str
    device: str
    command: str
    started: Moment
    finished: Moment
    python: str
    libraries: dict[str, str]
    changed: ChangedAnswers
    provenance: dict[Side, ModelProvenance]
    run: RunProvenance

    @property
    def has_outputs(self) -> bool:
        """Whether a task generated any."""
        return any(any(task.outputs.values()) for task in self.tasks)

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values; of the answers that changed, how many there are and where."""
        found: dict[str, Any] = json_values(replace(self, changed=ChangedAnswers()))
        return found | {"changed": json_values(self.changed.counts)}
