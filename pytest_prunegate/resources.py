"""Finds what the package ships, and which versions of others are installed beside it."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """Path of a shipped file or folder.

    A wheel carries them inside the package; in a checkout (and so in an editable install) they
    lie one level up, at the top of the project.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (_PACKAGE, _PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{name} is missing from the installation of pytest-prunegate in {_PACKAGE}")


@cache
def installed_version(package: str) -> str:
    """Version of an installed package; to look one up takes as long as to read a small store, and it stays as it is."""
    return importlib.metadata.version(package)
