"""What the store holds, and the checksums by which a row that changed on the disk is noticed."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKED = {
    "responses": ("model", "request", "response", "provenance", "created"),
    "protocols": ("pair", "protocol", "created"),
    "failures": ("model", "request", "created", "traceback", "provenance"),
    "facts": ("kind", "key", "content", "created"),
}
"""The tables whose rows carry a checksum, with the columns that it covers; it comes after them."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A model's answer to one request.

    Generation has `text`; log-likelihood has `loglikelihood` (natural log) and `greedy`. `cut` says whether the
    text ended at the token limit (None: the backend does not say), `truncated` whether the prompt lost its beginning.
    """

    text: str | None = None
    loglikelihood: float | None = None
    greedy: bool | None = None
    cut: bool | None = None
    truncated: bool = False

    def as_json(self) -> str:
        """As the store keeps it."""
        return json.dumps({name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class KeptRow:
    """A response as it is kept. `created` is in seconds since 1970."""

    key: str
    response: Response
    provenance: dict[str, Any]
    created: float


@dataclass(frozen=True, kw_only=True)
class KeptTogether:
    """Responses of one provenance: how many, and when the first and the last was kept, in seconds since 1970."""

    provenance: dict[str, Any]
    responses: int
    first: float
    last: float


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """What is kept of a model. `size` is in bytes of its rows; `first` and `last` are in seconds since 1970."""

    fingerprint: str
    responses: int
    size: int
    first: float
    last: float
    paths: tuple[str, ...]
    tasks: Mapping[str, int]
    """Responses by task."""


def checksum(table: str, values: Sequence[object]) -> bytes:
    """Eight bytes over a row; the same for text and for its UTF-8."""
    return xxhash.xxh3_64_digest(b"\0".join((table.encode(), *map(_as_bytes, values))))


def checked(table: str, values: Sequence[object]) -> tuple[object, ...]:
    """A row with its checksum, as it is inserted."""
    return (*values, checksum(table, values))


def is_whole(table: str, row: Sequence[object]) -> bool:
    """Whether a row, as it was read, is as it was written."""
    return len(row) == len(CHECKED[table]) + 1 and row[-1] == checksum(table, row[:-1])


def as_text(row: Sequence[object]) -> tuple[object, ...]:
    """A whole row's columns with their bytes as text again, but for the checksum."""
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row[:-1])


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else struct.pack(">d", value) if isinstance(value, float) else b"?"
