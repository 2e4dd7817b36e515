"""What executes requests, wherever that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Failure, Request


class Executor(Protocol):
    """Executes requests on models. Where a response was made is nobody else's business."""

    @property
    def loaded_side(self) -> str | None:
        """The side that costs no swap."""

    def load(self, facts: ModelFacts, first: Request) -> None:
        """Make a model ready, and see that it gives numbers for its first request."""

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response | Failure], None],
        long: frozenset[Request],
    ) -> None:
        """Execute requests on the model that was loaded last, and hand each response to `keep` as soon as it exists, in any order.

        A request that the model raises on, and again when it is asked alone, is handed over as a failure; the others go on.
        """

    def unload(self) -> None:
        """Free the model's memory."""
