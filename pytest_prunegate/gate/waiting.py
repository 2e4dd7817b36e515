"""Requests that wait for an answer, and the time that they will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.prepared import PreparedTask


class Waiting:
    """What waits for an answer, in units of each task's work, by part of a task and side.

    Args:
        answering: knows how long requests took.
    """

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self.work: dict[tuple[str, Side], int] = {}

    def seconds(self, parts: Sequence[PreparedTask]) -> float | None:
        """Time for the waiting requests of a task on all sides; None where nothing like them was timed.

        Members of a group that were not timed take what the others took.
        """
        total = 0.0
        for side in self._answering.facts:
            waiting = [(part, work) for part in parts if (work := self.work.get((part.key, side), 0))]
            rates = {part.key: self._answering.seconds_per_work(part.name, side) for part, _ in waiting}
            known = [rate for rate in rates.values() if rate is not None]
            if waiting and not known:
                return None
            for part, work in waiting:
                rate = rates[part.key]
                total += work * (sum(known) / len(known) if rate is None else rate)
        return total
