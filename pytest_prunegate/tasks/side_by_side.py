"""What runs on both models at once: the seam between kinds of checks that need it and what loads models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.tasks.agreement import WindowAgreement
    from pytest_prunegate.tasks.requests import Request
    from pytest_prunegate.tasks.speed import Speed


class SideBySide(Protocol):
    """Both models of a comparison. They are loaded when something is run that the store does not have.

    `is_alone`: the original is there alone, to be kept as a baseline.
    """

    @property
    def is_alone(self) -> bool:
        """Whether there is no pruned model."""

    def keep(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> None:
        """Keep the original's next-token distributions on windows, for a baseline.

        Raises:
            ModelError, TaskError, RunStopped: as for agreement.
        """

    def known(self, windows: Sequence[tuple[int, ...]]) -> int:
        """How many of the windows need no model any more."""

    def agreement(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> list[WindowAgreement]:
        """Compare both models' next-token distributions on windows of tokens.

        Args:
            windows: of at least two tokens each.
            done: is called after each window that the models had to be run for.

        Raises:
            ModelError: a model cannot be loaded, or fails.
            TaskError: one of them gives no distributions, or their vocabularies differ.
            RunStopped: the run was asked to stop.
        """

    def speed(self, prompt: int, generate: int, *, batch: int, pairs: int, done: Callable[[], None]) -> Speed:
        """Time both models by turns on the same prompts of random tokens.

        Args:
            prompt: tokens of a prompt.
            generate: tokens behind it.
            batch: prompts at once.
            pairs: runs of each model that count; one before them warms up.
            done: is called after each pair.

        Raises:
            ModelError, TaskError, RunStopped: as for agreement.
        """


@dataclass(frozen=True, kw_only=True)
class KeptForBaseline:
    """What of a run a baseline keeps of the original: `requests`, one for each step, by the digest of the data, of `total` steps in all."""

    requests: tuple[Request, ...]
    version: str
    data: str
    total: int
    settings: Mapping[str, Any]


class Run(ABC):
    """Something that is run on both models: `steps` of a `unit`.

    `kept` is what a baseline can have of it; None where it can have nothing. `is_kept`: whether the store keeps its steps.
    """

    unit: str
    is_kept: ClassVar[bool] = True
    kept: KeptForBaseline | None = None

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many there are."""

    @abstractmethod
    def known(self, both: SideBySide) -> int:
        """How many of its steps need no model any more."""

    @abstractmethod
    def result(self, both: SideBySide, done: Callable[[], None]) -> Any:
        """Run it.

        Args:
            both: the models.
            done: is called after each step.

        Raises:
            EvaluationError: it cannot be run.
        """
