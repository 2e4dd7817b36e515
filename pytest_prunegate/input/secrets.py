"""Secrets among arguments, known by their names: they are taken from the environment, and stand nowhere else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = re.compile(
    r"(^|_)((hf|hub|hugging_?face|auth|access|api|bearer|secret|session|refresh)_?tokens?|api_?keys?|secrets?|pass(word|wd|phrase)|credentials?"
    r"|authorization|private_?key|access_?key(_id)?|secret_?key|proxies|headers?|cookies?)$|^tokens?$|^auth$",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{12,})\b|://[^/\s:@]+:[^/\s@]+@"
)
_VARIABLES = {"key": "OPENAI_API_KEY", "proxies": "HTTPS_PROXY"}
_USUAL = "HF_TOKEN"


def secret_problems(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    """A message for each argument that holds a secret, without the secret.

    Args:
        where: the option or the key of a file that holds the arguments.
        given: names and values; mappings within are looked through.
    """
    for key, value in given.items():
        name = str(key)
        if isinstance(value, (str, bytes)) and value and (_NAME.search(name) or _VALUE.search(str(value))):
            yield _message(where, name)
        elif isinstance(value, dict):
            if value and _NAME.search(name):
                yield _message(where, name)
            else:
                yield from secret_problems(f"{where}: {name}", value)


def _message(where: str, name: str) -> str:
    variable = next((variable for part, variable in _VARIABLES.items() if part in name.lower()), _USUAL)
    return (
        f"{where}: {name}: holds a secret, which would stand in reports, in the store and in the command that is told for a rerun. Take it out, "
        f"and set {variable} in the environment."
    )
