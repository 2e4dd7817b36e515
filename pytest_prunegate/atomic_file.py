"""A file that is complete, or not there."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    temporary.chmod(0o644)  # temporary files are private; what a run writes is for everybody
    temporary.replace(path)
