"""What the engine is given to do: a text to be generated behind a prompt, or continuations to be scored behind one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


@dataclass(eq=False, kw_only=True)
class Generation:
    """A text to be generated greedily.

    Args:
        key: names it to who asked.
        prompt: its tokens.
        most: tokens that may be generated.
        is_over: tells of all generated tokens whether the text ends with the last of them.
    """

    key: Any
    prompt: NDArray[np.int64]
    most: int
    is_over: Callable[[Sequence[int]], bool]

    @property
    def length(self) -> int:
        """The most tokens that it needs a place for."""
        return len(self.prompt) + self.most

    @property
    def reusable(self) -> int:
        """How many of its prompt's tokens may be taken over from another prompt: what the last one says is asked for."""
        return len(self.prompt) - 1


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A continuation: the tokens that are scored, and the last of them are `tokens`."""

    key: Any
    input: tuple[int, ...]
    """All tokens that are read: context and continuation without its last token."""
    continuation: tuple[int, ...]
    is_cut: bool = False
    """Whether the context lost its beginning."""

    @property
    def first(self) -> int:
        """Which of the input's tokens says the first of the continuation."""
        return len(self.input) - len(self.continuation)


@dataclass(eq=False, kw_only=True)
class Choices:
    """Continuations of one prompt, scored together: what their inputs begin with is read once.

    Args:
        scored: the continuations.
    """

    scored: Sequence[Scored]
    prompt: NDArray[np.int64] = field(init=False)
    """The tokens that all inputs begin with."""

    def __post_init__(self) -> None:
        """Find what they have in common."""
        inputs = [np.asarray(one.input, dtype=np.int64) for one in self.scored]
        shared = min([len(inputs[0]), *(common(inputs[0], other) for other in inputs[1:])])
        self.prompt = inputs[0][:shared]

    @cached_property
    def branches(self) -> tuple[tuple[int, ...], ...]:
        """What each input has behind the prompt."""
        return tuple(one.input[len(self.prompt) :] for one in self.scored)

    @property
    def length(self) -> int:
        """The tokens that it needs a place for."""
        return len(self.prompt) + sum(map(len, self.branches))

    @property
    def reusable(self) -> int:
        """How many of the prompt's tokens may be taken over: those before the first that says something scored."""
        return min(len(self.prompt), *(one.first for one in self.scored))


Job = Generation | Choices


def common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two prompts begin with alike."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
