"""Runs both models of a comparison side by side: window by window, which is kept, or by turns, which is timed."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import xxhash

from pytest_prunegate.errors import EvaluationError, ModelError, TaskError
from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.agreement import VERSION, WindowAgreement, kept_requests
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import WINDOW, Request, canonical_json, request_keys
from pytest_prunegate.tasks.speed import Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.speed import TimedRun

AGREEMENT, SPEED = "agreement", "speed"
_T = TypeVar("_T")
_ROOM = (
    "Both models are in memory at once for it: take a smaller --prunegate-dtype or seqlen, or spread them with device_map=auto among "
    "their arguments."
)


class BothModels:
    """Both models of a comparison, which are asked together.

    Args:
        answering: loads the models.
        store: keeps what was computed.
        stop: asked between two windows.
    """

    def __init__(self, answering: Answering, store: Store, stop: StopRequest) -> None:
        self._answering = answering
        self._store = store
        self._stop = stop

    @property
    def is_alone(self) -> bool:
        """Whether there is no pruned model."""
        return "pruned" not in self._answering.facts

    def known(self, windows: Sequence[tuple[int, ...]]) -> int:
        """How many of the windows are kept: compared, or of the original alone, ready to be."""
        if self.is_alone:
            return len(self._answering.kept("original", self._original_keys(windows)))
        return len(self._store.known(self._pruned, self._keys(windows)))

    def keep(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> None:
        """Keep the original's next-token distributions on windows, for a baseline.

        Raises:
            ModelError, TaskError, RunStopped: as for agreement.
        """
        keys = self._original_keys(windows)
        known = self._answering.kept("original", keys)
        lacking = [(window, key) for window, key in zip(windows, keys, strict=True) if key not in known]
        if not lacking:
            return
        fingerprint = self._answering.facts["original"].fingerprint
        provenance = self._answering.provenance(AGREEMENT, VERSION, "original")
        with self._both(AGREEMENT, lacking[0][0]) as models:
            for window, key in lacking:
                with self._stop.batch_in_hand():
                    began = time.monotonic()
                    text = self._run(AGREEMENT, models, partial(_distributions, models["original"], window))
                    self._store.put(fingerprint, key, Response(text=text), provenance)
                    self._answering.add_timing(AGREEMENT, "original", work=1, seconds=time.monotonic() - began)
                    done()

    def agreement(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> list[WindowAgreement]:
        """Compare both models' next-token distributions on windows of tokens.

        Raises:
            ModelError: a model fails.
            TaskError: they cannot be loaded together, one of them gives no distributions, or their vocabularies differ.
            RunStopped: the run was asked to stop.
        """
        keys = self._keys(windows)
        known = self._store.known(self._pruned, keys)
        if missing := [window for window, key in zip(windows, keys, strict=True) if key not in known]:
            self._compare(missing, done)
        kept = self._store.get(self._pruned, keys)
        return [WindowAgreement.from_text(kept[key].text or "") for key in keys]

    def speed(self, prompt: int, generate: int, *, batch: int, pairs: int, done: Callable[[], None]) -> Speed:
        """Time both models by turns, each first in every second pair: a machine that slows down slows both.

        Raises:
            ModelError, TaskError, RunStopped: as for agreement.
        """
        sizes = [facts.vocab_size for facts in self._answering.facts.values() if facts.vocab_size]
        draw = random.Random(0)  # noqa: S311 - the same tokens for both, and in every run
        prompts = [[draw.randrange(min(sizes, default=1000)) for _ in range(prompt)] for _ in range(batch)]
        found: list[tuple[TimedRun, TimedRun]] = []
        with self._both(SPEED, prompts[0]) as models:
            for number in range(pairs + 1):
                with self._stop.batch_in_hand():
                    began = time.monotonic()
                    order = SIDES if number % 2 else SIDES[::-1]
                    runs = {
                        side: self._run(SPEED, models, partial(models[side].timed_run, prompts, generate))
                        for side in order
                    }
                    if number:  # the first pair warms up
                        found.append((runs["original"], runs["pruned"]))
                        self._answering.add_timing(SPEED, "pruned", work=1, seconds=time.monotonic() - began)
                        done()
            weights = models["original"].weights_size, models["pruned"].weights_size
        place = str(self._answering.provenance(SPEED, VERSION, "pruned")["hardware"])
        return Speed(prompt=prompt, generate=generate, batch=batch, pairs=tuple(found), weights=weights, place=place)

    def _compare(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> None:
        provenance = self._answering.provenance(AGREEMENT, VERSION, "pruned")
        originals = self._original_keys(windows)
        before = self._answering.kept("original", originals) if self._is_of_file else {}
        with self._both(AGREEMENT, windows[0]) as models:
            for window, key, original in zip(windows, self._keys(windows), originals, strict=True):
                with self._stop.batch_in_hand():
                    began = time.monotonic()
                    found = self._run(AGREEMENT, models, partial(_agreement, models, window, before.get(original)))
                    self._store.put(self._pruned, key, Response(text=found.as_text()), provenance)
                    self._answering.add_timing(AGREEMENT, "pruned", work=1, seconds=time.monotonic() - began)
                    done()

    @contextmanager
    def _both(self, name: str, tokens: Sequence[int]) -> Iterator[dict[Side, Executor]]:
        """Both models in memory; where there is no room for them, that is said."""
        try:
            with self._answering.both(Request(kind=WINDOW, tokens=tuple(tokens))) as models:
                yield models
        except ModelError as error:
            from pytest_prunegate.execution.lm_eval_model import is_out_of_memory

            if isinstance(error.__cause__, Exception) and is_out_of_memory(error.__cause__):
                raise TaskError(f"{name}: {error} {_ROOM}") from error
            raise

    def _run(self, name: str, models: dict[Side, Executor], step: Callable[[], _T]) -> _T:
        try:
            return step()
        except EvaluationError:
            raise
        except Exception as error:  # a model may raise whatever it likes
            room = f" {_ROOM}" if any(model.is_out_of_memory(error) for model in models.values()) else ""
            raise TaskError(f"{name}: a model failed: {reason_of(error)}{room}") from error

    @property
    def _pruned(self) -> str:
        return self._answering.facts["pruned"].fingerprint

    @property
    def _is_of_file(self) -> bool:
        """Whether a baseline takes the original's place."""
        return self._answering.facts["original"].file is not None

    def _original_keys(self, windows: Sequence[tuple[int, ...]]) -> list[str]:
        """Of what is kept of the original's distributions."""
        requests = kept_requests(windows)
        keys = request_keys(requests, self._answering.conditions["original"], task_version=VERSION)
        return [keys[request] for request in requests]

    def _keys(self, windows: Sequence[tuple[int, ...]]) -> list[str]:
        """Of the pruned model's, with the original's identity in each: another pair has others, and so has one with a baseline."""
        facts, conditions = self._answering.facts["original"], self._answering.conditions
        original = [facts.fingerprint, asdict(conditions["original"]), self._is_of_file]
        digest = xxhash.xxh3_128(canonical_json(original).encode()).hexdigest()
        requests = [Request(kind=AGREEMENT, context=digest, tokens=window) for window in windows]
        keys = request_keys(requests, conditions["pruned"], task_version=VERSION)
        return [keys[request] for request in requests]


def _distributions(original: Executor, window: tuple[int, ...]) -> str:
    from pytest_prunegate.execution.kept_distributions import packed

    return packed(original.next_token_logits(window), window)


def _agreement(models: dict[Side, Executor], window: tuple[int, ...], kept: Response | None) -> WindowAgreement:
    from pytest_prunegate.execution.kept_distributions import agreement_with
    from pytest_prunegate.execution.next_tokens import window_agreement

    pruned = models["pruned"].next_token_logits(window)
    if kept is not None:
        return agreement_with(kept.text or "", pruned, window)
    return window_agreement(models["original"].next_token_logits(window), pruned, tokens=window)
