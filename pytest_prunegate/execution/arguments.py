"""lm-eval's syntax of arguments: ``key=value,key=value``, or a JSON object."""

from __future__ import annotations

import json
from typing import Any


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
