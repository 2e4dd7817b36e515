"""Loads a checkpoint with lm-eval's transformers backend, and runs requests on it one model at a time."""

from __future__ import annotations

import gc
import logging
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError, PrunegateError
from pytest_prunegate.evaluation.requests import canonical_json
from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.evaluation.requests import Conditions, Request

_log = logging.getLogger("pytest_prunegate")
_PROBE_TOKENS = 64  # enough for every layer to see real activations, at the cost of a fraction of one document


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How models are loaded; none of it changes an answer beyond rounding."""

    batch_size: str
    device: str


class _GateLM(HFLM):  # type: ignore[misc]  # lm-eval publishes no types
    """lm-eval's transformers backend, which also tells of each generated text whether it was cut."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cut_rows: deque[bool] = deque()

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **kwargs: Any) -> Any:
        output = super()._model_generate(context=context, max_length=max_length, stop=stop, **kwargs)
        room = max_length - context.shape[1]
        rows = output[:, context.shape[1] :].tolist()  # (batch, generated tokens)
        self.cut_rows.extend(self._is_cut(row, room, stop) for row in rows)
        return output

    def _is_cut(self, row: list[int], room: int, stop: list[str]) -> bool:
        ends = {self.eot_token_id, *_as_list(self.model.generation_config.eos_token_id)}
        if len(row) < room or ends.intersection(row):
            return False
        text = self.tok_decode(row)
        return not any(marker and marker in text for marker in stop)


class _Keeper:
    """lm-eval calls this cache hook for every finished request; it hands the response on at once."""

    def __init__(
        self,
        lm: _GateLM,
        requests: Sequence[Request],
        keep: Callable[[Request, Response], None],
        long: frozenset[Request],
    ) -> None:
        self._lm = lm
        self._keep = keep
        self._long = long
        self._waiting: dict[tuple[str, str], deque[Request]] = defaultdict(deque)
        for request in requests:
            self._waiting[request.kind, canonical_json(request.arguments)].append(request)

    def add_partial(self, kind: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called by lm-eval with a request's kind, arguments and result."""
        request = self._waiting[kind, canonical_json(arguments)].popleft()
        truncated = request in self._long
        if kind == "generate_until":
            response = Response(text=result, cut=self._lm.cut_rows.popleft(), truncated=truncated)
        else:
            response = Response(loglikelihood=float(result[0]), greedy=bool(result[1]), truncated=truncated)
        self._keep(request, response)


class LocalModels:
    """Executes requests with this process's own model; at most one model is in memory."""

    def __init__(self, settings: LoadSettings, conditions: dict[str, Conditions]) -> None:
        self._settings = settings
        self._conditions = conditions
        self._loaded: tuple[str, _GateLM] | None = None

    @property
    def loaded_side(self) -> str | None:
        """The side whose model is in memory."""
        return self._loaded[0] if self._loaded else None

    def load(self, facts: ModelFacts, first: Request) -> None:
        """Put a model in memory, in place of the other, and probe it with the beginning of its first prompt.

        Raises:
            ModelError: it cannot be loaded, or gives no finite numbers.
        """
        if self.loaded_side == facts.side:
            return
        self.unload()
        conditions = self._conditions[facts.side]
        transformers.utils.logging.disable_progress_bar()
        _log.info("loading %s from %s as %s", facts.title, facts.folder, conditions.dtype)
        try:
            lm = _GateLM(
                pretrained=str(facts.folder), device=self._settings.device, dtype=conditions.dtype, trust_remote_code=False,
                batch_size=self._settings.batch_size, max_length=conditions.max_length,
            )  # fmt: skip
        except Exception as error:  # transformers raises what the checkpoint's code and files happen to raise
            raise ModelError(
                f"{facts.title}: cannot be loaded from {facts.folder}: {type(error).__name__}: {_first_line(error)}"
            ) from error
        _probe(facts, lm, first)
        self._loaded = (facts.side, lm)

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response], None],
        long: frozenset[Request],
    ) -> None:
        """Execute requests on the model that was loaded last, and hand every response to `keep` as soon as it exists.

        Args:
            facts: the model.
            requests: distinct requests.
            keep: takes a request and its response, in any order.
            long: requests whose prompt does not fit, and is cut from the left.

        Raises:
            ModelError: the model fails while it runs.
        """
        assert self._loaded, "load() comes first"
        lm = self._loaded[1]
        lm.set_cache_hook(_Keeper(lm, requests, keep, long))
        for kind in ("generate_until", "loglikelihood"):
            instances = [
                Instance(request_type=kind, doc={}, arguments=request.arguments, idx=0, metadata=(None, None, None))
                for request in requests if request.kind == kind
            ]  # fmt: skip
            if instances:
                lm.cut_rows.clear()
                self._execute(facts, lm, kind, instances)

    def unload(self) -> None:
        """Free the model's memory."""
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _execute(self, facts: ModelFacts, lm: _GateLM, kind: str, instances: list[Any]) -> None:
        try:
            getattr(lm, kind)(instances, disable_tqdm=True)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{facts.title}: out of memory on {lm.device} at batch size {self._settings.batch_size}. What was answered is kept: "
                "run the same command again with a smaller --prunegate-batch-size."
            ) from error
        except PrunegateError:
            raise
        except Exception as error:  # wrong generation arguments end in all kinds of errors
            raise ModelError(
                f"{facts.title}: failed while it answered: {type(error).__name__}: {_first_line(error)}. What was answered is kept."
            ) from error


def resolve_device(device: str) -> str:
    """The device that "auto" stands for: a GPU where there is one."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _probe(facts: ModelFacts, lm: _GateLM, first: Request) -> None:
    """One forward pass over the beginning of the first prompt: numbers must be numbers before hours are spent."""
    tokens = lm.tok_encode(first.context or first.continuation or "")[:_PROBE_TOKENS] or [lm.prefix_token_id]
    logits = lm._model_call(torch.tensor([tokens], device=lm.device))  # noqa: SLF001 - (1, tokens, vocabulary)
    finite = torch.isfinite(logits)
    if not bool(finite.all()):
        share = 1 - float(finite.float().mean())
        raise ModelError(
            f"{facts.title}: its logits are NaN or infinite ({share:.1%} of them on a prompt of {len(tokens)} tokens, in {facts.dtype} "
            "weights). The checkpoint is damaged, or its numbers do not fit the dtype: try --prunegate-dtype=float32."
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _as_list(ids: Any) -> list[int]:
    return ids if isinstance(ids, list) else [] if ids is None else [ids]
