"""What a run is asked to compare, known from the options and the thresholds file alone, and what the gates of its candidates share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.execution.models import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.input.options import Options
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask


class Pair:
    """The original and one pruned model, or the original alone, with the checks that it is to stand.

    Args:
        options: of this pair.
        tasks: of the run.
    """

    def __init__(self, options: Options, tasks: tuple[GateTask, ...]) -> None:
        self.options = options
        self.tasks = tasks

    @property
    def candidate(self) -> str | None:
        """The pruned model's name, where it is one of several."""
        return self.options.candidate

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks of the file, asked for or not."""
        return tuple(check for task in self.tasks for check in task.checks)

    @property
    def thresholds(self) -> int:
        """All thresholds of the file, each of which may fail falsely."""
        return sum(len(check.thresholds) for check in self.checks)

    @property
    def baseline_only(self) -> bool:
        """Whether the original alone is measured."""
        return self.options.pruned is None

    def task(self, name: str) -> GateTask:
        """The task of that name, which there is."""
        return next(task for task in self.tasks if task.name == name)


class Shared:
    """The store of a run, whose turn it is to have a model in memory, and what was built and planned for the first candidate.

    Args:
        store: keeps the responses.
        candidates: how many pruned models there are; at least 1.
    """

    def __init__(self, store: Store, *, candidates: int) -> None:
        self.store = store
        self.candidates = candidates
        self.turns = Turns()
        self._planned_by: dict[str, object] = {}
        self._built: dict[str, PreparedTask] = {}
        self._later: list[Callable[[], float | None]] = []

    def asks_original(self, part: str, who: object) -> bool:
        """Whether the original's answers to a part of a task are counted here; the first one who plans it has them."""
        return self._planned_by.setdefault(part, who) is who

    def built(self, part: str, build: Callable[[], PreparedTask]) -> PreparedTask:
        """A part of a task whose prompts do not depend on the models; it is built once."""
        if part not in self._built:
            self._built[part] = build()
        return self._built[part]

    def add_later(self, seconds: Callable[[], float | None]) -> None:
        """Add somebody who knows how long all takes that has not begun."""
        self._later.append(seconds)

    def later(self) -> float | None:
        """Seconds expected for everything that has not begun, of all candidates; None where that is not known."""
        times = [seconds() for seconds in self._later]
        return None if None in times else sum(time for time in times if time is not None)
