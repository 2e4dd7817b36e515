"""The base of scorers: a task that this package scores by itself, in place of lm-eval."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.scores import MetricScores
    from pytest_prunegate.tasks.task_info import MetricInfo


class OwnScorer(ABC):
    """How a task is scored, and what is known of its documents.

    `metrics` and `output_type` take the place of what lm-eval's YAML says. `cluster_by` names the field of a document that
    those which are alike share, unless thresholds.yaml names another; None where they share nothing.
    """

    metrics: ClassVar[tuple[MetricInfo, ...]]
    output_type: ClassVar[str]
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

    @abstractmethod
    def right_answers(self, content: Any) -> Sequence[str]:
        """The answers to a document that count as right, as a report shows them."""

    def needs(self, request_type: str, metrics: Collection[str]) -> bool:
        """Whether the metrics need a document's request of that type; the others are not asked."""
        return True

    def has_metric(self, content: Any, metric: str) -> bool:
        """Whether a document counts for a metric, as far as its content says so beforehand."""
        return True

    def parts(self, metric: str) -> Mapping[str, Callable[[Any], str]]:
        """Ways to part the documents of a metric in a report: by name, what gives the part of a document's content."""
        return {}
