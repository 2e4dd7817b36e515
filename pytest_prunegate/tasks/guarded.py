"""Runs foreign code quietly, and turns what it raises into a message with its reason."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import logging.handlers
import random
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_prunegate.errors import PrunegateError, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_prunegate.input.model_argument import Side


_T = TypeVar("_T")
_LONGEST_REASON = 500  # characters of a message; some list every weight of a model


_CLIENTS = ("httpx", "httpx2", "requests", "urllib3", "huggingface_hub")
HUB_REMEDY = (
    "Without a network: `python -m pytest_prunegate fetch` downloads on a machine that has one; `python -m pytest_prunegate thresholds --local DIR` "
    "writes a thresholds file for data that lies in a folder here."
)


def guarded(step: Callable[[], _T], message: str, remedy: Callable[[Exception], str] = lambda _: "") -> _T:
    """Run a step; ``{reason}`` in the message becomes what went wrong, and what the remedy makes of it follows.

    Raises:
        TaskError: the step raised something of its own.
    """
    try:
        with quiet(), _compiled_templates_kept():
            return step()
    except PrunegateError:
        raise
    except Exception as error:  # tasks are foreign code, and hub errors share no base
        raise TaskError(f"{message.replace('{reason}', reason_of(error))} {remedy(error)}".rstrip()) from error


def reason_of(error: BaseException) -> str:
    """An exception in a sentence: its whole message, and the exception at the start of the chain that caused it."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:  # `raise error from error` makes a circle
        chain.append(cause)
    return _sentence(error) if len(chain) == 1 else f"{_sentence(error)} (caused by {_sentence(chain[-1])})"


def causes(error: BaseException | None) -> Iterator[Exception]:
    """An error and those that led to it, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if not isinstance(found, Exception) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [
            found.__cause__ or found.__context__,
            *(found.exceptions if isinstance(found, ExceptionGroup) else ()),
        ]


def is_of_a_client(error: BaseException) -> bool:
    """Whether an error comes from one of the libraries that speak to hubs and servers."""
    return type(error).__module__.partition(".")[0] in _CLIENTS


def is_of_the_hub(error: Exception) -> bool:
    """Whether it broke because a hub was not reached, or does not have what it was asked for."""
    return any(
        isinstance(one, ConnectionError) or is_of_a_client(one) or type(one).__name__ == "DatasetNotFoundError"
        for one in causes(error)
    )


def _sentence(error: BaseException) -> str:
    """Type and message in one line; where the exception has no message, what was run when it was raised."""
    told = " ".join(str(error).split()).rstrip(".")
    if len(told) > _LONGEST_REASON:
        told = f"{told[:_LONGEST_REASON].rsplit(' ', 1)[0]} ..."
    if told or error.__traceback__ is None:
        return f"{type(error).__name__}: {told or 'no reason given'}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}: {frame.line}"


def needs_trust(side: Side, error: Exception) -> str:
    """What to do where a model or tokenizer was not loaded because its own code would run; empty for any other error."""
    if "trust_remote_code" in str(error):
        return (
            "it comes with Python code of its own, which is not run unless you trust it: add --prunegate-trust=remote-code and "
            f"--prunegate-{side}-args=trust_remote_code=true."
        )
    if "weights_only" in str(error) or "Unpickl" in type(error).__name__:
        return (
            "its weights are pickled, and hold more than tensors, which could run code. If you trust who made the file, load it yourself and "
            "save the model as safetensors."
        )
    return ""


@contextlib.contextmanager
def seeded_as_lm_eval() -> Iterator[None]:
    """Some tasks shuffle with the global generators, which lm-eval seeds; the generators go on as they were afterwards."""
    import numpy as np

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator is what tasks use
    random.seed(0)
    np.random.seed(1234)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars of libraries off the screen; their log records still reach the log."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


@contextlib.contextmanager
def _compiled_templates_kept() -> Iterator[None]:
    """Render the templates of tasks in Jinja's sandbox, compiled once: lm-eval would compile them for each document and example."""
    from lm_eval import utils

    if "from_string" in vars(utils.env):  # a step inside of a step
        yield
        return
    utils.env.from_string = _compile(utils.env)
    try:
        yield
    finally:
        del utils.env.from_string


@functools.cache
def _compile(usual: Any) -> Callable[[str], Any]:
    """Compiles a template in a sandbox that is otherwise as the usual environment; what it compiled before, it knows."""
    from jinja2.sandbox import SandboxedEnvironment

    sandbox = SandboxedEnvironment(
        loader=usual.loader, undefined=usual.undefined, keep_trailing_newline=usual.keep_trailing_newline
    )
    sandbox.filters |= usual.filters
    return functools.lru_cache(maxsize=256)(sandbox.from_string)


@contextlib.contextmanager
def warnings_logged() -> Iterator[None]:
    """Log the warnings of foreign code: under ``-W error`` they would end a measurement that they do not concern."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            log = logging.getLogger("pytest_prunegate")
            for warning in caught:
                log.warning(
                    "%s:%s: %s: %s",
                    warning.filename,
                    warning.lineno,
                    warning.category.__name__,
                    warning.message,
                )
