"""What several pairs of models share while they are asked: one model is in memory at a time, and what broke is known to all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.errors import ModelError
    from pytest_prunegate.tasks.requests import Conditions, Failure, Request

    ModelKey = tuple[str, str, Conditions]


def model_key(facts: ModelFacts, conditions: Conditions) -> ModelKey:
    """What two pairs have in common that ask the same model in the same way, in the same place."""
    return facts.title, facts.fingerprint, conditions


class Turns:
    """Whose model is in memory, and which models and requests failed in this run."""

    def __init__(self) -> None:
        self._free: Callable[[], None] | None = None
        self._holder: object | None = None
        self.fingerprints: dict[str, None] = {}
        """Of all models of the run."""
        self.broken: dict[ModelKey, ModelError] = {}
        """Models that cannot be loaded."""
        self._failed: dict[ModelKey, dict[Request, Failure]] = {}

    def take(self, holder: object, free: Callable[[], None]) -> None:
        """Have the memory for oneself; who had it before frees it.

        Args:
            holder: who asks.
            free: frees what the holder will put there.
        """
        if self._holder is not holder and self._free is not None:
            self._free()
        self._holder, self._free = holder, free

    def failed_of(self, model: ModelKey) -> dict[Request, Failure]:
        """The requests on which a model raised, to read and to add to."""
        return self._failed.setdefault(model, {})
