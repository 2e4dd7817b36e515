"""Runs both models of a comparison at once, window by window; what was computed is kept, and no model is loaded for it again."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import xxhash

from pytest_prunegate.errors import EvaluationError, ModelError, TaskError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.agreement import WindowAgreement
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import WINDOW, Request, canonical_json, request_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.store import Store

VERSION = "1"  # of the definition of agreement
NAME = "agreement"
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

    def known(self, windows: Sequence[tuple[int, ...]]) -> int:
        """How many of the windows are kept."""
        return len(self._store.known(self._pruned, self._keys(windows)))

    def agreement(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> list[WindowAgreement]:
        """Compare both models' next-token distributions on windows of tokens.

        Raises:
            ModelError: a model fails.
            TaskError: they cannot be loaded together, one of them gives no distributions, or their vocabularies differ.
            RunStopped: the run was asked to stop.
        """
        keys = self._keys(windows)
        if missing := [
            window
            for window, key in zip(windows, keys, strict=True)
            if key not in self._store.known(self._pruned, keys)
        ]:
            self._compare(missing, done)
        kept = self._store.get(self._pruned, keys)
        return [WindowAgreement.from_text(kept[key].text or "") for key in keys]

    def _compare(self, windows: Sequence[tuple[int, ...]], done: Callable[[], None]) -> None:
        provenance = self._answering.provenance(NAME, VERSION, "pruned")
        try:
            with self._answering.both(Request(kind=WINDOW, tokens=windows[0])) as models:
                for window, key in zip(windows, self._keys(windows), strict=True):
                    with self._stop.batch_in_hand():
                        began = time.monotonic()
                        found = self._window(models, window)
                        self._store.put(self._pruned, key, Response(text=found.as_text()), provenance)
                        self._answering.add_timing(NAME, "pruned", requests=1, seconds=time.monotonic() - began)
                        done()
        except ModelError as error:
            from pytest_prunegate.execution.lm_eval_model import is_out_of_memory

            if isinstance(error.__cause__, Exception) and is_out_of_memory(error.__cause__):
                raise TaskError(f"{NAME}: {error} {_ROOM}") from error
            raise

    def _window(self, models: dict[Side, Executor], window: tuple[int, ...]) -> WindowAgreement:
        from pytest_prunegate.execution.next_tokens import window_agreement

        try:
            original, pruned = models["original"], models["pruned"]
            return window_agreement(original.next_token_logits(window), pruned.next_token_logits(window), window)
        except EvaluationError:
            raise
        except Exception as error:  # a model may raise whatever it likes
            room = f" {_ROOM}" if any(model.is_out_of_memory(error) for model in models.values()) else ""
            raise TaskError(f"{NAME}: a model failed on a window: {reason_of(error)}{room}") from error

    @property
    def _pruned(self) -> str:
        return self._answering.facts["pruned"].fingerprint

    def _keys(self, windows: Sequence[tuple[int, ...]]) -> list[str]:
        """Of the pruned model's, with the original's identity in each: another pair has others."""
        facts, conditions = self._answering.facts["original"], self._answering.conditions
        original = xxhash.xxh3_128(
            canonical_json([facts.fingerprint, asdict(conditions["original"])]).encode()
        ).hexdigest()
        requests = [Request(kind=NAME, context=original, tokens=window) for window in windows]
        keys = request_keys(requests, conditions["pruned"], task_version=VERSION)
        return [keys[request] for request in requests]
