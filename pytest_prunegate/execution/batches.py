"""Which requests run together, in which order, and how many at a time where memory is short."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_prunegate.tasks.requests import Request

Group = tuple["Request", ...]
_PATIENCE = 8  # batches that have to work before a larger one is tried again
_CHARACTERS = 4  # of a token, about
_USUAL_TOKENS = 256  # that a task generates where it does not say


def groups_of(requests: Iterable[Request]) -> list[Group]:
    """Requests in the order in which they run: by generation arguments, the longest first; those on one context together.

    lm-eval takes the longest first too: what does not fit shows at once, and the time that is left is overestimated.
    A log-likelihood's continuations on one context share a forward pass where they are one token long.
    """
    found: dict[tuple[str, ...], list[Request]] = {}
    for number, request in enumerate(requests):
        alone = "" if request.kind == "loglikelihood" else str(number)
        found.setdefault((request.kind, request.gen_kwargs or "", request.context, alone), []).append(request)
    groups = [tuple(group) for group in found.values()]
    return sorted(groups, key=lambda group: (group[0].gen_kwargs or "", -length_of(group)))


def length_of(group: Group) -> int:
    """The length of a group's longest request in characters, with room for what it generates."""
    return max(_length(request) for request in group)


def _length(request: Request) -> int:
    if request.tokens is not None:
        return _CHARACTERS * len(request.tokens)
    generated = 0
    if request.gen_kwargs is not None:
        asked = json.loads(request.gen_kwargs).get("max_gen_toks") or _USUAL_TOKENS
        generated = _CHARACTERS * int(asked)
    return max(1, len(request.context) + len(request.continuation or "") + generated)


def first_batch(groups: Sequence[Group], size: int) -> list[Group]:
    """The next groups that may share a batch: at most so many, all with the same generation arguments."""
    return [group for group in islice(groups, size) if group[0].gen_kwargs == groups[0][0].gen_kwargs]


class BatchSize:
    """How many requests run at once: halved where memory runs out, and doubled again after a while, never beyond what was asked.

    Args:
        asked: the user's batch size.
    """

    def __init__(self, asked: int) -> None:
        self._asked = asked
        self._worked = 0
        self._has_grown = False
        self._patience = _PATIENCE
        self.now = asked

    def worked(self) -> None:
        """A batch of this size came through."""
        self._worked += 1
        if self.now < self._asked and self._worked >= self._patience:
            self.now, self._worked, self._has_grown = min(self._asked, self.now * 2), 0, True

    def ran_out(self, size: int) -> bool:
        """Memory ran out for a batch of a size.

        Returns:
            Whether a smaller one can be tried.
        """
        if size <= 1:
            return False
        if self._has_grown:  # it was tried again too early
            self._patience *= 2
        self.now, self._worked, self._has_grown = max(1, size // 2), 0, False
        return True
