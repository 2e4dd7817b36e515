"""Loads models with lm-eval's model classes, and runs requests on one of them at a time."""

from __future__ import annotations

import gc
import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.backends import backend_class
from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.execution.running import Execution, Sizes, asked_batch_size, is_out_of_memory
from pytest_prunegate.tasks.guarded import needs_trust, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Conditions, Failure, Request

_log = logging.getLogger("pytest_prunegate")
_PROBE_TOKENS = 64  # enough for every layer to see real activations, at the cost of a fraction of one document
_OWN = frozenset({"revision", "tokenizer", "dtype", "max_length"})  # arguments that the conditions and facts settle
_ON_THE_FLY = ("load_in_4bit", "load_in_8bit")


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How models are loaded; none of it changes an answer beyond rounding."""

    batch_size: str
    device: str


class LocalModels:
    """Executes requests with this process's own model; at most one model is in memory."""

    def __init__(self, settings: LoadSettings, conditions: dict[str, Conditions], stop: StopRequest) -> None:
        self._settings = settings
        self._conditions = conditions
        self._stop = stop
        self._loaded: tuple[str, Any] | None = None
        self._sizes: dict[str, Sizes] = {}

    @property
    def loaded_side(self) -> str | None:
        """The side whose model is in memory."""
        return self._loaded[0] if self._loaded else None

    def load(self, facts: ModelFacts, first: Request) -> None:
        """Put a model in memory, in place of the other, and probe it with the beginning of its first prompt.

        Raises:
            ModelError: it cannot be loaded, or gives no finite numbers.
            RunStopped: the run was asked to stop.
        """
        if self.loaded_side == facts.side:
            return
        self._stop.check()
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
        except Exception as error:  # transformers raises what the checkpoint's code and files happen to raise
            if is_out_of_memory(error):
                raise ModelError(
                    f"{facts.title}: out of memory on {self._settings.device} while it was loaded. Spread it with device_map=auto among its "
                    "arguments, or take another --prunegate-device or --prunegate-dtype."
                ) from error
            reason = needs_trust(facts.side, error) or reason_of(error)
            raise ModelError(f"{facts.title}: cannot be loaded from {facts.adapter or facts.folder}: {reason}") from error  # fmt: skip
        if getattr(lm, "unverified", 0):
            _log.warning(
                "%s: %d of its tensors are not compared with the files: their loader rewrites them",
                facts.title,
                lm.unverified,
            )
        self._loaded = (facts.side, lm)

    def run(
        self,
        facts: ModelFacts,
        requests: Sequence[Request],
        keep: Callable[[Request, Response | Failure], None],
        long: frozenset[Request],
    ) -> None:
        """Execute requests on the model that was loaded last, and hand every response to `keep` as soon as it exists.

        Args:
            facts: the model.
            requests: distinct requests.
            keep: takes a request and its response, or why it has none, in any order.
            long: requests whose prompt does not fit, and is cut from the left.

        Raises:
            ModelError: the model fails while it runs.
            RunStopped: the run was asked to stop.
        """
        assert self._loaded, "load() comes first"
        lm = self._loaded[1]
        Execution(facts, lm, keep, long, sizes=self._sizes_of(facts.side, lm), stop=self._stop).run(requests)

    def _sizes_of(self, side: str, lm: Any) -> Sizes:
        """What is known of a side's batch sizes, whatever task it answers."""
        if side not in self._sizes:
            try:
                asked = asked_batch_size(lm, self._settings.batch_size)
            except Exception as error:  # lm-eval tries forward passes
                raise ModelError(
                    f"{side} model: no batch size can be found: {reason_of(error)}. Name one with --prunegate-batch-size."
                ) from error
            self._sizes[side] = Sizes(asked, on_cpu=str(getattr(lm, "device", "")) == "cpu")
        return self._sizes[side]

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
            return GateLM(weights=facts.weights, **own | _transformers_arguments(facts) | fixed)
        cls = backend_class(conditions.backend)
        takes = _parameters(cls)
        if "pretrained" not in takes:
            raise ModelError(
                f"--prunegate-backend={conditions.backend}: this model class takes no checkpoint (no argument `pretrained`), so that what it "
                "answers would not be the model's that is reported."
            )
        given = {key: value for key, value in facts.arguments.items() if key not in _OWN}
        return cls(**{name: value for name, value in own.items() if name in takes} | given | fixed)


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
