"""``python -m pytest_prunegate fetch``: downloads what a run needs, for a machine without a network.

Models, data sets, and nothing that a run would not load.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError, Problems
from pytest_prunegate.execution.devices import prepare_environment
from pytest_prunegate.gate.estimates import download_estimate, refuse_full_disk, refuse_unwritable
from pytest_prunegate.gate.run_input import TasksAsked, read_tasks
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.plain import size_text
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

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


def add_fetch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the sub-command."""
    text = "download models and data sets for a machine without a network"
    parser = commands.add_parser(
        "fetch", help=text, description=f"{text.capitalize()}. HF_ENDPOINT and HF_TOKEN are honoured."
    )
    parser.add_argument("--original", metavar="MODEL", help="a hub id or id@revision; a local model is only looked at")
    parser.add_argument(
        "--pruned", metavar="MODEL", action="append", default=[], help="likewise; more than once for several candidates"
    )
    parser.add_argument("--peft-base", metavar="MODEL", help="like --prunegate-peft-base")
    parser.add_argument(
        "--thresholds", metavar="FILE", help="fetch the data of its tasks (default: thresholds.yaml, if there is one)"
    )
    parser.add_argument("--tasks", metavar="NAMES", default="", help="like --prunegate-tasks")
    parser.add_argument("--include-path", metavar="DIR", help="like --prunegate-include-path")
    parser.add_argument("--cache-dir", metavar="DIR", help="what the run will have as --prunegate-cache-dir")
    parser.add_argument("--check", action="store_true", help="download nothing: see that everything is there")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> None:
    wanted = _wanted(given)
    if not wanted.models and not wanted.tasks:
        raise InputError("nothing to fetch: name a model with --original or --pruned, or tasks with --thresholds or --tasks.")  # fmt: skip
    if sys.stderr.isatty():  # somebody waits for gigabytes; a run of the gate keeps these bars off the screen
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    (check if given.check else fetch)(wanted, lambda line: print(line, flush=True))  # noqa: T201 - what the command is for


def _wanted(given: argparse.Namespace) -> Wanted:
    from pytest_prunegate.gate.run_input import TasksAsked
    from pytest_prunegate.input.options import BUILT_IN
    from pytest_prunegate.input.thresholds import TaskOptions

    cwd = Path.cwd()
    cache_dir, include_path = (_absolute(path, cwd) for path in (given.cache_dir, given.include_path))
    if include_path and not include_path.is_dir():
        raise InputError(f"--include-path={given.include_path}: there is no such folder.")
    only = tuple(name.strip() for name in given.tasks.split(",") if name.strip())
    usual = cwd / "thresholds.yaml"
    path = resource_path("thresholds.yaml") if given.thresholds == BUILT_IN else _absolute(given.thresholds, cwd)
    path = path or (usual if usual.is_file() else None)
    tasks = TasksAsked(
        thresholds=path, only=only, include_path=include_path, cache_dir=cache_dir, for_tasks=TaskOptions(), folder=cwd
    )
    models: list[tuple[Side, str | None]] = [
        ("original", given.original),
        *(("pruned", written) for written in given.pruned),
    ]
    return Wanted(
        models=tuple((side, written) for side, written in models if written),
        peft_base=given.peft_base, tasks=tasks if path or only else None, cache_dir=cache_dir, cwd=cwd,
        thresholds=given.thresholds,
    )  # fmt: skip


def _absolute(written: str | None, cwd: Path) -> Path | None:
    return (cwd / Path(written).expanduser()).absolute() if written else None
