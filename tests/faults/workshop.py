"""What every part of the harness works with: projects, and what an undisturbed run of each comes to."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

from faults.processes import Ended, run
from faults.project import Outcome, Project, outcome_of, write_project
from faults.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Workshop:
    """A project, and its undisturbed runs by batch size.

    Args:
        folder: takes the project.
        cache: of the gate.
        documents: of a task.
        windows: of the text, about.
    """

    def __init__(self, folder: Path, cache: Path, *, documents: int, windows: int) -> None:
        in_a_fork(lambda: write_project(folder, cache, documents=documents, windows=windows))
        self.project = Project(folder=folder, cache=cache)
        self._undisturbed: dict[int, Outcome] = {}
        self.seconds: dict[int, float] = {}
        """From the first response to the last, by batch size."""
        self.calls: dict[int, int] = {}
        """Model calls, those of the probes included."""

    def undisturbed(self, batch_size: int) -> Outcome:
        """What a run comes to that is left alone."""
        if batch_size not in self._undisturbed:
            self.project.forget()
            ended = self.run(batch_size=batch_size)
            if ended.code != 0:
                raise RuntimeError(f"an undisturbed run ends with exit code {ended.code}:\n{ended.output}")
            events = self.project.events()
            times = [event["at"] for event in events if event["event"] == "answered"]
            self.seconds[batch_size] = times[-1] - times[0]
            self.calls[batch_size] = sum(event["event"] in {"called", "probed"} for event in events)
            self._undisturbed[batch_size] = outcome_of(self.project, ended.code)
        return self._undisturbed[batch_size]

    def run(self, *more: str, batch_size: int = 1, prepare: Callable[[], None] | None = None) -> Ended:
        """A run with nothing put into it but the journal, or what is given in its place."""
        prepare = prepare or Watch(self.project.journal).install
        return run(self.project, self.project.arguments(*more, batch_size=batch_size), prepare)


def in_a_fork(work: Callable[[], object]) -> None:
    """Do work that starts threads where they end with it: a process with threads must not be forked."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("a fork failed; its traceback is above")
