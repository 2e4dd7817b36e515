"""Loads models with lm-eval's model classes, and runs requests on one of them at a time."""

from __future__ import annotations

import gc
import inspect
import logging
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError, PrunegateError
from pytest_prunegate.evaluation.backends import backend_class
from pytest_prunegate.evaluation.gate_lm import GateLM
from pytest_prunegate.evaluation.guarded import needs_trust, reason_of
from pytest_prunegate.evaluation.requests import WINDOW, canonical_json
from pytest_prunegate.evaluation.windows import window_loglikelihood
from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.evaluation.requests import Conditions, Request

_log = logging.getLogger("pytest_prunegate")
_PROBE_TOKENS = 64  # enough for every layer to see real activations, at the cost of a fraction of one document
_SAMPLING_SEED = 1234  # lm-eval's torch seed
_CHUNK = 256  # requests that a backend gets at once where it hands its answers over only when all are there
_OWN = frozenset({"revision", "tokenizer", "dtype", "max_length"})  # arguments that the conditions and facts settle
_ON_THE_FLY = ("load_in_4bit", "load_in_8bit")


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How models are loaded; none of it changes an answer beyond rounding."""

    batch_size: str
    device: str


class _Keeper:
    """lm-eval calls this cache hook for a finished request; it hands the response on at once."""

    def __init__(
        self,
        lm: Any,
        requests: Sequence[Request],
        keep: Callable[[Request, Response], None],
        long: frozenset[Request],
    ) -> None:
        self._cut_rows: deque[bool] | None = getattr(lm, "cut_rows", None)
        self._keep = keep
        self._long = long
        self._waiting: dict[tuple[str, str], deque[Request]] = defaultdict(deque)
        for request in requests:
            self._waiting[request.kind, canonical_json(request.arguments)].append(request)

    def add_partial(self, kind: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called by lm-eval with a request's kind, arguments and result."""
        waiting = self._waiting[kind, canonical_json(arguments)]
        if waiting:
            self.answer(waiting.popleft(), result)

    def add_rest(self, requests: Sequence[Request], results: Sequence[Any]) -> None:
        """Hand on what a backend returned without calling the hook; one that called it for everything costs nothing here."""
        if not any(self._waiting.values()):
            return
        for request, result in zip(requests, results, strict=True):
            waiting = self._waiting[request.kind, canonical_json(request.arguments)]
            if request in waiting:
                waiting.remove(request)
                self.answer(request, result)

    def answer(self, request: Request, result: Any) -> None:
        """Hand one response on."""
        truncated = request in self._long
        if request.kind == "generate_until":
            cut = self._cut_rows.popleft() if self._cut_rows else None
            response = Response(text=result, cut=cut, truncated=truncated)
        elif isinstance(result, tuple):
            response = Response(loglikelihood=float(result[0]), greedy=bool(result[1]), truncated=truncated)
        else:
            response = Response(loglikelihood=float(result))
        self._keep(request, response)


