"""A model that a server answers for, as the user names it: ``NAME=http://host:8000/v1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEMES = ("http", "https")
_SIDES = ("--original", "--pruned")
_ENDPOINTS = ("/completions", "/models")
_COUNTS = ("max_length", "num_concurrent", "max_retries", "timeout")
_TAKEN = ("model", "tokenizer", *_COUNTS, "tokenized_requests", "add_bos_token", "trust_remote_code")
_MOST_RETRIES = 10


def is_url(value: str) -> bool:
    """Whether a model is named by an address."""
    return value.partition("://")[0].lower() in _SCHEMES and "://" in value


def served_url(flag: str, name: str | None, value: str, arguments: Mapping[str, Any]) -> str:
    """The address that requests are put behind, without a slash at its end.

    Raises:
        InputError: it has no name, carries secrets, or its arguments are not those of a server; all of that at once.
    """
    if flag not in _SIDES:
        raise InputError(f"{flag}: {shown(value)}: a server cannot take this place. Give a directory or a hub id.")
    problems = [
        *_address_problems(flag, value),
        *_argument_problems(f"{flag.replace('--', '--prunegate-')}-args", arguments),
    ]
    if name is None:
        problems.append(
            f"{flag}: a served model needs a name: an address says nothing about the weights behind it, and answers are kept by name. "
            f"Write {flag}=NAME={shown(value)}, and take another name whenever the weights change."
        )
    if problems:
        raise InputError("\n".join(problems))
    url = value.rstrip("/")
    for endpoint in _ENDPOINTS:  # people copy lm-eval's base_url
        url = url.removesuffix(endpoint)
    return url


def shown(value: str) -> str:
    """An address without the secrets that it may carry."""
    scheme, _, rest = value.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def _address_problems(flag: str, value: str) -> list[str]:
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host = None
    if not host or any(letter.isspace() for letter in value):
        return [f"{flag}: {shown(value)}: this is no address. Expected http://HOST:PORT/v1."]
    if "@" in value or "?" in value or "#" in value:
        return [
            f"{flag}: {shown(value)}: it holds a user, a password or a query. Give the bare one, and a key in the environment as OPENAI_API_KEY."
        ]
    return []


def _argument_problems(flag: str, arguments: Mapping[str, Any]) -> list[str]:
    """What is wrong with a side's arguments; values are not repeated, because a key may be among them."""
    foreign = [key for key in arguments if key not in _TAKEN]
    problems = [
        f"{flag}: {', '.join(foreign)}: a served model takes {', '.join(_TAKEN)}. An API key is read from OPENAI_API_KEY in the environment only."
    ] if foreign else []  # fmt: skip
    for key in _COUNTS:
        number, most = arguments.get(key, 1), _MOST_RETRIES if key == "max_retries" else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1 or (most and number > most):
            problems.append(f"{flag}: {key}: expected a whole number of at least 1{f' and at most {most}' if most else ''}.")  # fmt: skip
    return problems
