"""Command line and ini file -> one frozen Options."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.flags import (
    ALL,
    BATCH,
    CACHE,
    DEFAULT_SEED,
    DEVICE,
    DTYPE,
    LIMIT,
    ORIGINAL,
    OUTPUT,
    PRUNED,
    SEED,
    STORE,
    TASKS,
    THRESHOLDS,
    Flag,
)

if TYPE_CHECKING:
    import pytest

_MAX_DIGITS = 9  # more documents than any data set has
_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.+-]*)=(?P<path>.+)", re.DOTALL)
_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
BUILT_IN = "default"


@dataclass(frozen=True, kw_only=True)
class ModelArgument:
    """A model as the user wrote it: ``path``, ``hub/id``, ``hub/id@revision``, each with ``NAME=`` before it if wanted."""

    side: str
    written: str
    name: str | None
    value: str
    revision: str | None
    folder: Path | None
    """The local directory; None for a hub id."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything a run was asked for. Paths are absolute."""

    original: ModelArgument
    pruned: ModelArgument
    thresholds: Path | None
    tasks: tuple[str, ...]
    limit: int | None
    seed: int
    batch_size: str
    device: str
    dtype: str
    cache_dir: Path | None
    output: Path
    store: Path
    given: tuple[str, ...]
    """The gate's part of the command line, ready to be repeated: ``--original=A``, ``--prunegate-limit=50``."""


def read_options(config: pytest.Config) -> Options:
    """All options of this run.

    Raises:
        InputError: with every mistake among them.
    """
    reader = _Reader(config)
    original, pruned = reader.model(ORIGINAL), reader.model(PRUNED)
    thresholds = reader.text(THRESHOLDS)
    limit = reader.integer(LIMIT, least=1)
    seed = reader.integer(SEED, least=0)
    batch_size, dtype = reader.batch_size(), reader.choice(DTYPE, _DTYPES)
    tasks = tuple(name.strip() for name in (reader.text(TASKS) or "").split(",") if name.strip())
    output, store = reader.folder(OUTPUT), reader.folder(STORE)
    cache_dir = reader.folder(CACHE)
    if reader.mistakes or original is None or pruned is None or output is None or store is None:
        raise InputError("\n".join(reader.mistakes))
    return Options(
        original=original, pruned=pruned, thresholds=_thresholds_path(thresholds, reader), tasks=tasks, limit=limit,
        seed=DEFAULT_SEED if seed is None else seed, batch_size=batch_size, device=reader.text(DEVICE) or "auto",
        dtype=dtype, cache_dir=cache_dir, output=output, store=store,
        given=tuple(f"{flag.flag}={config.getoption(flag.dest)}" for flag in ALL if config.getoption(flag.dest)),
    )  # fmt: skip


def _thresholds_path(written: str | None, reader: _Reader) -> Path | None:
    """The file to read; None where the run has to do with the built-in one."""
    if written == BUILT_IN:
        from pytest_prunegate.resources import resource_path

        return resource_path("thresholds.yaml")
    if written is not None:
        return reader.resolve(THRESHOLDS, written)
    usual = reader.invocation_dir / "thresholds.yaml"
    return usual if usual.is_file() else None


class _Reader:
    """Reads options one by one, and collects what is wrong with them."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.invocation_dir = config.invocation_params.dir
        self.mistakes: list[str] = []

    def text(self, option: Flag) -> str | None:
        given: str | None = self._config.getoption(option.dest)
        if given is None and option.ini:
            given = self._config.getini(option.ini) or None
        return option.default if given is None else given

    def resolve(self, option: Flag, written: str) -> Path:
        """Absolute path: a command line's from where pytest was called, an ini file's from its own folder."""
        from_ini = self._config.getoption(option.dest) is None and option.ini and self._config.getini(option.ini)
        base = self._config.inipath.parent if from_ini and self._config.inipath else self.invocation_dir
        return Path(os.path.abspath(base / os.path.expanduser(written)))  # noqa: PTH100, PTH111 - symlinks stay, `..` goes: as pytest does

    def folder(self, option: Flag) -> Path | None:
        written = self.text(option)
        if written is None:
            return None
        path = self.resolve(option, written)
        if path.exists() and not path.is_dir():
            self.mistakes.append(f"{option.flag}={written}: this is a file; a folder is needed.")
        return path

    def integer(self, option: Flag, *, least: int) -> int | None:
        written = self.text(option)
        if written is None:
            return None
        if not written.strip().isdecimal() or len(written) > _MAX_DIGITS or int(written) < least:
            self.mistakes.append(f"{option.flag}={written}: expected a whole number of at least {least}.")
            return None
        return int(written)

    def choice(self, option: Flag, choices: tuple[str, ...]) -> str:
        written = self.text(option) or choices[0]
        if written not in choices:
            self.mistakes.append(f"{option.flag}={written}: expected one of {', '.join(choices)}.")
        return written

    def batch_size(self) -> str:
        written = self.text(BATCH) or "1"
        if not re.fullmatch(r"[1-9][0-9]*|auto(:[1-9][0-9]*)?", written):
            self.mistakes.append(f"{BATCH.flag}={written}: expected a whole number of at least 1, auto or auto:N.")
        return written

    def model(self, option: Flag) -> ModelArgument | None:
        written = self._config.getoption(option.dest)
        if not written:
            other = PRUNED if option is ORIGINAL else ORIGINAL
            self.mistakes.append(
                f"{option.flag} is missing: {other.flag} alone has nothing to be compared with. Give both models."
            )
            return None
        try:
            return parse_model(option.flag.removeprefix("--"), written, self.invocation_dir)
        except InputError as error:
            self.mistakes.append(str(error))
            return None


def parse_model(side: str, written: str, base: Path) -> ModelArgument:
    """Read one model argument and look whether a local one can be a checkpoint.

    Args:
        side: original or pruned.
        written: what the user wrote.
        base: the directory that relative paths are taken from.

    Raises:
        InputError: there is no such directory, or no checkpoint in it.
    """
    name, value = None, written
    match = _NAME.fullmatch(written)
    if match and not (base / written).exists():
        name, value = match["name"], match["path"]
    folder = (base / os.path.expanduser(value)).absolute()  # noqa: PTH111 - an unknown ~user stays as it is
    if folder.exists():
        judge_folder(f"--{side}={written}", folder)
        return ModelArgument(side=side, written=written, name=name, value=value, revision=None, folder=folder)
    hub_id, _, revision = value.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", hub_id):
        raise InputError(f"--{side}={written}: there is no directory {folder}.")
    return ModelArgument(side=side, written=written, name=name, value=hub_id, revision=revision or None, folder=None)


def judge_folder(where: str, folder: Path) -> None:
    """See whether a folder can be a checkpoint.

    Args:
        where: the option as the user wrote it.
        folder: exists.

    Raises:
        InputError: it cannot.
    """
    if not folder.is_dir():
        raise InputError(f"{where}: this is a file; the directory of a checkpoint is needed.")
    if (folder / "adapter_config.json").is_file():  # beside a config.json, too, transformers would load it
        raise InputError(
            f"{where}: there is an adapter in this directory; those are not supported yet. Merge it into its base model."
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{where}: there is no config.json in this directory, so it is no checkpoint that transformers can load."
        )
