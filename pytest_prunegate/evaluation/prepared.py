"""What is executed: documents with the positions of their requests, and the sample that a limit draws."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

    from pytest_prunegate.evaluation.requests import Request


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
    """A task, ready to be executed: its sample of documents in dataset order, and their distinct requests.

    `key` names it in a run, `name` in messages. `seqlen` is the length in tokens of the windows of a text for
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

    @property
    def unit(self) -> str:
        """What is counted."""
        return "documents" if self.seqlen is None else f"windows of {self.seqlen} tokens"


def sample(total: int, limit: int | Decimal | None, key: str) -> list[int]:
    """Ids of the documents to execute, ascending: the first `limit` of one permutation that the key decides.

    A larger limit contains every smaller one. A limit below 1 is a share, rounded up as lm-eval does. Sorting by a hash
    gives the same order in every version of Python.
    """
    if limit is not None and limit < 1:
        limit = math.ceil(total * limit)
    if limit is None or limit >= total:
        return list(range(total))
    ranked = sorted(
        range(total), key=lambda doc_id: hashlib.blake2b(f"{key}:{doc_id}".encode(), digest_size=16).digest()
    )
    return sorted(ranked[: int(limit)])
