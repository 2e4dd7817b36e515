"""Finds the files that ship beside the code: ``templates/`` and ``thresholds.yaml``."""

from __future__ import annotations

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
