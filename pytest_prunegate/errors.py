"""Errors whose message is written for the user and shown without a traceback.

PrunegateError
├── InputError        what the user wrote is wrong: options, paths, thresholds.yaml (usage error, exit code 4)
└── EvaluationError   measuring broke: the items that need it end as ERROR, never as FAILED
    ├── ModelError    a model cannot be loaded, or gives numbers that are not numbers
    │   └── ResponseError  it gives one for a single request; the others are not concerned
    ├── TaskError     a task or its data cannot be built, does not fit, or cannot be scored
    ├── StoreError    responses cannot be kept
    └── FixtureError  a test asks the fixture for what its mark does not declare
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_prunegate.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator


class PrunegateError(Exception):
    """Base of all errors that this package raises on purpose; its message is inert, whatever library or file it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(message))


class InputError(PrunegateError):
    """What the user wrote is wrong; the message says where, the rule, and what to write instead."""


class EvaluationError(PrunegateError):
    """Measuring broke: no verdict on the model follows from it."""


class ModelError(EvaluationError):
    """A model cannot be loaded or run."""


class ResponseError(ModelError):
    """A response that is none: it is not kept."""


class TaskError(EvaluationError):
    """A task cannot be built, executed as asked, or scored."""


class StoreError(EvaluationError):
    """The store of responses cannot be opened or written."""


class FixtureError(EvaluationError):
    """A test uses the prunegate fixture in a way that its mark does not declare."""


class Problems:
    """Errors that are told together, each message once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Keep the error that ends this step, and go on behind it."""
        try:
            yield
        except PrunegateError as error:
            self.found.append(str(error))

    def raise_any(self) -> None:
        """End here if there are any.

        Raises:
            InputError: with all of them.
        """
        if self.found:
            raise InputError("\n".join(dict.fromkeys(self.found)))
