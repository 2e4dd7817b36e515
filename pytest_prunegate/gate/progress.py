"""Who is told how a measurement goes on, and how answered requests become answered documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pytest_prunegate.execution.batch_runner import work_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Request


class Progress(Protocol):
    """Is told how a measurement goes on."""

    def work(self, what: str) -> None:
        """Something begins that has no documents to count; `finish` ends it."""

    def start(
        self, task: str, whose: str, *, documents: int, done: int, work: int, later: float | None, unit: str
    ) -> None:
        """A model begins with a task.

        Args:
            task: its name.
            whose: the model that is asked: original, pruned, or original again.
            documents: all of the task's.
            done: those of them that the store can answer.
            work: what the others take, in units of one task's: time goes with them, and not with documents, of which the longest run first.
            later: seconds expected for all that comes after it; None where that is not known.
            unit: what is counted.
        """

    def advance(self, documents: int, work: int) -> None:
        """So many more of them are answered now, which took so much work."""

    def finish(self) -> None:
        """The model has answered them all, or failed; or what had none to count is done."""


class DocumentCounter:
    """Turns answered requests into answered documents.

    Args:
        prepared: the task.
        missing: the requests that a model has to answer.
        progress: is told of every document.
    """

    def __init__(self, prepared: PreparedTask, missing: Sequence[Request], progress: Progress) -> None:
        self._progress = progress
        self._documents_of: dict[Request, list[int]] = {request: [] for request in missing}
        self._open: dict[int, int] = {}
        self._work: dict[int, int] = {}
        for document in prepared.documents:
            requests = {prepared.requests[position] for positions in document.requests for position in positions}
            waiting = requests & self._documents_of.keys()
            if waiting:
                self._open[document.doc_id] = len(waiting)
                self._work[document.doc_id] = work_of(waiting)
            for request in waiting:
                self._documents_of[request].append(document.doc_id)
        self.waiting, self.work = len(self._open), sum(self._work.values())

    def answered(self, request: Request) -> None:
        """One request is answered."""
        finished: list[int] = []
        for doc_id in self._documents_of[request]:
            self._open[doc_id] -= 1
            finished += [doc_id] if self._open[doc_id] == 0 else []
        self._progress.advance(len(finished), sum(self._work[doc_id] for doc_id in finished))
