"""Folders that a run writes to: whether they can be written, and how much room there is. Leaves no trace in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import size_text

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.gate.estimates import Estimate

_WRITTEN = bytes(4096)  # one block: a full disk takes an empty file


def refuse_unwritable(folder: Path | None, flag: str, what: str) -> None:
    """Write into a folder, and take everything away again, folders that were made for it too.

    Args:
        folder: need not exist; None is never written to.
        flag: the option that names it, for the message.
        what: is to be written, for the message.

    Raises:
        InputError: it cannot be written.
    """
    if folder is None:
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_WRITTEN)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"{flag}={folder}: {what} cannot be written there: {error.strerror or error}. Name another folder with {flag}."
        ) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it was not made, or another run writes there already
                path.rmdir()


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def refuse_full_disk(folder: Path, wanted: Estimate, where: str) -> None:
    """See that a disk has room.

    Raises:
        InputError: it does not.
    """
    free = free_disk(folder)
    if wanted.size > free:
        raise InputError(
            f"{where}: about {size_text(wanted.size)} are needed there ({wanted.basis}), and {size_text(free)} are free. "
            "Make room, or name another folder."
        )
