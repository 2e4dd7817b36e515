"""Greedy generation and log-likelihoods of many requests at once, without padding, and without reading a prompt's beginning twice.

Each step is one forward pass over the new tokens of all sequences: a token for each text that is being generated, and as much of waiting
prompts as fits. A text that ends gives its slot to the next prompt at once, which begins behind what a slot already holds of it: continuous
batching (Orca, https://www.usenix.org/conference/osdi22/presentation/yu) with reuse of prefixes (RadixAttention, https://arxiv.org/abs/2312.07104).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_prunegate.execution.fast.jobs import Choices, Generation, Job, common
from pytest_prunegate.execution.fast.key_values import KeyValues, Pass, Span, configs_of, packed_attention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from pytest_prunegate.execution.fast.jobs import Scored

_WORTH = 16  # tokens for which a prompt waits until another one that begins like it has been read, or copies
_ROUND = 64  # capacities are multiples of it, so that a few tokens more need no new memory


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a pass may take: slots at most, and new tokens beyond one for each text. `together` is KeyValues'."""

    slots: int
    tokens: int
    together: bool = False


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of a job: the tokens that were generated, or log-likelihood and greediness of each continuation."""

    job: Job
    generated: tuple[int, ...] = ()
    scores: tuple[tuple[float, bool], ...] = ()


_NOTHING = np.empty(0, dtype=np.int64)


@dataclass(eq=False)
class _Slot:
    """A slot: the prompt that it holds from its beginning, as far as `held`, and with the pass in the making `read`; and the job that has it."""

    number: int
    prompt: NDArray[np.int64] = field(default_factory=lambda: _NOTHING)
    read: int = 0
    held: int = 0
    job: Job | None = None
    generated: list[int] = field(default_factory=list)

    @property
    def is_generating(self) -> bool:
        return bool(self.generated)


@dataclass(kw_only=True)
class _Planned:
    """A pass in the making: its tokens, where they are, and the rows of logits that are asked for."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    ends: list[tuple[_Slot, int]] = field(default_factory=list)  # whose next token is asked for, and in which row
    scored: list[tuple[_Slot, list[list[int]]]] = field(default_factory=list)  # rows of each continuation

    def ask(self, index: int) -> int:
        self.rows.append(index)
        return len(self.rows) - 1


