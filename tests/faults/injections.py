"""Faults other than a kill: what each is called, and how its runs are judged."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from faults.processes import Ended, Timer, run
from faults.project import Outcome, differences, outcome_of
from faults.watching import Watch

if TYPE_CHECKING:
    from random import Random

    from faults.project import Project
    from faults.workshop import Workshop

_SHOWN = 900  # characters of a run's screen, with a problem


class Fault:
    """One fault, tried at many points.

    Args:
        workshop: has the project.
        random: draws the points.
        share: of the points that are tried.
    """

    def __init__(self, workshop: Workshop, *, random: Random, share: float = 1.0) -> None:
        self.workshop = workshop
        self.project: Project = workshop.project
        self.random = random
        self.runs = 0
        self.problems: list[str] = []
        self.skipped: str | None = None
        self._broken = 0
        self._share = share
        self._seen: Counter[str] = Counter()

    @property
    def outcome(self) -> str:
        """What was seen of it, in a line."""
        if self.skipped is not None:
            return f"skipped: {self.skipped}"
        seen = ", ".join(f"{count} x {what}" for what, count in self._seen.items())
        return (
            f"BROKEN {self._broken} x ({self.problems[0].splitlines()[0]}); {seen}" if self._broken else f"kept: {seen}"
        )

    def points(self, count: int) -> list[int]:
        """The numbers from 1 to a count, or as many of them as the share allows."""
        chosen = max(1, round(count * self._share))
        return sorted(self.random.sample(range(1, count + 1), min(count, chosen)))

    def run(
        self, *more: str, batch_size: int = 1, pruned: str = "pruned", timer: Timer | None = None, **watch: Any
    ) -> Ended:
        """A run that is watched, and meets what the watch is told."""
        self.runs += 1
        install = Watch(self.project.journal, **watch).install
        return run(
            self.project, self.project.arguments(*more, batch_size=batch_size, pruned=pruned), install, timer=timer
        )

    def outcome_of(self, ended: Ended) -> Outcome:
        """What a run came to."""
        return outcome_of(self.project, ended.code)

    def resumed(self, *more: str, batch_size: int = 1) -> list[str]:
        """Run the same command undisturbed, and say in what it ends otherwise than a run that was never disturbed."""
        ended = self.run(*more, batch_size=batch_size)
        found = differences(self.outcome_of(ended), self.workshop.undisturbed(batch_size), batch_size=batch_size)
        return [f"after the resume: {problem}" for problem in found] + tracebacks(ended)

    def judge(self, what: str, problems: list[str], ended: Ended) -> None:
        """Note how one trial went.

        Args:
            what: was seen, in a few words.
            problems: the promises that were broken, none of them if it is empty.
            ended: the disturbed run; what it wrote is shown with a problem.
        """
        problems = problems + tracebacks(ended)
        if problems:
            self._broken += 1
            self.problems.append(f"{what}: {'; '.join(problems)}\n{ended.output[-_SHOWN:]}")
        else:
            self._seen[what] += 1


def tracebacks(ended: Ended) -> list[str]:
    """A problem where the user was shown a traceback."""
    return ["the screen shows a traceback"] if ended.has_traceback else []


def lacks(ended: Ended, *words: str) -> list[str]:
    """A problem where a run's screen does not have any of these words."""
    said = ended.output.lower()
    return [] if any(word.lower() in said for word in words) else [f"the screen does not say {' or '.join(words)!r}"]
