"""Asks an OpenAI-compatible server, and says what to do where it does not answer."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pytest_prunegate.errors import ModelError, ResponseError

API_KEY = "OPENAI_API_KEY"  # the variable that lm-eval reads
TIMEOUT, ATTEMPTS = 300, 3  # seconds for an answer, and how often it is asked for: lm-eval's own
_LONGEST_WAIT = 10  # seconds between two attempts
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
        except ValueError as error:
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
