"""Answers that are kept: in the store, or in a file that takes the place of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_prunegate.store import Response


class KeptAnswers(Protocol):
    """Where the answers of a model are looked up by the keys of their requests."""

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which an answer is kept."""

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The answers that are kept, by key."""


class FileAnswers:
    """The answers of one model, in memory.

    Args:
        model: its fingerprint.
        responses: by the keys of their requests.
    """

    def __init__(self, model: str, responses: Mapping[str, Response]) -> None:
        self._model = model
        self._responses = responses

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which an answer is kept; none of another model."""
        return {key for key in keys if key in self._responses} if model == self._model else set()

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The answers that are kept, by key."""
        wanted = list(keys)
        return {key: self._responses[key] for key in self.known(model, wanted)}