class Engine:
    """Runs jobs on a decoder-only model of transformers.

    Args:
        model: on one device, ready to run.
        room: of a pass.
        memory: bytes that keys and values may take, asked whenever they are laid out anew.
        precision: in which log-probabilities are computed; None for the logits' own.
    """

    def __init__(self, model: Any, room: Room, memory: Callable[[], int], precision: torch.dtype | None = None) -> None:
        self._model = model
        self._configs = configs_of(model)
        self._room = room
        self._memory = memory
        self._precision = precision
        self._slots: list[_Slot] = []
        self._kept: KeyValues | None = None
        self.bytes_per_token = 0
        """Of keys and values in all layers; 0 until a pass has shown it."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Finished]:
        """Do jobs, each as soon as there is room; those that begin alike should stand beside each other.

        Raises:
            UnknownAttentionError: the model's layers ask for attention of a kind that is not known here.
            Exception: whatever the model raises, memory that does not suffice for one job included.
        """
        waiting = deque(jobs)
        self._lay_out(max(job.length for job in jobs))
        while waiting or any(slot.job for slot in self._slots):
            yield from self._step(waiting)

    def free(self) -> None:
        """Give the memory of keys and values back."""
        self._slots, self._kept = [], None

    def shrink(self) -> bool:
        """Take half as many slots and tokens from now on; what they hold is lost.

        Returns:
            Whether there was anything left to halve.
        """
        if self._room.slots == 1 and self._room.tokens <= _ROUND:
            return False
        self.free()
        self._room = replace(
            self._room, slots=max(1, self._room.slots // 2), tokens=max(_ROUND, self._room.tokens // 2)
        )
        return True

    def _lay_out(self, length: int) -> None:
        """Have slots that take a job of a length; what was held is lost where they have to be larger."""
        for slot in self._slots:
            slot.job, slot.generated, slot.read = None, [], slot.held
        if self._kept is not None and self._kept.capacity >= length:
            return
        self.free()
        capacity = -(-length // _ROUND) * _ROUND
        fitting = self._memory() // (capacity * self.bytes_per_token) if self.bytes_per_token else 1
        count = max(1, min(self._room.slots, fitting)) if self.bytes_per_token else min(2, self._room.slots)
        self._kept = KeyValues(count, capacity, together=self._room.together)
        self._slots = [_Slot(number) for number in range(count)]

    def _step(self, waiting: deque[Job]) -> list[Finished]:
        planned, going = _Planned(), [slot for slot in self._slots if slot.is_generating]
        self._plan_prompts(planned, waiting)
        last: list[tuple[int, int]] = []
        for slot in going:
            last.append((slot.number, len(slot.prompt) + len(slot.generated) - 1))
            planned.ends.append((slot, planned.ask(len(planned.tokens))))
            planned.tokens.append(slot.generated[-1])
            planned.positions.append(last[-1][1])
        logits = self._forward(planned, Pass(spans=planned.spans, last=last))
        for slot in self._slots:
            slot.held = slot.read
        return [*self._scored(planned, logits), *self._extended(planned, logits)]

    def _forward(self, planned: _Planned, packed: Pass) -> torch.Tensor:
        """Logits (rows that are asked for, V)."""
        assert self._kept is not None
        device = self._model.device
        tokens, positions, rows = (
            torch.tensor(one, dtype=torch.long, device=device)
            for one in (planned.tokens, planned.positions, planned.rows or [len(planned.tokens) - 1])
        )
        with torch.inference_mode(), packed_attention(self._configs), self._kept.taking(packed):
            found = self._model(
                input_ids=tokens[None], position_ids=positions[None], use_cache=False, logits_to_keep=rows
            )
        self.bytes_per_token = self._kept.bytes_per_token
        logits: torch.Tensor = found.logits[0]
        return logits

    def _plan_prompts(self, planned: _Planned, waiting: deque[Job]) -> None:
        left = self._room.tokens
        for slot in self._slots:
            if slot.job is not None and not slot.is_generating and left > 0:
                left -= self._read_on(planned, slot, left)
        while waiting and left > 0 and (found := self._slot_for(waiting[0])) is not None:
            slot = found
            slot.job = waiting.popleft()
            slot.prompt = slot.job.prompt
            left -= self._read_on(planned, slot, left)

    def _slot_for(self, job: Job) -> _Slot | None:
        """A free slot that holds as much of a job's prompt as any does; None where there is none, or one is about to hold more."""
        free = [slot for slot in self._slots if slot.job is None]
        if not free:
            return None
        alike = {slot.number: min(common(job.prompt, slot.prompt[: slot.held]), job.reusable) for slot in self._slots}
        best = max(self._slots, key=lambda slot: (alike[slot.number], slot.job is None))
        coming = max((min(common(job.prompt, slot.prompt), job.reusable) for slot in self._slots if slot.job is not None), default=0)  # fmt: skip
        if coming >= alike[best.number] + _WORTH:
            return None
        own = max(free, key=lambda slot: alike[slot.number])
        if alike[best.number] < alike[own.number] + _WORTH:
            own.read = own.held = alike[own.number]
            return own
        assert self._kept is not None
        target = min(free, key=lambda slot: slot.held)  # what holds least is lost
        self._kept.copy(best.number, target.number, alike[best.number])
        target.read = target.held = alike[best.number]
        return target

    def _read_on(self, planned: _Planned, slot: _Slot, left: int) -> int:
        """Put the next of a slot's prompt into a pass, and what is asked for behind it; returns how many tokens that took."""
        job, before = slot.job, len(planned.tokens)
        assert job is not None
        start, stop = slot.read, _chunk(job, slot.read, left)
        if stop > start:
            planned.spans.append(Span(slot=slot.number, first=before, count=stop - start, start=start))
            planned.tokens += job.prompt[start:stop].tolist()
            planned.positions += range(start, stop)
        slot.read = stop
        if stop == len(job.prompt):
            if isinstance(job, Generation):
                planned.ends.append((slot, planned.ask(len(planned.tokens) - 1)))
            else:
                self._plan_choices(planned, slot, job, before - start)
        return len(planned.tokens) - before

    def _plan_choices(self, planned: _Planned, slot: _Slot, job: Choices, offset: int) -> None:
        """Put what continuations have behind their prompt into a pass, each seeing the prompt and itself.

        Args:
            planned: the pass.
            slot: that holds the prompt.
            job: the continuations.
            offset: of the prompt's tokens in the pass: where the first would be.
        """
        prompt, first = len(job.prompt), len(planned.tokens)
        begins = np.cumsum([first, *map(len, job.branches)])
        count = int(begins[-1]) - first
        if count:
            planned.spans.append(_branches(job, slot.number, first, count, self._model.device))
            planned.tokens += [token for branch in job.branches for token in branch]
            planned.positions += [prompt + place for branch in job.branches for place in range(len(branch))]
        rows = [
            [planned.ask(offset + place if place < prompt else int(begin) + place - prompt) for place in range(one.first, len(one.input))]
            for one, begin in zip(job.scored, begins, strict=False)
        ]  # fmt: skip
        planned.scored.append((slot, rows))

    def _scored(self, planned: _Planned, logits: torch.Tensor) -> Iterator[Finished]:
        for slot, rows in planned.scored:
            job = slot.job
            assert isinstance(job, Choices)
            scores = (self._score(one, logits[own]) for one, own in zip(job.scored, rows, strict=True))
            yield Finished(job=job, scores=tuple(scores))
            slot.job = None

    def _score(self, scored: Scored, logits: torch.Tensor) -> tuple[float, bool]:
        """Log-likelihood and greediness of a continuation of n tokens, of logits (n, V), as lm-eval computes them."""
        said = torch.log_softmax(logits, -1, dtype=self._precision)
        tokens = torch.tensor(scored.continuation, device=logits.device)
        is_greedy = bool((said.argmax(-1) == tokens).all())
        return float(said.gather(1, tokens[:, None]).sum()), is_greedy

    def _extended(self, planned: _Planned, logits: torch.Tensor) -> Iterator[Finished]:
        if not planned.ends:
            return
        tokens = logits[[row for _, row in planned.ends]].argmax(-1).tolist()
        for (slot, _), token in zip(planned.ends, tokens, strict=True):
            job = slot.job
            assert isinstance(job, Generation)
            slot.generated.append(token)
            if len(slot.generated) >= job.most or job.is_over(slot.generated):
                yield Finished(job=job, generated=tuple(slot.generated))
                slot.job, slot.generated = None, []


def _chunk(job: Job, read: int, left: int) -> int:
    """Up to which token of its prompt a job is read next; all that is scored of it is read in one pass."""
    if len(job.prompt) - read <= left:
        return len(job.prompt)
    if isinstance(job, Generation):
        return read + left
    return min(read + left, job.reusable) if job.reusable > read else len(job.prompt)


def _branches(job: Choices, slot: int, first: int, count: int, device: torch.device) -> Span:
    prompt = len(job.prompt)
    owner = torch.tensor([number for number, branch in enumerate(job.branches) for _ in branch], device=device)
    places = torch.tensor([place for branch in job.branches for place in range(len(branch))], device=device)
    own = (owner[:, None] == owner) & (places[:, None] >= places)  # (count, count)
    visible = torch.cat([own.new_ones(count, prompt), own], 1)
    positions = torch.cat([torch.arange(prompt, device=device), prompt + places])
    return Span(slot=slot, first=first, count=count, start=prompt, visible=visible, positions=positions)
