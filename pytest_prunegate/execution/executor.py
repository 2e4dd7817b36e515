"""What answers requests, wherever that is: the one seam to engines, servers and whatever is to come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, ROLLING, WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Conditions, Request
    from pytest_prunegate.tasks.speed import TimedRun

    HandOn = Callable[[Request, Response], None]

EVERY_KIND = "every kind"
KINDS = (GENERATION, LOGLIKELIHOOD, ROLLING, WINDOW)
"""All kinds of requests, in the order in which they run."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How models are run, as the user wrote it; none of it changes an answer beyond rounding."""

    batch_size: str
    device: str


class Executor(ABC):
    """Answers requests with one model. The batches, what is asked again, and what is kept, are somebody else's business.

    Making one makes the model ready. `kinds` are the requests that it answers. An executor that `holds_weights` is closed
    before another one that does is made. `where` names its place in messages.

    Args:
        facts: the model.
        conditions: what its answers depend on.
        settings: of the run.

    Raises:
        ModelError: the model cannot be made ready.
    """

    kinds: ClassVar[frozenset[str]] = frozenset(KINDS)
    holds_weights: ClassVar[bool] = True
    where: str = "the device"
    measures_memory: bool = False
    """Whether memory has to be measured beforehand, because what does not fit ends the process."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the answers may want to know of how they were made, as the end of a sentence about the model."""
        return ()

    @abstractmethod
    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> None: ...

    @abstractmethod
    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """Answer requests of one kind, with the same generation arguments, in any order.

        Args:
            batch: distinct requests, as many as `at_once` allows.
            hand_on: takes a request and its response as soon as there is one.

        Raises:
            Exception: whatever the model raises; the requests that have no answer are then asked again, alone. A PrunegateError
                that is no ResponseError ends the task.
        """

    @abstractmethod
    def at_once(self, kind: str) -> int:
        """How many requests of a kind may be asked at once; continuations of one context count as one.

        Raises:
            ModelError: it cannot be found out.
        """

    def taken_continuously(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Those of the requests that it takes whatever their kinds, many at once, those that begin alike beside each other.

        They are asked in batches of all kinds (`EVERY_KIND`), in which a run may stop after each answer.
        """
        return ()

    def probe(self, first: Request) -> None:  # noqa: B027 - not every executor has to
        """See that the model answers before anything is counted on.

        Args:
            first: the first request that it will have to answer.

        Raises:
            ModelError: it gives no finite numbers.
            TaskError: it cannot answer requests of this kind.
        """

    def next_token_logits(self, tokens: tuple[int, ...]) -> Iterator[torch.Tensor]:
        """Logits of a window of T tokens, (rows, V) each from left to right, 256 rows at a time; consumed under ``torch.inference_mode``.

        Raises:
            TaskError: it gives none.
        """
        raise TaskError(
            "agreement: needs the models' distributions over all tokens, which this backend does not give. Use --prunegate-backend=hf."
        )

    def timed_run(self, prompts: Sequence[Sequence[int]], generate: int) -> TimedRun:
        """Read prompts of equal length, and generate so many tokens behind each, whatever they are.

        Raises:
            TaskError: it cannot be told to.
        """
        raise TaskError("speed: this backend cannot be told how many tokens to generate. Use --prunegate-backend=hf.")

    @property
    def weights_size(self) -> int:
        """Bytes of its weights in memory; 0 where it does not tell."""
        return 0

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether an exception says that a smaller batch might fit."""
        return False

    def free_memory(self) -> None:  # noqa: B027 - likewise
        """Free what a batch that did not fit has left behind."""

    def close(self) -> None:  # noqa: B027 - likewise
        """Free the model's memory."""
