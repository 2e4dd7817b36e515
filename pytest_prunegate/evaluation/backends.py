"""lm-eval's model classes by name."""

from __future__ import annotations

import difflib
from typing import Any

from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.evaluation.guarded import reason_of

TRANSFORMERS = ("hf", "hf-auto", "huggingface")


def canonical_backend(name: str) -> str:
    """The name under which answers are kept: lm-eval's three names of its transformers backend are one.

    Raises:
        InputError: lm-eval knows no model class of this name.
    """
    if name in TRANSFORMERS:
        return "hf"
    from lm_eval.api.registry import model_registry
    from lm_eval.models import MODEL_MAPPING

    known = sorted({*MODEL_MAPPING, *model_registry})
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    raise InputError(f"--prunegate-backend={name}: lm-eval has no model class of this name.{hint} It has: {', '.join(known)}.")  # fmt: skip


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
