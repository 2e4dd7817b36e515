"""One call to a model, and the key under which its response is kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request in lm-eval's terms.

    Exactly one of `continuation` (log-likelihood) and `gen_kwargs` (generation arguments, as canonical JSON so that a
    request cannot change) is given; `repeat` numbers the answers where a task asks the same thing several times.
    """

    kind: str
    context: str
    continuation: str | None = None
    gen_kwargs: str | None = None
    repeat: int = 0

    @property
    def arguments(self) -> tuple[str, Any]:
        """The arguments as lm-eval's model classes take them."""
        return (self.context, self.continuation if self.gen_kwargs is None else json.loads(self.gen_kwargs))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Whatever else changes an answer, besides the model's fingerprint and the request."""

    backend: str
    dtype: str
    max_length: int
    max_gen_toks: int
    lm_eval: str


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def request_keys(requests: Iterable[Request], conditions: Conditions) -> dict[Request, str]:
    """Content addresses of requests under their conditions: 32 hexadecimal digits each (xxh3_128)."""
    start = xxhash.xxh3_128(canonical_json(asdict(conditions)).encode())
    found = {}
    for request in requests:
        digest = start.copy()
        digest.update(
            canonical_json(
                [request.kind, request.context, request.continuation, request.gen_kwargs, request.repeat]
            ).encode()
        )
        found[request] = digest.hexdigest()
    return found