class LocalModels:
    """Executes requests with this process's own model; at most one model is in memory."""

    def __init__(self, settings: LoadSettings, conditions: dict[str, Conditions]) -> None:
        self._settings = settings
        self._conditions = conditions
        self._loaded: tuple[str, Any] | None = None

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
            lm = self._make(facts, conditions)
            if isinstance(lm, HFLM):
                _probe(facts, lm, first)
        except ModelError:
            raise
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{facts.title}: out of memory on {self._settings.device} while it was loaded. Spread it with device_map=auto among its arguments, "
                "or take another --prunegate-device or --prunegate-dtype."
            ) from error
        except Exception as error:  # transformers raises what the checkpoint's code and files happen to raise
            reason = needs_trust(facts.side, error) or reason_of(error)
            raise ModelError(f"{facts.title}: cannot be loaded from {facts.adapter or facts.folder}: {reason}") from error  # fmt: skip
        self._loaded = (facts.side, lm)

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response], None],
        long: frozenset[Request],
    ) -> None:
        """Execute requests on the model that was loaded last, and hand every response to `keep` as soon as it exists.

        Sampled generation starts from lm-eval's own seed, so that an undisturbed run can be repeated.

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
        keeper = _Keeper(lm, requests, keep, long)
        lm.set_cache_hook(keeper)
        torch.manual_seed(_SAMPLING_SEED)
        for kind in ("generate_until", "loglikelihood", "loglikelihood_rolling", WINDOW):
            chosen = [request for request in requests if request.kind == kind]
            # A rolling request hands its answer over only when all are there, and other backends do so with any.
            size = 1 if kind in {"loglikelihood_rolling", WINDOW} else len(chosen) if isinstance(lm, HFLM) else _CHUNK
            for start in range(0, len(chosen), size or 1):
                self._execute(facts, lm, chosen[start : start + size], keeper)

    def unload(self) -> None:
        """Free the model's memory."""
        if self._loaded is None:
            return
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _make(self, facts: ModelFacts, conditions: Conditions) -> Any:
        """The model object. A foreign backend gets what it takes of the settings; all take batch size and device."""
        own: dict[str, Any] = {
            "pretrained": str(facts.folder), "dtype": conditions.dtype, "max_length": conditions.max_length,
            "trust_remote_code": False, "tokenizer": str(facts.tokenizer.folder),
        }  # fmt: skip
        fixed: dict[str, Any] = {"batch_size": self._settings.batch_size, "device": self._settings.device}
        if conditions.backend == "hf":
            return GateLM(**own | _transformers_arguments(facts) | fixed)
        cls = backend_class(conditions.backend)
        takes = _parameters(cls)
        if "pretrained" not in takes:
            raise ModelError(
                f"--prunegate-backend={conditions.backend}: this model class takes no checkpoint (no argument `pretrained`), so that what it "
                "answers would not be the model's that is reported."
            )
        given = {key: value for key, value in facts.arguments.items() if key not in _OWN}
        return cls(**{name: value for name, value in own.items() if name in takes} | given | fixed)

    def _execute(self, facts: ModelFacts, lm: Any, requests: Sequence[Request], keeper: _Keeper) -> None:
        if isinstance(lm, GateLM):
            lm.cut_rows.clear()
        kind = requests[0].kind
        try:
            if kind == WINDOW:
                for request in requests:
                    keeper.answer(request, window_loglikelihood(lm, request.tokens or ()))
                return
            instances = [
                Instance(request_type=kind, doc={}, arguments=request.arguments, idx=0, metadata=(None, None, None))
                for request in requests
            ]  # fmt: skip
            results = getattr(lm, kind)(instances, disable_tqdm=True)
            keeper.add_rest(requests, results)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{facts.title}: out of memory on {lm.device} at batch size {self._settings.batch_size}. What was answered is kept: "
                "run the same command again with a smaller --prunegate-batch-size."
            ) from error
        except PrunegateError:
            raise
        except Exception as error:  # wrong generation arguments end in all kinds of errors
            raise ModelError(
                f"{facts.title}: failed while it answered: {reason_of(error)}. What was answered is kept."
            ) from error


def _parameters(cls: type) -> set[str]:
    """Names that a class's constructor takes, those that it hands on to its bases included."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        names |= set(parameters)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names


def _transformers_arguments(facts: ModelFacts) -> dict[str, Any]:
    """The side's model_args as lm-eval's transformers backend takes them."""
    given = {key: value for key, value in facts.arguments.items() if key not in _OWN}
    quantization = given.pop("quantization_config", None)
    if any(given.get(key) for key in _ON_THE_FLY):
        names = [key for key in given if key in _ON_THE_FLY or key.startswith("bnb_")]
        quantization = {"quant_method": "bitsandbytes"} | {name: given.pop(name) for name in names}
    if "device_map" in given:
        given.setdefault("parallelize", True)  # without it lm-eval drops the map
    if quantization:
        given["quantization"] = quantization
    if facts.adapter:
        given["peft"] = str(facts.adapter)
    if facts.gguf:
        given["gguf_file"] = facts.gguf
        if facts.tokenizer.gguf:
            given["tokenizer"] = None  # the file carries its own
    return given


def _probe(facts: ModelFacts, lm: Any, first: Request) -> None:
    """One forward pass over the beginning of the first prompt: numbers must be numbers before hours are spent."""
    tokens = list(first.tokens or lm.tok_encode(first.context or first.continuation or ""))[:_PROBE_TOKENS]
    tokens = tokens or [lm.prefix_token_id]
    logits = lm._model_call(torch.tensor([tokens], device=lm.device))  # noqa: SLF001 - (1, tokens, vocabulary)
    finite = torch.isfinite(logits)
    if not bool(finite.all()):
        share = 1 - float(finite.float().mean())
        raise ModelError(
            f"{facts.title}: its logits are NaN or infinite ({share:.1%} of them on a prompt of {len(tokens)} tokens, in {facts.dtype} "
            "weights). The checkpoint is damaged, or its numbers do not fit the dtype: try --prunegate-dtype=float32."
        )
