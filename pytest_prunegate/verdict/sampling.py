"""The order in which a task's documents are drawn, and the rounds in which they are executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import xxhash

from pytest_prunegate.input.thresholds import Decide, Inconclusive
from pytest_prunegate.tasks.prepared import asked_of, draw_ranks, sample_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask

_FIRST_ROUND = 32  # a rule that stops early hardly ever stops before
_LEAST_ROUND = 16
_GROWTH = 2  # a round adds half of what was drawn: a few swaps of models, little beyond the document that decides


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The documents of a task (or of all members of a group) in the order in which they are drawn.

    `order` has the number of the part and the document's id. The first `sampled` of them are what the limit allows. Where
    `is_pooled`, any first documents are a random sample of all; a group's limit is one for each of its members, and windows
    of a text are no random sample (`is_random`). `bases` decide the permutation of each part.
    """

    parts: tuple[PreparedTask, ...]
    order: tuple[tuple[int, int], ...]
    sampled: int
    is_pooled: bool
    is_random: bool = True
    bases: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Documents of the full set."""
        return sum(part.total_documents for part in self.parts)

    def digest(self) -> str:
        """Of what is asked, and which answers are right, in the order in which each part is drawn, whatever else the data holds."""
        found = xxhash.xxh3_128()
        asked = [{document.doc_id: document for document in part.documents} for part in self.parts]
        for number, doc_id in sorted(
            self.order, key=lambda place: place[0]
        ):  # a group's limits interleave its parts otherwise
            found.update(asked_of(self.parts[number], asked[number][doc_id]).encode())
        return found.hexdigest()

    def first(self, count: int) -> tuple[PreparedTask, ...]:
        """The parts with their share of the first documents."""
        chosen: list[set[int]] = [set() for _ in self.parts]
        for number, doc_id in self.order[:count]:
            chosen[number].add(doc_id)
        return tuple(part.only(doc_ids) for part, doc_ids in zip(self.parts, chosen, strict=True))

    def most(self, task: GateTask) -> int:
        """The most documents that a run may execute."""
        goes_on = any(
            check.decision.inconclusive is Inconclusive.CONTINUE and task.stops_early(check) for check in task.checks
        )
        return len(self.order) if goes_on and self.is_pooled else self.sampled

    def rounds(self, task: GateTask) -> Iterator[int]:
        """How many documents are drawn after each round: what some check needs in any case, then more and more."""
        most = self.most(task)
        early = all(check.decision.decide is Decide.EARLY and task.stops_early(check) for check in task.checks)
        count = min(_FIRST_ROUND, most) if early and self.is_pooled else self.sampled
        yield count
        while count < most:
            count = min(most, count + max(_LEAST_ROUND, count // _GROWTH))
            yield count


def draw(task: GateTask, parts: Sequence[PreparedTask], seed: int, *, bases: Sequence[str] | None = None) -> Draws:
    """The order of a task's documents: one permutation, decided by the tasks, their data and the seed.

    A larger limit contains every smaller one.

    Args:
        task: the task, whose parts may have a limit each.
        parts: all documents of each.
        seed: the user's.
        bases: what decided the permutation of each part when these questions were drawn first; None where they were not.
    """
    if not parts or not task.asking_kind.is_sampled:
        order = [(number, document.doc_id) for number, part in enumerate(parts) for document in part.documents]
        return Draws(parts=tuple(parts), order=tuple(order), sampled=len(order), is_pooled=False, is_random=False)
    ranked: list[tuple[bool, bytes, int, int]] = []
    if bases is None or len(bases) != len(parts):
        bases = [f"{part.name}:{part.data_fingerprint}:{seed}" for part in parts]
    for number, (part, gate_task, base) in enumerate(zip(parts, task.parts, bases, strict=True)):
        ranks = draw_ranks(len(part.documents), base)
        size = sample_size(len(part.documents), gate_task.spec.sample_limit)
        own = sorted(range(len(ranks)), key=lambda place: ranks[place])
        ranked += [
            (place >= size, ranks[position], number, part.documents[position].doc_id)
            for place, position in enumerate(own)
        ]
    ranked.sort()
    sampled = sum(not beyond for beyond, *_ in ranked)
    return Draws(
        parts=tuple(parts), order=tuple((number, doc_id) for *_, number, doc_id in ranked), sampled=sampled,
        is_pooled=len(parts) == 1 or sampled == len(ranked), bases=tuple(bases),
    )  # fmt: skip
