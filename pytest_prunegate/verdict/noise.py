"""The noise floor: what moves when the original is asked twice, by numerics alone.

Another batch size pads otherwise, and another order fills batches otherwise: the sums inside a model round differently, and
now and then an answer tips. A drop or a threshold below that says nothing about pruning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.input.rule import Quantities
from pytest_prunegate.verdict.check_scores import scores_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.scores import MetricScores
    from pytest_prunegate.verdict.check_scores import Measurement


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much of a check moved between two askings of the original.

    Attributes:
        batch_size: Batch size of the second asking.
        documents: Documents that were asked twice.
        moved: Documents whose score moved; null where the metric has none per document.
        net: Change of the metric over its first value.
        gross: The same, had all documents moved in one direction.
        points: `gross` in score units.
    """

    batch_size: str
    documents: int
    moved: int | None
    net: float
    gross: float
    points: float

    def covers(self, check: Check) -> bool:
        """Whether a threshold of the check on what is lost lies below what moves by itself."""
        floors = Quantities(relative=self.gross, absolute=self.points, pruned=0.0)
        return any(
            threshold.rule.is_of_loss and threshold.allowed < threshold.rule.of(floors)
            for threshold in check.thresholds
        )


def noise_of(task: GateTask, check: Check, asked: Sequence[Measurement], batch_size: str) -> Noise:
    """What moved on a check.

    Raises:
        TaskError: the metric cannot be computed.
    """
    first, second = (scores_of(task, check, asked, side) for side in SIDES)
    base = float(abs(first.aggregate))
    net = float(second.aggregate - first.aggregate)
    moved, gross = _moved(first, second)
    gross = abs(net) if moved is None else gross
    return Noise(
        batch_size=batch_size, documents=first.documents, moved=moved, net=net / base if base else 0.0,
        gross=gross / base if base else 0.0, points=gross,
    )  # fmt: skip


def _moved(first: MetricScores, second: MetricScores) -> tuple[int | None, float]:
    if not first.by_document:
        return None, 0.0
    changes = [abs(second.by_document[key] - score) for key, score in first.by_document.items()]
    return sum(change > 0 for change in changes), float(sum(changes) / len(changes))
