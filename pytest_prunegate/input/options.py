"""Command line and ini file -> one frozen Options."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pytest_prunegate import flags
from pytest_prunegate.errors import InputError
from pytest_prunegate.input.model_argument import DTYPES, ModelArgument, Side
from pytest_prunegate.input.option_reader import OptionReader
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    from pytest_prunegate.flags import Flag
    from pytest_prunegate.input.thresholds import TaskOptions

BUILT_IN = {"default": "thresholds.yaml", "quick": "thresholds_quick.yaml"}
"""Thresholds files that ship with the package, by the name that takes the place of a file's."""


class Require(StrEnum):
    """How many of several candidates have to pass all of their checks for exit code 0."""

    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything a run was asked for. Paths are absolute. `pruned` is None where the baseline alone is measured.

    `candidates` are all pruned models of the run, `pruned` is the one that these options are about.
    """

    original: ModelArgument
    pruned: ModelArgument | None
    candidates: tuple[ModelArgument, ...]
    masks: tuple[ModelArgument, ...]
    """Models right after pruning, whose zeros are compared; of several candidates each under a candidate's name."""
    require: Require
    """How many of several candidates have to pass."""
    thresholds: Path | None
    tasks: tuple[str, ...]
    include_path: Path | None
    for_tasks: TaskOptions
    seed: int
    batch_size: str
    device: str
    dtype: str
    backend: str
    cache_dir: Path | None
    output: Path
    store: Path
    record: bool
    """Whether it measures and reports without judging."""
    noise_floor: bool
    """Whether the original is asked twice."""
    time_budget: int | None
    """Seconds after which the run ends with the batch in hand."""
    answers: bool
    """Whether all answers are written, the unchanged ones too."""
    templates: tuple[Path, ...]
    """The user's own, rendered beside the reports."""
    preflight: bool
    """Whether it only sees that a run could go through."""
    given: tuple[str, ...]
    """The gate's part of the command line, ready to be repeated: ``--original=A``, ``--prunegate-limit=50``."""

    @property
    def models(self) -> dict[Side, ModelArgument]:
        """The models of the run by side, the original first."""
        original: dict[Side, ModelArgument] = {"original": self.original}
        return original | ({"pruned": self.pruned} if self.pruned else {})

    @property
    def candidate(self) -> str | None:
        """The name of the pruned model where it is one of several, which files and lines carry; None where it is the only one."""
        return self.pruned.name if self.pruned and len(self.candidates) > 1 else None

    @property
    def mask_from(self) -> ModelArgument | None:
        """The model whose zeros the pruned model's are compared with; None where none was named."""
        return next((one for one in self.masks if self.candidate is None or one.name == self.candidate), None)

    def by_candidate(self) -> tuple[Options, ...]:
        """These options for each candidate; once where the baseline alone is measured."""
        return tuple(replace(self, pruned=one) for one in self.candidates) or (self,)


def read_options(config: pytest.Config, *, parse_arguments: Callable[[str], Mapping[str, Any]]) -> Options:
    """All options of this run.

    Args:
        config: pytest's.
        parse_arguments: reads lm-eval's syntax of arguments (``key=value,key=value``); raises ValueError.

    Raises:
        InputError: with every mistake among them.
    """
    reader = OptionReader(config, parse_arguments)
    baseline_only = bool(config.getoption(flags.BASELINE_ONLY.dest))
    original = reader.original(alone=baseline_only)
    candidates = () if baseline_only else reader.candidates()
    masks = reader.masks(candidates)
    if baseline_only:
        reader.refuse_beside_baseline()
    thresholds = reader.text(flags.THRESHOLDS)
    seed = reader.integer(flags.SEED, least=0)
    batch_size, dtype = reader.batch_size(), reader.choice(flags.DTYPE, DTYPES)
    output, store = reader.folder(flags.OUTPUT), reader.folder(flags.STORE)
    cache_dir, include_path = reader.folder(flags.CACHE), reader.folder(flags.INCLUDE)
    if include_path and not include_path.is_dir():
        reader.mistakes.append(f"{flags.INCLUDE.flag}={include_path}: there is no such folder.")
    for_tasks = reader.for_tasks()
    record, noise_floor = (bool(config.getoption(flag.dest)) for flag in (flags.RECORD, flags.NOISE_FLOOR))
    time_budget, require = reader.duration(flags.TIME_BUDGET), reader.choice(flags.REQUIRE, tuple(Require))
    device, backend = reader.text(flags.DEVICE) or "auto", reader.text(flags.BACKEND) or "fast"
    templates = () if baseline_only else reader.files(flags.TEMPLATE)
    thresholds_path = _thresholds_path(thresholds, reader)
    reader.check_junit_place()
    if reader.mistakes or original is None or output is None or store is None:
        raise InputError("\n".join(dict.fromkeys(reader.mistakes)))
    return Options(
        original=original, pruned=next(iter(candidates), None), candidates=candidates, masks=masks,
        require=Require(require),
        thresholds=thresholds_path, tasks=reader.names(flags.TASKS),
        include_path=include_path, for_tasks=for_tasks, seed=flags.DEFAULT_SEED if seed is None else seed, batch_size=batch_size,
        device=device, dtype=dtype, backend=backend, cache_dir=cache_dir,
        output=output, store=store, record=record, noise_floor=noise_floor, time_budget=time_budget,
        preflight=bool(config.getoption(flags.PREFLIGHT.dest)), answers=bool(config.getoption(flags.ANSWERS.dest)), templates=templates,
        given=tuple(word for flag in flags.ALL for word in _as_given(flag, config)),
    )  # fmt: skip


def _as_given(flag: Flag, config: pytest.Config) -> list[str]:
    value = config.getoption(flag.dest)
    if not value:
        return []
    if flag.metavar is None:
        return [flag.flag]
    return [f"{flag.flag}={one}" for one in (value if flag in flags.SEVERAL else [value])]


def _thresholds_path(written: str | None, reader: OptionReader) -> Path | None:
    """The file to read: the one of the option, else one among the paths, else the one here; None where the run has to do with the built-in one."""
    if written is not None:
        return built_in_path(written) or reader.resolve(flags.THRESHOLDS, written)
    named, usual = reader.thresholds_among_paths(), reader.invocation_dir / "thresholds.yaml"
    return named or (usual if usual.is_file() else None)


def built_in_path(name: str | None) -> Path | None:
    """The file that ships with the package under a name; None where there is no such name."""
    return resource_path(BUILT_IN[name]) if name in BUILT_IN else None
