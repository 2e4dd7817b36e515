"""The records of provenance: which models answered, where and when their answers were made, and what this run was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a part of a model's answers was made: in this run or an earlier one, here or where a baseline was written.

    `answers` is how many (None: the baseline file does not say which of several places made them). `batch_sizes` are those
    that were asked for, empty where it is not known. `first` and `last` are days, in UTC.
    """

    hardware: str
    libraries: dict[str, str]
    batch_sizes: tuple[str, ...]
    answers: int | None
    first: str
    last: str

    @property
    def place(self) -> str:
        """Hardware and libraries: what may change an answer."""
        return ", ".join([self.hardware, *(f"{name} {version}" for name, version in sorted(self.libraries.items()))])


@dataclass(frozen=True, kw_only=True)
class ModelProvenance:
    """Which model answered, how it was loaded, and where the answers in this report were made.

    `file` is the baseline file that took its place. `lm_eval` is the version that made its prompts. Answers of a second
    asking (--prunegate-noise-floor) are not counted.
    """

    path: str
    name: str | None
    revision: str | None
    base: str | None
    fingerprint: str
    file: str | None
    backend: str
    dtype: str
    arguments: dict[str, Any]
    max_length: int
    lm_eval: str
    environments: tuple[Environment, ...]


@dataclass(frozen=True, kw_only=True)
class TaskProvenance:
    """What was asked of a task: versions, data, examples, and when. `seconds` is what measuring took in the run that did."""

    version: str
    data_fingerprint: str
    num_fewshot: int
    fewshot_seeds: tuple[int, ...]
    started: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunProvenance:
    """This run: what was called, when, where, and with which libraries.

    `seed` draws documents. `commit` is what the CI system says it has checked out (GITHUB_SHA, CI_COMMIT_SHA).
    """

    command: str
    started: str
    finished: str
    seed: int
    batch_size: str
    device: str
    python: str
    platform: str
    libraries: dict[str, str]
    commit: str | None
    tasks: dict[str, TaskProvenance]
