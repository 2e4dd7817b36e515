"""One call to a model, and the key under which its response is kept."""

from __future__ import annotations

import json
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.tasks.guarded import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable

GENERATION, LOGLIKELIHOOD, ROLLING = "generate_until", "loglikelihood", "loglikelihood_rolling"
DISTRIBUTIONS = (
    "distributions"  # what a baseline keeps of the original on a window, for a pruned model's divergence from it
)
FAST = "fast"  # the default backend: lm-eval's transformers backend, with this package's engine
TRANSFORMERS = frozenset({FAST, "hf"})
"""The backends that load a checkpoint with transformers."""
WINDOW = "window"  # this package's own kind: the log-likelihood of a window of tokens, each given those before it


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request in lm-eval's terms, or a window of tokens.

    `continuation` is a log-likelihood's, `gen_kwargs` are generation arguments (as canonical JSON, so that a request
    cannot change), `tokens` a window's ids; a rolling log-likelihood has none of them. `repeat` numbers the answers where
    a task asks the same thing several times.
    """

    kind: str
    context: str = ""
    continuation: str | None = None
    gen_kwargs: str | None = None
    tokens: tuple[int, ...] | None = None
    repeat: int = 0

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments as lm-eval's model classes take them."""
        if self.gen_kwargs is not None:
            return (self.context, json.loads(self.gen_kwargs))
        return (self.context,) if self.continuation is None else (self.context, self.continuation)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Whatever else changes an answer, besides the model's fingerprint and the request.

    `arguments` are the side's model_args that may change one, as canonical JSON; `tokenizer` is the digest of one that is
    not the model's own.
    """

    backend: str
    dtype: str
    max_length: int
    max_gen_toks: int
    lm_eval: str
    arguments: str = "{}"
    tokenizer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a request has no response: what the model raised on it, twice."""

    reason: str
    traceback: str


def failure_of(error: Exception) -> Failure:
    """A failure with what was raised."""
    return Failure(reason=reason_of(error), traceback="".join(traceback.format_exception(error)))


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def request_keys(
    requests: Iterable[Request], conditions: Conditions, *, task_version: str | None = None
) -> dict[Request, str]:
    """Content addresses of requests under their conditions: 32 hexadecimal digits each (xxh3_128).

    Args:
        requests: what is asked.
        conditions: of the model that is asked.
        task_version: of a task of the user's own; that of lm-eval's tasks goes with lm-eval's, which is a condition.
    """
    start = xxhash.xxh3_128(canonical_json(asdict(conditions)).encode())
    if task_version is not None:
        start.update(canonical_json(["task version", task_version]).encode())
    found = {}
    for request in requests:
        digest = start.copy()
        parts = [request.kind, request.context, request.continuation, request.gen_kwargs, request.repeat, request.tokens]  # fmt: skip
        digest.update(canonical_json(parts).encode())
        found[request] = digest.hexdigest()
    return found
