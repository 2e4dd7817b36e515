"""What the command line does not take on trust: code of others, which runs only where it is asked for by name, and secrets, which stand nowhere."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any

from pytest_prunegate import flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pytest


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


REMOTE_CODE, UNSAFE_TASKS = "remote-code", "unsafe-tasks"
TRUSTS = (REMOTE_CODE, UNSAFE_TASKS)
_PICKLE = (
    "transformers reads pickled weights as plain tensors (weights_only=True), whatever is asked. Where a file holds more and you trust who made "
    "it, load it yourself and save the model as safetensors."
)
# Arguments of transformers that fetch Python code or compiled kernels, and run them.
CODE_ARGUMENTS = ("trust_remote_code", "allow_all_kernels", "custom_generate")


def read_trust(config: pytest.Config, named: Iterable[str], mistakes: list[str]) -> frozenset[str]:
    """What is trusted, if who runs pytest says so.

    Args:
        config: pytest's.
        named: the option's values; pytest has joined those of an ini file's ``addopts`` to the command line's.
        mistakes: takes what is wrong.
    """
    flag, found = flags.TRUST.flag, frozenset(named)
    expected = f"expected some of {', '.join(TRUSTS)}."
    mistakes += [f"{flag}={name}: {_PICKLE if name == 'pickle' else expected}" for name in sorted(found - set(TRUSTS))]
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: its controller was asked
    written = [*config.invocation_params.args, *shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))]
    if found and not is_worker and not any(str(argument).partition("=")[0] == flag for argument in written):
        mistakes.append(
            f"{flag} stands in the addopts of an ini file, where a repository could trust itself. Give it on the command line."
        )
    return found


def code_problems(flag: str, arguments: Mapping[str, Any], trust: Iterable[str]) -> Iterator[str]:
    """A message for each argument of a model, or of generation, that would run code which is not trusted.

    Args:
        flag: the option that holds the arguments.
        arguments: lm-eval's model_args, or generation arguments.
        trust: what ``--prunegate-trust`` names.
    """
    if REMOTE_CODE in trust:
        return
    found = [key for key in CODE_ARGUMENTS if arguments.get(key)]
    if "/" in str(arguments.get("attn_implementation", "")):  # a repository of kernels
        found.append("attn_implementation")
    for key in found:
        yield (
            f"{flag}: {key}={arguments[key]}: would run code that comes with a model or from a hub. If you know and trust it, add "
            f"{flags.TRUST.flag}={REMOTE_CODE}."
        )
