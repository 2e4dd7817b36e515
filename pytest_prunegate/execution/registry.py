"""The executors by the names of backends: lm-eval's model classes, servers, and what installed packages bring.

A package brings one by an entry point of the group `pytest_prunegate.executors`; its name is what ``--prunegate-backend`` takes.
"""

from __future__ import annotations

import difflib
import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.files import read_json
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.execution.conditions import SERVED, backend_class
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import FAST, TRANSFORMERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import Executor, Settings
    from pytest_prunegate.tasks.requests import Conditions

    Make = Callable[[ModelFacts, Conditions, Settings], Executor]

_LM_EVALS = ("hf", "hf-auto", "huggingface")  # names of its transformers backend
# What they answer with lies on a server: the checkpoint that was fingerprinted would say nothing about it.
_SERVED = frozenset({
    "anthropic-chat", "anthropic-chat-completions", "anthropic-completions", "ggml", "gguf", "litellm", "litellm-chat",
    "litellm-chat-completions", "local-chat-completions", "local-completions", "openai-chat-completions", "openai-completions",
    "sglang-generate", "textsynth", "watsonx_llm",
})  # fmt: skip
GROUP = "pytest_prunegate.executors"
_OURS = frozenset({*_LM_EVALS, FAST, SERVED})
EXECUTORS: dict[str, Make] = {}
"""Those that a process brings itself, by name; they come before all others."""


def brought() -> tuple[str, ...]:
    """The names of executors that are not this package's own; nobody's entry point takes the place of ours."""
    names = (point.name for point in entry_points(group=GROUP))
    return tuple(dict.fromkeys([*EXECUTORS, *(name for name in names if name not in _OURS)]))


def executor_for(backend: str) -> Make:
    """What makes the executors of a backend; its packages are imported now.

    Raises:
        ModelError: an installed package brings one that cannot be imported.
    """
    if backend in EXECUTORS:
        return EXECUTORS[backend]
    if backend not in _OURS and (found := [*entry_points(group=GROUP, name=backend)]):
        try:
            made: Make = found[0].load()
        except Exception as error:  # a package of others may fail in any way
            raise ModelError(f"--prunegate-backend={backend}: {found[0].value} cannot be imported: {reason_of(error)}") from error  # fmt: skip
        return made
    if backend == SERVED:
        from pytest_prunegate.execution.served import ServedModel

        return ServedModel
    if backend == FAST:
        from pytest_prunegate.execution.fast.fast_model import FastModel

        return FastModel
    from pytest_prunegate.execution.lm_eval_model import LmEvalModel

    return LmEvalModel


def canonical_backend(name: str) -> str:
    """The name under which answers are kept: lm-eval's three names of its transformers backend are one.

    Raises:
        InputError: neither lm-eval nor an installed package has a backend of this name, or it asks a server.
    """
    if name in _LM_EVALS:
        return "hf"
    if name == FAST:
        return name
    if name in (others := brought()):
        return name
    if name in _SERVED:
        raise InputError(
            f"--prunegate-backend={name}: asks a server, whatever --original and --pruned are. Name the server as the model: --pruned=NAME=http://HOST:PORT/v1."
        )
    from lm_eval.api.registry import model_registry
    from lm_eval.models import MODEL_MAPPING

    known = sorted({FAST, *MODEL_MAPPING, *model_registry, *others})
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise InputError(f"--prunegate-backend={name}: there is no backend of this name.{hint} There are: {', '.join(known)}.")  # fmt: skip


def refuse_missing(name: str) -> None:
    """See that a backend can be imported.

    Raises:
        ModelError: what it needs is not installed.
    """
    if name in TRANSFORMERS:
        return
    if name in brought():
        executor_for(name)
    else:
        backend_class(name)


def missing_package(facts: ModelFacts, backend: str) -> str | None:
    """Why transformers will not load a quantised model: a package that its format needs is not installed. None where nothing is known to be missing.

    Args:
        facts: of the model.
        backend: that loads it; of others than transformers nothing is known.
    """
    if backend not in TRANSFORMERS or facts.quantised is None or facts.gguf:
        return None
    from transformers.quantizers import AutoHfQuantizer

    from pytest_prunegate.execution.lm_eval_model import transformers_arguments

    config = read_json(facts.folder / "config.json")
    stored = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    asked = transformers_arguments(facts).get("quantization")
    try:  # as transformers does before it opens the weights (quantizers.auto.get_hf_quantizer)
        quantizer = AutoHfQuantizer.from_config(asked or stored, pre_quantized=stored is not None)
        quantizer.validate_environment(device_map=None, weights_only=True)
    except ImportError as error:
        return reason_of(error)
    except Exception as error:  # noqa: BLE001 - what else a format's library says depends on the device: loading tells it
        logging.getLogger("pytest_prunegate").debug("%s: %s", facts.title, error)
    return None
