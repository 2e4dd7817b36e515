"""Chains of runs: each is killed and the next one goes on, until one is left alone. What was lost, and what was done twice?"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faults.points import Point, Where
from faults.processes import Timer, run
from faults.project import ENGINE, differences, outcome_of
from faults.watching import Watch

if TYPE_CHECKING:
    from random import Random

    from faults.project import Responses
    from faults.workshop import Workshop

# How often each kind of kill is drawn; None is a time of the harness's choice.
_KINDS: dict[Where | None, int] = {
    Where.ANSWER: 24, None: 24, Where.BEFORE_COMMIT: 14, Where.INSIDE_INSERT: 14, Where.CALL: 12, Where.STATEMENT: 6,
    Where.INSIDE_STATEMENT: 3, Where.REPORT: 3,
}  # fmt: skip
_OPENING = 25  # statements, about, before the first response of a run
_REPORTS = 5


@dataclass
class Tally:
    """What all chains came to; the package's docstring says what is counted."""

    kills: int = 0
    kills_between_responses: int = 0
    kills_in_transaction: int = 0
    lost: int = 0
    recomputed_requests: int = 0
    max_recomputed_per_kill: int = 0
    chains: int = 0
    chains_equal: int = 0
    recomputed: list[tuple[int, int]] = field(default_factory=list)
    """For each kill the rows that were computed again, and the batch size."""
    kills_by_point: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether every promise of the chains was kept."""
        return not self.problems

    @property
    def shortfalls(self) -> list[str]:
        """What a whole run of the harness has to have seen, and did not."""
        least = {"kills": 200, "kills_between_responses": 0.8 * self.kills, "kills_in_transaction": 20}
        found = {name: getattr(self, name) for name in least}
        return [
            f"{name}: {found[name]}, fewer than {number:.0f}" for name, number in least.items() if found[name] < number
        ]

    def as_json(self) -> dict[str, Any]:
        """The figures, without what they were made from."""
        names = (
            "kills", "kills_between_responses", "kills_in_transaction", "lost", "recomputed_requests", "max_recomputed_per_kill",
            "chains", "chains_equal", "kills_by_point",
        )  # fmt: skip
        by_size = {
            f"max_recomputed_per_kill_at_batch_size_{size}": max(rows for rows, at in self.recomputed if at == size)
            for size in sorted({size for _, size in self.recomputed})
        }
        return {name: getattr(self, name) for name in names} | by_size


class Chain:
    """Runs of one store.

    Args:
        workshop: has the project.
        batch_size: of all runs.
        random: draws the points.
        tally: takes what is counted.
    """

    def __init__(self, workshop: Workshop, batch_size: int, *, random: Random, tally: Tally) -> None:
        self._workshop = workshop
        self._project = workshop.project
        self._batch_size = batch_size
        self._random = random
        self._tally = tally
        self._rows: list[set[str]] = []  # executed by each run
        self._killed: list[int] = []
        self._seen: Responses = {}

    def run(self, kills: int) -> None:
        """Kill so many runs, let one end, and compare."""
        expected = self._workshop.undisturbed(self._batch_size)
        self._project.forget()
        for left in range(kills, 0, -1):
            self._run_killed(left, total=len(expected.responses))
        ended = self._workshop.run(batch_size=self._batch_size)
        self._after_run()
        problems = differences(outcome_of(self._project, ended.code), expected, batch_size=self._batch_size)
        if ended.has_traceback:
            problems.append(f"a traceback: {ended.output[-500:]}")
        self._tally.chains += 1
        self._tally.chains_equal += not problems
        self._tally.problems += [f"chain {self._tally.chains}: {problem}" for problem in problems]
        self._count_recomputed()

    def _run_killed(self, left: int, *, total: int) -> None:
        before = self._project.responses()
        point = self._draw(left, remaining=total - len(before))
        watch = Watch(self._project.journal, point=point if isinstance(point, Point) else None)
        arguments = self._project.arguments(batch_size=self._batch_size)
        ended = run(self._project, arguments, watch.install, timer=point if isinstance(point, Timer) else None)
        after = self._after_run()
        if ended.signal != signal.SIGKILL:  # it came to its end before the point
            if ended.code != 0:
                self._tally.problems.append(f"a run that was not killed ended with {ended.code}: {ended.output[-500:]}")
            return
        self._killed.append(len(self._rows) - 1)
        self._count_kill(point, own=len(after) - len(before), is_complete=len(after) >= total)

    def _count_kill(self, point: Point | Timer, *, own: int, is_complete: bool) -> None:
        tally, last = self._tally, self._project.events()[-1:]
        said = last[0] if last and last[0]["event"] == "killed" else {}
        tally.kills += 1
        tally.kills_between_responses += own > 0 and not is_complete
        tally.kills_in_transaction += bool(said.get("locked") or said.get("in_transaction"))
        name = point.where.value if isinstance(point, Point) else "at a random time"
        tally.kills_by_point[name] = tally.kills_by_point.get(name, 0) + 1

    def _after_run(self) -> Responses:
        """Look at what the run left: what was there before must be there still."""
        found = self._project.responses()
        lost = [key for key, response in self._seen.items() if found.get(key) != response]
        self._tally.lost += len(lost)
        self._tally.problems += [f"lost: {key} was {self._seen[key]}, is {found.get(key)}" for key in lost]
        self._seen = found
        rows = [row for event in self._project.events() if event["event"] == "called" for row in event["rows"]]
        self._rows.append(set(rows))
        return found

    def _count_recomputed(self) -> None:
        if self._batch_size == ENGINE:  # a pass of its is no row of requests
            return
        for number in self._killed:
            later: set[str] = set().union(*self._rows[number + 1 :])
            again = len(self._rows[number] & later)
            self._tally.recomputed_requests += again
            self._tally.max_recomputed_per_kill = max(again, self._tally.max_recomputed_per_kill)
            self._tally.recomputed.append((again, self._batch_size))
            if again > self._batch_size:
                self._tally.problems.append(
                    f"{again} rows were computed again after a kill, at batch size {self._batch_size}"
                )

    def _draw(self, left: int, *, remaining: int) -> Point | Timer:
        """A point at which about an equal part of the remaining work is done for each of the kills that are left."""
        random = self._random
        kind = random.choices([*_KINDS], [*_KINDS.values()])[0]
        most = max(3, 2 * remaining // (left + 1))
        if kind is None:
            whole = self._workshop.seconds[self._batch_size]
            share = most / len(self._workshop.undisturbed(self._batch_size).responses)
            return Timer(seconds=random.uniform(0, whole * share))
        if kind is Where.REPORT:
            return (
                Point(where=kind, number=random.randint(1, _REPORTS))
                if left == 1
                else self._draw(left, remaining=remaining)
            )
        if kind in {Where.STATEMENT, Where.INSIDE_STATEMENT}:
            return Point(where=kind, number=random.randint(1, _OPENING + most))
        if kind is Where.CALL:
            return Point(where=kind, number=random.randint(3, max(4, most // self._batch_size)))
        return Point(where=kind, number=random.randint(2, most))
