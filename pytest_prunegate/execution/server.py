"""Asks an OpenAI-compatible server, says what to do where it does not answer, and what it reports of its model."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import xxhash

from pytest_prunegate.checkpoint.facts import AS_SERVED, ModelFacts, ServedModel, tokenizer_source
from pytest_prunegate.checkpoint.location import tokenizer_folder
from pytest_prunegate.checkpoint.sparsity import Sparsity
from pytest_prunegate.errors import InputError, ModelError, ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_prunegate.input.model_argument import ModelArgument, Side


API_KEY = "OPENAI_API_KEY"  # the variable that lm-eval reads
TIMEOUT, ATTEMPTS = 300, 3  # seconds for an answer, and how often it is asked for: lm-eval's own
_LONGEST_WAIT = 10  # seconds between two attempts
_LENGTHS = ("max_model_len", "context_length", "max_context_length", "context_window", "n_ctx")
# Fields that change from day to day, or say who may ask, and not what is served.
_PASSING = re.compile(r"object|permissions?|created.*|.*_at|.*time.*|status|state|last_.*|loaded|tags|aliases")
_LISTED = 20  # models that a message names
_SHOWN = 300  # characters of what a server says
_OF_A_REQUEST = frozenset({400, 413, 422})  # what is asked cannot be answered; the next request may be
_TOO_MANY, _BROKEN = 429, 500
_ADVICE = {
    401: f"Set {API_KEY} in the environment to a key that it takes",
    403: f"Set {API_KEY} in the environment to a key that it takes",
    404: "It has nothing there: the address usually ends in /v1; or the model is no longer served",
    429: "It is asked too much: lower num_concurrent among the side's arguments",
}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key is not carried on to another address."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


class _Failure(Exception):  # noqa: N818 - never leaves this module
    """An attempt without an answer; `passes` says whether another one may have more luck, `of_request` that only this one is refused."""

    def __init__(self, message: str, *, passes: bool, of_request: bool = False) -> None:
        super().__init__(message)
        self.passes = passes
        self.of_request = of_request


@dataclass(frozen=True, kw_only=True)
class Client:
    """One server. `timeout` is in seconds, for the connection and for each part of an answer."""

    title: str
    url: str
    timeout: int = TIMEOUT
    attempts: int = ATTEMPTS
    _opener: urllib.request.OpenerDirector = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # What runs on this machine is not reached through a proxy.
        proxies = urllib.request.ProxyHandler({} if _is_local(self.url) else None)
        object.__setattr__(self, "_opener", urllib.request.build_opener(proxies, _NoRedirects))

    def get(self, path: str) -> Any:
        """What the server says at a path below its address.

        Raises:
            ModelError: it does not answer; the message says what to do.
        """
        return self._ask(path, None)

    def post(self, path: str, payload: dict[str, Any]) -> Any:
        """The server's answer to a request.

        Raises:
            ModelError: it does not answer, or refuses; the message says what to do.
        """
        return self._ask(path, json.dumps(payload).encode())

    def _ask(self, path: str, body: bytes | None) -> Any:
        for attempt in range(1, self.attempts + 1):
            try:
                return self._once(path, body)
            except _Failure as failure:
                if not failure.passes or attempt == self.attempts:
                    tried = f" (asked {attempt} times)" if attempt > 1 else ""
                    kind = ResponseError if failure.of_request else ModelError
                    raise kind(f"{self.title}: {self.url}/{path}: {failure}{tried}.") from failure
            time.sleep(min(2 ** (attempt - 1), _LONGEST_WAIT))
        raise AssertionError("at least one attempt")

    def _once(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(f"{self.url}/{path}", data=body, headers=_headers())  # noqa: S310 - checked where it was read
        try:
            with self._opener.open(request, timeout=self.timeout) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except TimeoutError as error:
            raise _Failure(f"no answer within {self.timeout} s. Raise timeout among the side's arguments", passes=True) from error  # fmt: skip
        except (OSError, http.client.HTTPException) as error:
            raise self._unreached(error) from error
        except (ValueError, RecursionError) as error:
            raise _Failure("the answer is no JSON. Is this the address of an OpenAI-compatible server?", passes=False) from error  # fmt: skip

    def _unreached(self, error: Exception) -> _Failure:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, TimeoutError):
            return _Failure(f"no connection within {self.timeout} s. Is the server running?", passes=True)
        said = _clean(str(reason) or type(reason).__name__)
        return _Failure(f"the server cannot be reached: {said}. Is it running, and the address right?", passes=True)


def _headers() -> dict[str, str]:
    key = os.environ.get(API_KEY)
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _refused(error: urllib.error.HTTPError) -> _Failure:
    try:
        said = _clean(error.read(10 * _SHOWN).decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        said = ""
    message = f"HTTP {error.code}: {said or error.reason}"
    advice = _ADVICE.get(error.code) or ("Look into the server's log" if error.code >= _BROKEN else "")
    passes = error.code == _TOO_MANY or error.code >= _BROKEN
    return _Failure(f"{message}. {advice}".removesuffix(". "), passes=passes, of_request=error.code in _OF_A_REQUEST)


def _clean(text: str) -> str:
    """A server's words on one line; the key is not repeated, whatever the server does with it."""
    key = os.environ.get(API_KEY)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    text = text.replace(key, "***") if key else text
    return (text[:_SHOWN] + "..." if len(text) > _SHOWN else text).rstrip(".")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def with_served(
    facts: Mapping[Side, ModelFacts], models: Mapping[Side, ModelArgument], *, cache_dir: Path | None
) -> dict[Side, ModelFacts]:
    """The facts of the models that are known, and those of served ones with them, in the models' order.

    Raises:
        InputError: it is not settled which of a server's models is meant, what encodes its prompts, or how much it takes.
        ModelError: a server does not answer.
    """
    served = {side: argument for side, argument in models.items() if argument.url and side not in facts}
    folders = {side: tokenizer_folder(argument, cache_dir) for side, argument in served.items()}
    lent = dict(facts)
    for named in (True, False):  # a side that names its tokenizer may lend it to one that does not
        for side, argument in served.items():
            if (folders[side] is not None) is named:
                lent[side] = _facts(argument, folders[side], next(iter(lent.values()), None))
    return {side: lent[side] for side in models if side in lent}


