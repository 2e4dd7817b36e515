"""What is executed: documents with the positions of their requests, and the order in which they are drawn."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from decimal import Decimal

    from pytest_prunegate.tasks.requests import Request


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that is executed: lm-eval's id, content and instances.

    `requests` has a tuple for each instance with the positions of its requests (one a repeat) in
    `PreparedTask.requests`; it is empty where no wanted metric needs the instance.
    """

    doc_id: int
    content: Any
    instances: tuple[Any, ...]
    requests: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PreparedTask:
    """A task, ready to be executed: documents in dataset order, and their distinct requests.

    `key` names it in a run, `name` in messages. `own_version` is the version of a task of the user's own, and a part of
    what its answers are kept under; None for lm-eval's, whose versions go with lm-eval's.
    `seqlen` is the length in tokens of the windows of a text for
    perplexity, whose documents they are; None for a task of lm-eval.
    """

    key: str
    name: str
    task: Any
    version: str
    num_fewshot: int
    documents: tuple[Document, ...]
    total_documents: int
    data_fingerprint: str
    requests: tuple[Request, ...]
    truncate: bool
    seqlen: int | None = None
    own_version: str | None = None

    @property
    def unit(self) -> str:
        """What is counted."""
        return "documents" if self.seqlen is None else f"windows of {self.seqlen} tokens"

    def only(self, doc_ids: AbstractSet[int]) -> PreparedTask:
        """The same task with a part of its documents, and the requests that they need."""
        if len(doc_ids) == len(self.documents):
            return self
        places: dict[int, int] = {}
        documents = []
        for document in self.documents:
            if document.doc_id in doc_ids:
                requests = tuple(
                    tuple(places.setdefault(position, len(places)) for position in positions)
                    for positions in document.requests
                )
                documents.append(replace(document, requests=requests))
        return replace(self, documents=tuple(documents), requests=tuple(self.requests[position] for position in places))


def asked_of(part: PreparedTask, document: Document) -> str:
    """What a document asks, and which answer is right, as text; nothing else that stands in the data."""
    asked = [repr(part.requests[position]) for positions in document.requests for position in positions]
    return repr((sorted(asked), _target(part, document)))


def _target(part: PreparedTask, document: Document) -> str:
    """The right answer as the task tells it; all of the document's content where it tells none."""
    try:
        return repr(part.task.doc_to_target(document.content))
    except Exception:  # noqa: BLE001 - a task's own code; what is not known apart then counts as a whole
        return repr(document.content)


def draw_ranks(total: int, key: str) -> list[bytes]:
    """A rank for each document: their order is one random permutation, that the key decides.

    Sorting by a hash gives the same order in every version of Python.
    """
    return [hashlib.blake2b(f"{key}:{doc_id}".encode(), digest_size=16).digest() for doc_id in range(total)]


def sample_size(total: int, limit: int | Decimal | None) -> int:
    """How many documents a limit takes; a limit below 1 is a share, rounded up as lm-eval does."""
    if limit is None:
        return total
    return min(total, math.ceil(total * limit) if limit < 1 else int(limit))
