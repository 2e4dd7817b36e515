"""``evaluation.log``: what a run does, with the records and warnings of the libraries under it, for ``tail -f``."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.atomic_file import opened_to_append
from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import plain

if TYPE_CHECKING:
    from io import TextIOWrapper


_MOST_KEPT = 100_000  # records of an opening; more than any makes
_LOGGERS = ("pytest_prunegate", "lm_eval", "transformers", "datasets", "huggingface_hub", "accelerate")


class _LogFile(logging.FileHandler):
    """A log file on a disk that may become full: a run does not end for its log's sake. It is its owner's alone, and no link."""

    problem: str | None = None

    def _open(self) -> TextIOWrapper:
        return os.fdopen(opened_to_append(Path(self.baseFilename)), "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Remember that a record could not be written, instead of a traceback for each."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.problem = str(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what was not written by then is lost."""
        try:
            super().close()
        except OSError as error:
            self.problem = str(error)


class EvaluationLog:
    """Takes the libraries' log records while it is open, and keeps them until it is told where to write them."""

    def __init__(self) -> None:
        self._waiting = logging.handlers.MemoryHandler(_MOST_KEPT, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
        self._handler: logging.Handler = self._waiting
        self._before: list[tuple[logging.Logger, int, bool, list[logging.Handler]]] = []
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._before.append((logger, logger.level, logger.propagate, logger.handlers))
            logger.handlers = [self._handler]  # a library's own would write on the screen
            logger.setLevel(logging.INFO)
            logger.propagate = False

    def write_to(self, folder: Path) -> None:
        """Write what came so far, and all that comes, to the log of a folder.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = _LogFile(folder / "evaluation.log", encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"{folder}: results cannot be written there: {error.strerror}. Name another folder with --prunegate-output."
            ) from error
        self._handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._waiting.setTarget(self._handler)
        self._waiting.flush()
        self._waiting.close()
        for logger, *_ in self._before:
            logger.handlers = [self._handler]

    def write(self, text: str) -> None:
        """Add a line of the gate's own."""
        logging.getLogger("pytest_prunegate").info("%s", text)

    def close(self) -> None:
        """Close the file, and leave the loggers as they were."""
        for logger, level, propagate, handlers in self._before:
            logger.handlers = handlers
            logger.setLevel(level)
            logger.propagate = propagate
        self._handler.close()

    @property
    def problem(self) -> str | None:
        """Why the file lacks records; None where it is whole."""
        return self._handler.problem if isinstance(self._handler, _LogFile) else None


class _PlainFormatter(logging.Formatter):
    """Libraries log what models wrote and what files hold."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))
