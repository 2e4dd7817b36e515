"""What is executed: documents with the positions of their requests, what scores them, and the order in which they are drawn."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from decimal import Decimal

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Request
    from pytest_prunegate.tasks.scores import MetricScores
    from pytest_prunegate.tasks.task_info import MetricInfo


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


class OwnScorer(ABC):
    """How a task is scored that this package scores by itself, in place of lm-eval, and what is known of its documents.

    `metrics` and `output_type` take the place of what lm-eval's YAML says. `cluster_by` names the field of a document that
    those which are alike share, unless thresholds.yaml names another; None where they share nothing.
    """

    metrics: ClassVar[tuple[MetricInfo, ...]] = ()
    output_type: ClassVar[str | None] = None
    cluster_by: ClassVar[str | None] = None

    @abstractmethod
    def score(self, prepared: PreparedTask, metric: str, responses: Sequence[Response]) -> MetricScores:
        """One model's scores on a metric.

        Args:
            prepared: the task, with the documents that were executed.
            metric: by its name.
            responses: one for each of the task's requests, in their order.

        Raises:
            TaskError: there is no such metric, or no document has it.
        """

    def right_answers(self, content: Any) -> Sequence[str]:
        """The answers to a document that count as right, as a report shows them."""
        return ()

    def needs(self, request_type: str, metrics: Collection[str]) -> bool:
        """Whether the metrics need a document's request of that type; the others are not asked."""
        return True

    def has_metric(self, content: Any, metric: str) -> bool:
        """Whether a document counts for a metric, as far as its content says so beforehand."""
        return True

    def metrics_of_parts(self, metric: str) -> tuple[str, ...]:
        """Metrics that are this one on a part of the documents, whose collapse it may hide."""
        return ()

    def parts(self, metric: str) -> Mapping[str, Callable[[Any], str]]:
        """Ways to part the documents of a metric in a report: by name, what gives the part of a document's content."""
        return {}


@dataclass(frozen=True, kw_only=True)
class PreparedTask:
    """A task, ready to be executed: documents in dataset order, and their distinct requests.

    `key` names it in a run, `name` in messages. `own_version` is the version of a task of the user's own, and a part of
    what its answers are kept under; None for lm-eval's, whose versions go with lm-eval's.
    `task` is lm-eval's, None where there is none; `own` scores it in lm-eval's place. `unit` is what its documents are.
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
    unit: str = "documents"
    own: OwnScorer | None = None
    own_version: str | None = None

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
