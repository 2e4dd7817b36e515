"""A file that is complete, or not there."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_PRIVATE = 0o600


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into, which takes its place when the block ends; where the block raises, nothing of it stays.

    Raises:
        OSError: it cannot be written.
    """
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            yield file
            file.flush()
        except BaseException:  # a full disk, or a second Ctrl-C: a half file would only take room
            temporary.unlink()
            raise
    temporary.chmod(_mode_of(path))  # answers are nobody's business but their owner's, and those whom he lets
    temporary.replace(path)


def _mode_of(path: Path) -> int:
    """The permissions of the file that is there; of a new one, and in place of a link, its owner's alone."""
    try:
        return _PRIVATE if path.is_symlink() else stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return _PRIVATE


def opened_to_append(path: Path) -> int:
    """A descriptor at the end of a file, which is made for its owner alone where it is not there. A link is not followed.

    Raises:
        OSError: it is a link, or cannot be written.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), _PRIVATE)
    except OSError as error:
        if path.is_symlink():
            raise OSError(
                error.errno, f"it is a symbolic link, to {path.readlink()}, and is not followed: remove it"
            ) from error
        raise


def remove_left_behind(path: Path) -> None:
    """Remove what a run left that was killed while it wrote a file."""
    for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left_behind.unlink(missing_ok=True)
