"""Notices when pytest took a model's path for a test path.

pytest decides its rootdir before it knows a plugin's options. In ``pytest --original /models/A`` it sees a path, and may
move rootdir to the models and drop the configuration of the project it was called in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.flags import ALL

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# Files that pytest reads, in its order, each with what must stand in it to count (None: its mere presence).
_CONFIG_FILES = (
    ("pytest.toml", None), (".pytest.toml", None), ("pytest.ini", None), (".pytest.ini", None),
    ("pyproject.toml", "[tool.pytest"), ("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]"),
)  # fmt: skip


def refuse_moved_rootdir(config: pytest.Config) -> None:
    """Stop where the project's own configuration was lost to a model's path.

    Raises:
        InputError: it was; the message says how to write the option.
    """
    arguments = [str(argument) for argument in config.invocation_params.args]
    bare = [option.flag for option in ALL if option.flag in arguments]
    expected = _nearest_config(config.invocation_params.dir)
    if not bare or expected is None or config.inipath == expected or _chosen_by_hand(arguments):
        return
    raise InputError(
        f"pytest took the path behind {' and '.join(bare)} for a test path, and with it {config.inipath or 'no configuration'} instead of "
        f"{expected}. Write the options with an equals sign: {' '.join(f'{flag}=...' for flag in bare)}."
    )


def _chosen_by_hand(arguments: list[str]) -> bool:
    return any(
        argument == "-c" or argument.startswith(("--rootdir", "--config-file", "--inifile")) for argument in arguments
    )


def _nearest_config(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        for name, needed in _CONFIG_FILES:
            path = place / name
            if path.is_file() and (needed is None or needed in path.read_text(encoding="utf-8", errors="replace")):
                return path
    return None
