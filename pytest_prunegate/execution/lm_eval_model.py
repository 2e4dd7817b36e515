"""Runs requests on a model that one of lm-eval's model classes loads into this process."""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
from typing import TYPE_CHECKING, Any

import torch
import transformers
import xxhash
from lm_eval.models.huggingface import HFLM

from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.batch_runner import groups_of
from pytest_prunegate.execution.conditions import backend_class
from pytest_prunegate.execution.devices import resolve_device
from pytest_prunegate.execution.executor import Executor
from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.execution.hook import AnswerHook
from pytest_prunegate.execution.made_model import make_again
from pytest_prunegate.execution.next_tokens import logit_rows, window_loglikelihood
from pytest_prunegate.execution.timed import timed_run, weights_size
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import needs_trust, reason_of
from pytest_prunegate.tasks.requests import ROLLING, TRANSFORMERS, WINDOW, canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.tasks.requests import Conditions, Request
    from pytest_prunegate.tasks.speed import TimedRun


_log = logging.getLogger("pytest_prunegate")
_PROBE_TOKENS = 64  # enough for every layer to see real activations, at the cost of a fraction of one document
_OWN = frozenset({"revision", "tokenizer", "dtype", "max_length"})  # arguments that the conditions and facts settle
_ON_THE_FLY = ("load_in_4bit", "load_in_8bit")
_CHUNK = 256  # requests that a backend gets at once where it batches by itself
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_LARGEST_AUTO = 64  # lm-eval's own bound


class LmEvalModel(Executor):
    """A model of one of lm-eval's classes, in this process's memory.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> None:
        self._facts = facts
        self._batch_size = settings.batch_size
        self._device = resolve_device(settings.device)
        self._is_probed = False
        transformers.utils.logging.disable_progress_bar()
        _log.info("loading %s from %s as %s", facts.title, facts.folder, conditions.dtype)
        with self._loading():
            self._lm = self._make(facts, conditions)
        if getattr(self._lm, "unverified", 0):
            _log.warning(
                "%s: %d of its tensors are not compared with the files: their loader rewrites them", facts.title, self._lm.unverified
            )  # fmt: skip
        self.where = str(getattr(self._lm, "device", "the device"))
        self.measures_memory = isinstance(self._lm, HFLM) and self.where == "cpu"

    def at_once(self, kind: str) -> int:
        """The batch size that was asked for, or for ``auto`` what fits at full length.

        lm-eval hands rolling log-likelihoods over only when all are there. On a CPU nothing is tried out, because the kernel would end
        the process: there memory is measured.

        Raises:
            ModelError: lm-eval finds none.
        """
        if kind in {ROLLING, WINDOW}:
            return 1
        if not isinstance(self._lm, HFLM):
            return _CHUNK
        if self._batch_size.isdecimal():
            return int(self._batch_size)
        if self.measures_memory:
            return _LARGEST_AUTO
        try:
            return int(self._lm._detect_batch_size())  # noqa: SLF001 - lm-eval's own way to a batch size
        except Exception as error:  # lm-eval tries forward passes
            raise ModelError(
                f"{self._facts.side} model: no batch size can be found: {reason_of(error)}. Name one with --prunegate-batch-size."
            ) from error

    def probe(self, first: Request) -> None:
        """One forward pass over the beginning of the first prompt: numbers must be numbers before hours are spent."""
        if not self._is_probed and isinstance(self._lm, HFLM):
            with self._loading():
                _probe(self._facts, self._lm, first)
        self._is_probed = True

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """One call of the model class. Sampling starts from the requests themselves: an interrupted run draws the same."""
        lm = self._lm
        if isinstance(lm, HFLM):
            lm.batch_size_per_gpu = len(groups_of(batch))
        torch.manual_seed(_seed(batch[0]))
        if batch[0].kind != WINDOW:
            AnswerHook(batch, hand_on, lambda _: getattr(lm, "last_cut", None)).ask(lm)
            return
        for request in batch:
            hand_on(request, Response(loglikelihood=window_loglikelihood(lm, request.tokens or ())))

    def next_token_logits(self, tokens: tuple[int, ...]) -> Iterator[torch.Tensor]:
        """Of a model that torch runs in this process."""
        if not isinstance(getattr(self._lm, "model", None), torch.nn.Module):
            return super().next_token_logits(tokens)
        return logit_rows(self._lm, tokens)

    def timed_run(self, prompts: Sequence[Sequence[int]], generate: int) -> TimedRun:
        """Of a model that torch runs in this process."""
        if not isinstance(getattr(self._lm, "model", None), torch.nn.Module):
            return super().timed_run(prompts, generate)
        return timed_run(self._lm.model, torch.device(self._lm.device), prompts, generate)

    @property
    def weights_size(self) -> int:
        """Of all tensors of the module."""
        return weights_size(self._lm.model)

    def is_out_of_memory(self, error: Exception) -> bool:
        """On a GPU, or where the CPU's allocator says so."""
        return is_out_of_memory(error)

    def free_memory(self) -> None:
        """Free what nothing holds any more."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Free the model's memory."""
        self._lm = None
        self.free_memory()

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        """Transformers raises what the checkpoint's code and files happen to raise."""
        facts = self._facts
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            if self.is_out_of_memory(error):
                raise ModelError(
                    f"{facts.title}: out of memory on {self._device} while it was loaded. Spread it with device_map=auto among its "
                    "arguments, or take another --prunegate-device or --prunegate-dtype."
                ) from error
            reason = needs_trust(facts.side, error) or reason_of(error)
            raise ModelError(f"{facts.title}: cannot be loaded from {facts.adapter or facts.folder}: {reason}") from error  # fmt: skip

    def _make(self, facts: ModelFacts, conditions: Conditions) -> Any:
        """The model object. A foreign backend gets what it takes of the settings; all take batch size and device."""
        own: dict[str, Any] = {
            "pretrained": str(facts.folder), "dtype": conditions.dtype, "max_length": conditions.max_length,
            "trust_remote_code": False, "tokenizer": str(facts.tokenizer.folder),
        }  # fmt: skip
        fixed: dict[str, Any] = {"batch_size": self._batch_size, "device": self._device}
        if facts.maker:
            module, tokenizer = make_again(facts)
            wanted = getattr(torch, conditions.dtype)
            module.to(self._device) if module.dtype == wanted else module.to(self._device, wanted)
            return GateLM(weights=(), **own | {"pretrained": module, "tokenizer": tokenizer} | fixed)
        if conditions.backend in TRANSFORMERS:
            return GateLM(weights=facts.weights, **own | transformers_arguments(facts) | fixed)
        cls = backend_class(conditions.backend)
        takes = _parameters(cls)
        if "pretrained" not in takes:
            raise ModelError(
                f"--prunegate-backend={conditions.backend}: this model class takes no checkpoint (no argument `pretrained`), so that what it "
                "answers would not be the model's that is reported."
            )
        given = {key: value for key, value in facts.arguments.items() if key not in _OWN}
        return cls(**{name: value for name, value in own.items() if name in takes} | given | fixed)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on a GPU or where the CPU's allocator says so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _seed(request: Request) -> int:
    said = [request.kind, request.context, request.gen_kwargs, request.repeat]
    return int(xxhash.xxh32(canonical_json(said).encode()).intdigest())


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


def transformers_arguments(facts: ModelFacts) -> dict[str, Any]:
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