def client_of(facts: ModelFacts) -> Client:
    """The client that asks for a served model, as its arguments say."""
    assert facts.served is not None
    settings = {"timeout": facts.arguments.get("timeout"), "attempts": facts.arguments.get("max_retries")}
    return Client(title=facts.title, url=facts.served.url, **{key: value for key, value in settings.items() if value})


def _facts(argument: ModelArgument, folder: Path | None, lender: ModelFacts | None) -> ModelFacts:
    assert argument.url is not None
    if folder is None and lender is None:
        raise InputError(
            f"--prunegate-{argument.side}-args: name the served model's tokenizer, a directory or a hub id: tokenizer=DIR_OR_HUB_ID. A server "
            "does not give it, and prompts are measured and encoded with it."
        )
    title = f"{argument.side} model {argument.name}"
    entry = _entry(argument, Client(title=title, url=argument.url, attempts=1).get("models"))
    borrowed = folder is None and lender is not None
    source = lender.tokenizer if folder is None and lender is not None else tokenizer_source(folder) if folder else None
    assert source is not None
    return ModelFacts(
        side=argument.side, name=argument.name, path=argument.url, folder=source.folder, revision=None,
        fingerprint=_fingerprint(argument, entry), architecture=None, dtype=AS_SERVED,
        max_length=_max_length(argument, entry) - 1,  # the server generates a token behind whatever it scores
        parameters=None, size=None, sparsity=Sparsity(problem="a served model, whose weights are not here"), tokenizer=source,
        arguments={key: value for key, value in argument.arguments.items() if key != "max_length"} | {"model": entry["id"]},
        served=ServedModel(url=argument.url, model=entry["id"], lender=lender.side if borrowed and lender else None),
    )  # fmt: skip


def _entry(argument: ModelArgument, report: Any) -> dict[str, Any]:
    """What is reported of the model that is meant."""
    entries = report.get("data") if isinstance(report, dict) else None
    known = {str(entry["id"]): entry for entry in entries or () if isinstance(entry, dict) and entry.get("id")}
    if not known:
        raise ModelError(f"{argument.where}: {argument.url}/models lists no model. Is this the address of an OpenAI-compatible server?")  # fmt: skip
    flag, wanted = f"--prunegate-{argument.side}-args=model", argument.arguments.get("model")
    ids = ", ".join(list(known)[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    if wanted is not None and str(wanted) not in known:
        raise InputError(f"{flag}={wanted}: the server at {argument.url} does not list this model. It lists: {ids}.")
    if wanted is None and len(known) > 1:
        raise InputError(f"{argument.where}: this server lists {len(known)} models. Say which one with {flag}=ID: {ids}.")  # fmt: skip
    key = next(iter(known)) if wanted is None else str(wanted)
    return known[key] | {"id": key}


def _fingerprint(argument: ModelArgument, entry: dict[str, Any]) -> str:
    """Of the name and of what is served. The address is left out: a server that moves keeps its answers."""
    said = json.dumps(["served", argument.name, _telling(entry)], sort_keys=True, default=str)
    return xxhash.xxh3_128(said.encode()).hexdigest()


def _telling(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _telling(inner) for key, inner in value.items() if not _PASSING.fullmatch(str(key))}
    return value


def _max_length(argument: ModelArgument, entry: dict[str, Any]) -> int:
    """Tokens that fit, prompt and answer together."""
    meta = entry.get("meta")
    places = [entry, meta if isinstance(meta, dict) else {}]
    told = [place[key] for place in places for key in _LENGTHS if isinstance(place.get(key), int) and place[key] > 1]
    asked, flag = argument.arguments.get("max_length"), f"--prunegate-{argument.side}-args=max_length"
    if asked is None and not told:
        raise InputError(f"{argument.where}: the server does not report how many tokens it takes. Say it with {flag}=N.")  # fmt: skip
    if asked is not None and told and asked > told[0]:
        raise InputError(f"{flag}={asked}: the server takes {told[0]} tokens.")
    return int(told[0] if asked is None else asked)
