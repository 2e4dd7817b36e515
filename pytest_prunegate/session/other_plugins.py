"""What other plugins and pytest itself would do to a gate's run: shuffle, end or repeat tests, take a model's path for a test path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from _pytest.runner import pytest_runtest_protocol

from pytest_prunegate.errors import InputError
from pytest_prunegate.flags import ALL, BASELINE_ONLY, ORIGINAL, PRUNED
from pytest_prunegate.session.collection import CheckItem, asks_the_gate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


STANDING = "prunegate_standing"
"""The key under which a worker of pytest-xdist is told what its own command line does not show."""
# Files that pytest reads, in its order, each with what must stand in it to count (None: its mere presence).
_CONFIG_FILES = (
    ("pytest.toml", None), (".pytest.toml", None), ("pytest.ini", None), (".pytest.ini", None),
    ("pyproject.toml", "[tool.pytest"), ("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]"),
)  # fmt: skip


def restore_order(items: list[pytest.Item], ordered: Sequence[pytest.Item]) -> None:
    """Put checks into their own order, candidate by candidate as in the file; everything else stays where it is.

    Each further candidate then costs one loading of a model: the original has answered for the first.

    Args:
        items: all selected items, changed in place.
        ordered: the checks, selected or not.
    """
    place = {item: number for number, item in enumerate(ordered)}
    slots = [number for number, item in enumerate(items) if item in place]
    for slot, item in zip(slots, sorted((items[slot] for slot in slots), key=place.__getitem__), strict=True):
        items[slot] = item


def spare_timeouts(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Measure without the limits of pytest-timeout, which are for tests.

    The marks are given after selection, so that ``-m "not timeout"`` does not deselect a check. A test that uses the fixture
    keeps the limit for its own body, unless it has one of its own.
    """
    if not any(map(config.pluginmanager.hasplugin, ("timeout", "pytest_timeout"))):
        return
    for item in filter(asks_the_gate, items):
        if isinstance(item, CheckItem):
            item.add_marker(pytest.mark.timeout(0), append=False)
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))


def run_once(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a check as pytest alone does: plugins that repeat what failed would repeat its verdict, or hide a crash.

    Returns:
        True, or None where the item is no check, and anybody may run it.
    """
    return pytest_runtest_protocol(item, nextitem) if isinstance(item, CheckItem) else None


def is_standing(config: pytest.Config) -> bool:
    """Whether the models stand in addopts, and not on this command line: then it may as well be a run of other tests."""
    if hasattr(config, "workerinput"):
        return bool(config.workerinput[STANDING])
    flags = [argument.partition("=")[0] for argument in map(str, config.invocation_params.args)]
    return not {ORIGINAL.flag, PRUNED.flag, BASELINE_ONLY.flag} & set(flags)


def is_shard(config: pytest.Config) -> bool:
    """Whether pytest-split or pytest-shard gives this process a part of the tests."""
    return any((config.getoption(option, None) or 1) > 1 for option in ("splits", "num_shards"))


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
