"""What thresholds.yaml holds: frozen tasks, metrics and thresholds that know their line; and what the command line says in their place."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.input.rule import Rule


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """One threshold: its rule, its exact value, and how it was written.

    `span` are the characters of its file that hold it, quotes and the like included; None where no file does.
    """

    rule: Rule
    value: Decimal
    text: str
    line: int
    span: tuple[int, int] | None = field(default=None, compare=False)

    @property
    def allowed(self) -> float:
        """What may be lost: a share of the original's score, or score units; of a threshold on a score itself, that score."""
        return self.rule.as_loss(float(self.value))

    def describe(self) -> str:
        """The threshold in a few words, as tables and messages show it."""
        return f"{self.rule.words} {self.text}"


LEAST_ERROR_RATE, LARGEST_ERROR_RATE = Decimal("0.000001"), Decimal("0.2")
"""Below, arithmetic in floats is no surer; beyond, a verdict says little."""
LARGEST_INDIFFERENCE = Decimal("0.1")
"""Beyond it a threshold would mean nothing."""


class Decide(StrEnum):
    """What decides a check, by the words of thresholds.yaml."""

    FULL = "full"  # the measured figures on all documents; under a limit, what they say of the full run
    CONFIDENT = "confident"  # what the documents say of others like these
    EARLY = "early"  # as soon as the documents drawn so far say what the full run would


class Inconclusive(StrEnum):
    """What happens where a sample does not decide."""

    REPORT = "report"
    CONTINUE = "continue"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a check is decided: the rule, the largest probability of a wrong verdict, and how close a call may go either way."""

    decide: Decide = Decide.FULL
    error_rate: Decimal = Decimal("0.01")
    indifference: Decimal = Decimal(0)
    inconclusive: Inconclusive = Inconclusive.REPORT


@dataclass(frozen=True, kw_only=True)
class DecisionSpec:
    """The same as it is written somewhere; None where nothing is said there."""

    decide: Decide | None = None
    error_rate: Decimal | None = None
    indifference: Decimal | None = None
    inconclusive: Inconclusive | None = None

    def under(self, outer: DecisionSpec) -> DecisionSpec:
        """What is said here, and where nothing is, what is said around it."""
        return DecisionSpec(**{**outer.said(), **self.said()})

    def settled(self) -> Decision:
        """With the usual values where nothing was said anywhere."""
        return Decision(**self.said())

    def said(self) -> dict[str, Any]:
        """What is said here."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric as the file names it, with its thresholds (the defaults' where it has none of its own)."""

    name: str
    line: int
    thresholds: tuple[Threshold, ...]
    filter: str | None = None
    decision: DecisionSpec = DecisionSpec()

    def check_names(self) -> set[str]:
        """The names of its checks."""
        return {self.name, *(threshold.rule.name_of(self.name) for threshold in self.thresholds)}


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An entry of the file: what a kind of check is asked for. Each kind adds its keys.

    `section` is the key of the file below which it stands. `thresholds` are those of an entry that is one check, or one for each.
    """

    section: ClassVar[str]
    name: str
    line: int
    thresholds: tuple[Threshold, ...] = ()
    marks: tuple[str, ...] = ()
    decision: DecisionSpec = DecisionSpec()

    @property
    def has_checks(self) -> bool:
        """Whether anything is to be checked."""
        return True

    @property
    def sample_limit(self) -> int | Decimal | None:
        """How many documents, or below 1 which share of them, are executed; None for all."""
        return None

    def decision_of(self, name: str) -> DecisionSpec:
        """What the file says of how one of its checks is decided."""
        return self.decision

    def named_thresholds(self, defaults: tuple[Threshold, ...]) -> Iterator[tuple[str | None, Threshold]]:
        """Each threshold that it uses, with the name of its check; None where it leaves its checks to others.

        Args:
            defaults: the file's, for what has none of its own.
        """
        yield from ((threshold.rule.key, threshold) for threshold in self.thresholds)


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A task as the file describes it. None means: as lm-eval has it.

    `limit` is a number of documents, or below 1 a share of them. `apply_chat_template` is a template's name where the
    tokenizer has several. Documents with the same value of the field `cluster_by` are alike; reports show figures by the
    values of the fields `slice_by`. `unsafe_code`: whether a task
    that runs what a model writes may do so, which only the command line says.
    """

    section = "tasks"
    metrics: tuple[MetricSpec, ...] | None = None
    outputs: tuple[MetricSpec, ...] = ()
    num_fewshot: int | None = None
    fewshot_seed: int | None = None
    limit: int | Decimal | None = None
    repeats: int | None = None
    max_gen_toks: int | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    apply_chat_template: bool | str | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    dataset: Mapping[str, Any] | None = None
    truncate: bool = False
    cluster_by: str | None = None
    slice_by: tuple[str, ...] = ()
    unsafe_code: bool = False

    @property
    def written(self) -> tuple[MetricSpec, ...]:
        """Its metrics and shares of outputs, as far as the file names them."""
        return (*(self.metrics or ()), *self.outputs)

    @property
    def has_checks(self) -> bool:
        """Whether anything is to be checked; a task that names no metrics has those that lm-eval knows."""
        return self.metrics is None or bool(self.written)

    @property
    def sample_limit(self) -> int | Decimal | None:
        """Its limit."""
        return self.limit

    def decision_of(self, name: str) -> DecisionSpec:
        """What is said of one of its metrics, or else of all."""
        return next((metric.decision for metric in self.written if name in metric.check_names()), self.decision)

    def named_thresholds(self, defaults: tuple[Threshold, ...]) -> Iterator[tuple[str | None, Threshold]]:
        """Those of its metrics; the file's defaults where it names none."""
        for metric in self.written:
            yield from ((threshold.rule.name_of(metric.name), threshold) for threshold in metric.thresholds)
        if self.metrics is None:
            yield from ((None, threshold) for threshold in defaults)


@dataclass(frozen=True, kw_only=True)
class ThresholdsFile:
    """A whole file: where it lies, how the user names it, its defaults and its entries."""

    path: Path
    display: str
    built_in: bool
    specs: tuple[Spec, ...] = ()
    defaults: tuple[Threshold, ...] = ()
    decision: DecisionSpec = DecisionSpec()

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """Its tasks."""
        return tuple(spec for spec in self.specs if isinstance(spec, TaskSpec))

    def below(self, section: str) -> tuple[Spec, ...]:
        """The entries below one of its keys."""
        return tuple(spec for spec in self.specs if spec.section == section)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """lm-eval's settings from the command line. None: as the thresholds file, or else lm-eval, has it."""

    limit: int | Decimal | None = None
    num_fewshot: int | None = None
    fewshot_seed: int | None = None
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_gen_toks: int | None = None
    apply_chat_template: bool | str | None = None
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    unsafe_code: bool = False
    decision: DecisionSpec = field(default_factory=DecisionSpec)
