"""``python -m pytest_prunegate fetch``: its options, read. What downloads is imported where it is asked for: other commands start without."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    import argparse

    from pytest_prunegate.commands.downloading import Wanted
    from pytest_prunegate.input.model_argument import Side


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
    from pytest_prunegate.commands.downloading import check, fetch

    wanted = _wanted(given)
    if not wanted.models and not wanted.tasks:
        raise InputError("nothing to fetch: name a model with --original or --pruned, or tasks with --thresholds or --tasks.")  # fmt: skip
    if sys.stderr.isatty():  # somebody waits for gigabytes; a run of the gate keeps these bars off the screen
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0")
    (check if given.check else fetch)(wanted, lambda line: print(line, flush=True))  # noqa: T201 - what the command is for


def _wanted(given: argparse.Namespace) -> Wanted:
    from pytest_prunegate.commands.downloading import Wanted
    from pytest_prunegate.gate.run_input import TasksAsked
    from pytest_prunegate.input.options import built_in_path
    from pytest_prunegate.input.thresholds import TaskOptions

    cwd = Path.cwd()
    cache_dir, include_path = (_absolute(path, cwd) for path in (given.cache_dir, given.include_path))
    if include_path and not include_path.is_dir():
        raise InputError(f"--include-path={given.include_path}: there is no such folder.")
    only = tuple(given.tasks.replace(",", " ").split())
    usual = cwd / "thresholds.yaml"
    path = built_in_path(given.thresholds) or _absolute(given.thresholds, cwd)
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
