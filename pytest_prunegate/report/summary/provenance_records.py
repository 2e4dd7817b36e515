"""The records of provenance: which models answered, where and when their answers were made, and what this run was."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_prunegate.report.summary.values import Count, Day, Moment, Words


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a part of a model's answers was made: in this run or an earlier one, here or where a baseline was written.

    Attributes:
        hardware: What computed: cpu: x86_64, cuda: NVIDIA L4, or a server.
        libraries: Versions of torch, transformers and tokenizers, as far as they were kept.
        batch_sizes: The batch sizes that were asked for; none where it is not known.
        answers: How many answers were made there; null where a baseline file does not say which of several places made
            them.
        first: Day of the first answer, UTC.
        last: Day of the last answer, UTC.
    """

    hardware: str
    libraries: dict[str, str]
    batch_sizes: tuple[str, ...]
    answers: Count | None
    first: Day
    last: Day

    @property
    def place(self) -> str:
        """Hardware and libraries: what may change an answer."""
        return ", ".join([self.hardware, *(f"{name} {version}" for name, version in sorted(self.libraries.items()))])


@dataclass(frozen=True, kw_only=True)
class ModelProvenance:
    """Which model answered, how it was loaded, and where the answers in this report were made.

    Attributes:
        path: The path, hub id or address, as the user wrote it.
        name: The name that the command line gives it.
        revision: Commit of a model from a hub.
        base: The base model of an adapter.
        fingerprint: Digest of weights, configuration and tokenizer.
        file: The baseline file that took its place.
        backend: lm-eval's model class that loads it.
        dtype: The type that it computes in.
        arguments: Arguments of this side.
        max_length: Longest input, in tokens.
        lm_eval: Version of lm-eval that made its prompts.
        environments: Where its answers in this report were made; those of a second asking (--prunegate-noise-floor) are
            not counted.
    """

    path: str
    name: str | None
    revision: str | None
    base: str | None
    fingerprint: str
    file: str | None
    backend: str
    dtype: str
    arguments: Words
    max_length: Count
    lm_eval: str
    environments: tuple[Environment, ...]


@dataclass(frozen=True, kw_only=True)
class TaskProvenance:
    """What was asked of a task.

    Attributes:
        version: Its version.
        data_fingerprint: Digest of its documents.
        num_fewshot: Examples before each question.
        fewshot_seeds: Seeds that drew the examples.
        started: When measuring it began.
        seconds: How long that took, in seconds, in the run that measured it.
    """

    version: str
    data_fingerprint: str
    num_fewshot: Count
    fewshot_seeds: tuple[int, ...]
    started: Moment
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunProvenance:
    """What this run was: what was called, when, where, and with which libraries.

    Attributes:
        command: The command line.
        started: When the run began.
        finished: When it ended.
        seed: Seed that draws documents.
        batch_size: Batch size of this run, as it was asked for.
        device: Where this run computes; none (no model is loaded) where baseline files take the models' place.
        python: Version of Python.
        platform: Operating system and machine.
        libraries: Versions of libraries in this run.
        commit: Commit that the CI system says it has checked out (GITHUB_SHA, CI_COMMIT_SHA).
        tasks: By task.
    """

    command: str
    started: Moment
    finished: Moment
    seed: int
    batch_size: str
    device: str
    python: str
    platform: str
    libraries: dict[str, str]
    commit: str | None
    tasks: dict[str, TaskProvenance]
