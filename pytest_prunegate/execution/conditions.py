"""What each side is loaded with: lm-eval's model class by its name, dtype, longest input, and the arguments that can change an answer."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.facts import AS_SERVED
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.index import lm_eval_version
from pytest_prunegate.tasks.requests import TRANSFORMERS, Conditions, canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side


def refuse_unloadable(model: ModelFacts, backend: str) -> None:
    """See that a backend loads what was fingerprinted, and not a part of it, and has what it needs for that.

    Raises:
        InputError: an adapter or a GGUF file would be left out, or a package is missing.
    """
    files = {
        "an adapter: merge it into its base": model.adapter,
        "a GGUF file": model.gguf,
        "made by a function": model.maker,
    }
    what = next((words for words, is_so in files.items() if is_so), None)
    if backend not in TRANSFORMERS and what:
        raise InputError(
            f"--prunegate-backend={backend}: the {model.title} is {what}, or use a transformers backend (fast, hf)."
        )
    if model.adapter and importlib.util.find_spec("peft") is None:
        raise InputError(f"{model.title}: an adapter needs the package peft: `pip install pytest-prunegate[peft]`.")


def backend_class(name: str) -> Any:
    """The model class; it is imported now.

    Raises:
        ModelError: what it needs is not installed.
    """
    from lm_eval.api.registry import get_model

    try:
        return get_model(name)
    except Exception as error:  # a backend's package may fail to import in any way
        raise ModelError(f"--prunegate-backend={name}: its model class cannot be imported: {reason_of(error)}") from error  # fmt: skip


def parse_arguments(text: str) -> dict[str, Any]:
    """Read arguments as lm-eval's command line does.

    Raises:
        ValueError: they do not parse; the message says what is expected.
    """
    from lm_eval.utils import simple_parse_args_string

    expected = "expected key=value,key=value or a JSON object"
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{expected}: {error}") from error
    else:
        if any("=" not in part for part in text.split(",") if part.strip()):
            raise ValueError(f"{expected}.")
        found = simple_parse_args_string(text)
    return {str(key).strip(): value for key, value in found.items()}


SERVED = "local-completions"  # lm-eval's model class for a completion server
_DEFAULT_MAX_GEN_TOKS = 256  # of lm-eval's transformers backend, where a task names none
# Arguments that have a place of their own in the conditions or the fingerprint, or say only where a model is put.
_ELSEWHERE = frozenset({
    "dtype", "max_length", "revision", "tokenizer", "device_map", "parallelize", "max_memory_per_gpu",
    "max_cpu_memory", "offload_folder", "tp_plan", "tensor_parallel_size", "data_parallel_size", "gpu_memory_utilization",
    "num_concurrent", "max_retries", "timeout",
})  # fmt: skip


def conditions_of(facts: Mapping[Side, ModelFacts], *, dtype: str, backend: str) -> dict[Side, Conditions]:
    """The conditions of each side. A served model's backend and dtype are its own.

    Both use the original's dtype, unless one side's arguments or the user name another, or a side is quantised.

    Args:
        facts: the models by side, the original first.
        dtype: of both, where the user names one; otherwise auto.
        backend: lm-eval's model class.
    """
    return {side: _of_side(model, _dtype(model, facts["original"], dtype), backend) for side, model in facts.items()}


def _dtype(model: ModelFacts, original: ModelFacts, asked: str) -> str:
    if model.served:
        return model.dtype
    if model.arguments.get("dtype"):
        return _own_dtype(model)
    if asked != "auto":
        return asked
    if original.dtype == AS_SERVED:
        return model.dtype
    is_packed = any(side.quantised and not side.gguf for side in (model, original))  # a GGUF is unpacked into any dtype
    return model.dtype if is_packed else _own_dtype(original)


def _of_side(model: ModelFacts, dtype: str, backend: str) -> Conditions:
    given = model.arguments
    arguments = {key: value for key, value in given.items() if key not in _ELSEWHERE}
    return Conditions(
        backend=SERVED if model.served else backend,
        dtype=dtype,
        max_length=int(given.get("max_length") or model.max_length),
        max_gen_toks=_DEFAULT_MAX_GEN_TOKS,
        lm_eval=lm_eval_version(),
        arguments=canonical_json(arguments),
        tokenizer=model.tokenizer.digest if model.served or "tokenizer" in given else None,
    )


def _own_dtype(model: ModelFacts) -> str:
    written = str(model.arguments.get("dtype") or "auto").removeprefix("torch.")
    return model.dtype if written == "auto" else written
