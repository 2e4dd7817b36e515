"""lm-eval's model classes by name, and its syntax of arguments: ``key=value,key=value``, or a JSON object."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.tasks.guarded import reason_of

if TYPE_CHECKING:
    from pytest_prunegate.checkpoint.facts import ModelFacts


def refuse_unloadable(model: ModelFacts, backend: str) -> None:
    """See that a backend loads what was fingerprinted, and not a part of it, and has what it needs for that.

    Raises:
        InputError: an adapter or a GGUF file would be left out, or a package is missing.
    """
    if backend != "hf" and (model.adapter or model.gguf):
        what = "an adapter: merge it into its base" if model.adapter else "a GGUF file"
        raise InputError(
            f"--prunegate-backend={backend}: the {model.title} is {what}, or use the transformers backend (hf)."
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
