"""What a run is asked to compare, known from the options and the thresholds file alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.tasks.checks import Check, GateTask


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
