"""Downloads what a run needs, for a machine without a network: models, data sets, and nothing that a run would not load."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError, Problems
from pytest_prunegate.execution.devices import prepare_environment
from pytest_prunegate.gate.estimates import download_estimate, refuse_full_disk, refuse_unwritable
from pytest_prunegate.gate.run_input import TasksAsked, read_tasks
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.plain import size_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_prunegate.input.model_argument import ModelArgument, Side
    from pytest_prunegate.tasks.checks import GateTask

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
_CHECK = "--check"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be fetched: models as the user wrote them, each with its side, and tasks, if any."""

    models: tuple[tuple[Side, str], ...]
    peft_base: str | None
    tasks: TasksAsked | None
    cache_dir: Path | None
    cwd: Path
    thresholds: str | None
    """As the user wrote it, for the command that is printed."""


def fetch(wanted: Wanted, tell: Callable[[str], None]) -> None:
    """Download everything, see that it is there without a network, and say how a run uses it.

    Args:
        wanted: what is to be fetched.
        tell: takes each line for the user.

    Raises:
        InputError: with everything that could not be fetched; the rest is there.
    """
    prepare_environment(wanted.cache_dir)
    problems = Problems()
    models = _models(wanted, problems)
    with problems.collected():
        refuse_unwritable(wanted.cache_dir, "--cache-dir", "downloads")
        _refuse_full_disk(models, wanted)
    problems.raise_any()  # nothing is begun that cannot end
    _load_all(models, wanted, problems, tell)
    problems.raise_any()
    _check_offline(wanted)
    tell("Without a network: " + command(wanted))


def check(wanted: Wanted, tell: Callable[[str], None]) -> None:
    """See that everything is there, without a network.

    Raises:
        InputError: with everything that is not.
    """
    os.environ.update(_OFFLINE)  # the libraries read it when they are imported
    prepare_environment(wanted.cache_dir)
    problems = Problems()
    _load_all(_models(wanted, problems), wanted, problems, tell)
    problems.raise_any()


def command(wanted: Wanted) -> str:
    """The command of a run on what was fetched."""
    given: dict[str, str | None] = {"--prunegate-peft-base": wanted.peft_base, "--thresholds": wanted.thresholds}
    if wanted.tasks:
        given |= {
            "--prunegate-tasks": ",".join(wanted.tasks.only),
            "--prunegate-include-path": _text(wanted.tasks.include_path),
        }
    given["--prunegate-cache-dir"] = _text(wanted.cache_dir)
    words = [*_model_words(wanted), *(f"{flag}={value}" for flag, value in given.items() if value)]
    return shlex.join(["HF_HUB_OFFLINE=1", "pytest", *words])


def _models(wanted: Wanted, problems: Problems) -> list[ModelArgument]:
    found = []
    for side, written in wanted.models:
        with problems.collected():
            base = wanted.peft_base if side == "pruned" else None
            found.append(parse_model(side, written, wanted.cwd, peft_base=base))
    return found


def _refuse_full_disk(models: list[ModelArgument], wanted: Wanted) -> None:
    from pytest_prunegate.checkpoint.location import hub_cache

    refuse_full_disk(hub_cache(wanted.cache_dir), download_estimate(models, wanted.cache_dir), "--cache-dir")


def _load_all(models: list[ModelArgument], wanted: Wanted, problems: Problems, tell: Callable[[str], None]) -> None:
    for model in models:
        with problems.collected():
            tell(_load_model(model, wanted))
    tasks: tuple[GateTask, ...] = ()
    if wanted.tasks:
        with problems.collected():
            tasks = read_tasks(wanted.tasks)[1]
    for task in tasks:
        for part in task.parts if task.selected else ():
            with problems.collected():
                tell(_load_task(part))


def _load_model(model: ModelArgument, wanted: Wanted) -> str:
    from pytest_prunegate.checkpoint.facts import read_facts
    from pytest_prunegate.checkpoint.location import locate

    facts = read_facts(locate(model, cache_dir=wanted.cache_dir))
    commit = f", commit {facts.revision}" if facts.revision else ""
    return f"{model.where}: {size_text(facts.size)}{commit}, fingerprint {facts.fingerprint[:12]}, in {facts.folder}"


def _load_task(part: GateTask) -> str:
    size = part.asking_kind.load_data(part)
    return f"{part.key}: {'data' if size is None else size_text(size) + ' of data'}"


def _check_offline(wanted: Wanted) -> None:
    """Load everything once more in a process of its own: the libraries settle at their import whether they are offline."""
    again = [sys.executable, "-m", "pytest_prunegate", *arguments(wanted), _CHECK]
    done = subprocess.run(again, env=os.environ | _OFFLINE, cwd=wanted.cwd, capture_output=True, text=True, check=False)  # noqa: S603 - this package
    if done.returncode:
        raise InputError(f"it was fetched, but is not there without a network:\n{done.stderr.strip()}")


def arguments(wanted: Wanted) -> list[str]:
    """The words of this command that ask for the same."""
    given: dict[str, str | None] = {
        "--peft-base": wanted.peft_base,
        "--thresholds": wanted.thresholds,
        "--cache-dir": _text(wanted.cache_dir),
    }
    if wanted.tasks:
        given |= {"--tasks": ",".join(wanted.tasks.only), "--include-path": _text(wanted.tasks.include_path)}
    return ["fetch", *_model_words(wanted), *(f"{flag}={value}" for flag, value in given.items() if value)]


def _model_words(wanted: Wanted) -> list[str]:
    return [f"--{side}={written}" for side, written in wanted.models]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
