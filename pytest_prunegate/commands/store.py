"""``python -m pytest_prunegate store``: what is kept, whether it is whole, several stores put together, one made smaller."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError, StoreError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from pytest_prunegate.store import KeptModel

_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_SHOWN = 12  # characters of a fingerprint


def add_store(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command and its own ones."""
    text = "look at the answers that are kept, check them, merge stores, or delete from one"
    parser = commands.add_parser("store", help=text, description=f"{text[0].upper()}{text[1:]}.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, told in (
        ("list", _list, "list the models whose answers are kept"),
        ("verify", _verify, "check every page and every checksum; exit code 2 where something is damaged"),
    ):
        action = actions.add_parser(name, help=told, description=f"{told[0].upper()}{told[1:]}.")
        action.add_argument("store", metavar="DIR", type=Path, help="the folder of a store")
        action.set_defaults(run=run)
    _add_merge(actions)
    _add_prune(actions)
    _add_export(actions)


def _add_merge(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    merge = actions.add_parser(
        "merge", help="add to a store what others hold",
        description="Add to a store what others hold. The first answer to a request is kept, and no look at a pair of models is forgotten.",
    )  # fmt: skip
    merge.add_argument("store", metavar="DIR", type=Path, help="the store that gets it; made where it is not there")
    merge.add_argument(
        "sources", metavar="FROM", type=Path, nargs="+", help="other stores, or files that were set aside; they are not changed"
    )  # fmt: skip
    merge.set_defaults(run=_merge)


def _add_prune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prune = actions.add_parser(
        "prune", help="delete answers from a store",
        description="Say which answers would be deleted; with --yes, delete them. What was fixed for pairs of models stays.",
    )  # fmt: skip
    prune.add_argument("store", metavar="DIR", type=Path, help="the folder of a store")
    which = prune.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--keep", metavar="MODEL", nargs="+", help="delete what other models said; a path, or the beginning of a fingerprint, as `list` shows them"
    )  # fmt: skip
    which.add_argument("--older-than", metavar="AGE", type=_age, help="delete what is older: 12h, 90d, 8w")
    prune.add_argument("--yes", action="store_true", help="do it")
    prune.set_defaults(run=_prune)


def _add_export(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = actions.add_parser(
        "export", help="write a model's answers to a file that takes the model's place",
        description="Write a model's answers to a file: --original=FILE then takes the place of the model. Needs the store alone.",
    )  # fmt: skip
    export.add_argument("store", metavar="DIR", type=Path, help="the folder of a store")
    export.add_argument(
        "--model", required=True, help="its path or name, or the beginning of its fingerprint or key; a wrong one lists them all"
    )  # fmt: skip
    export.add_argument("--output", metavar="FILE", type=Path, required=True, help="write it there; it must not exist")
    export.set_defaults(run=_export)


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: an age is a whole number of hours, days or weeks: 12h, 90d, 8w")
    return float(int(found[1]) * _SECONDS[found[2]])


def _list(given: argparse.Namespace) -> None:
    from pytest_prunegate.store.maintenance import file_of, kept_models

    path = file_of(given.store)
    models = kept_models(path)
    size = sum(
        path.with_name(path.name + end).stat().st_size
        for end in ("", "-wal")
        if path.with_name(path.name + end).exists()
    )
    sys.stdout.write(
        f"{path}: {len(models)} models, {sum(model.responses for model in models)} responses, {_size(size)}\n"
    )
    for model in models:
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in _lines(model)))


def _lines(model: KeptModel) -> list[str]:
    tasks = ", ".join(f"{task} {count}" for task, count in model.tasks.items())
    return [
        f"{model.fingerprint[:_SHOWN]}  {model.responses} responses, {_size(model.size)}, {_day(model.first)} to {_day(model.last)}",
        *(f"  path:  {path}" for path in model.paths),
        f"  tasks: {tasks}",
    ]


def _verify(given: argparse.Namespace) -> None:
    from pytest_prunegate.store.maintenance import file_of, problems

    path = file_of(given.store)
    found = problems(path)
    if found:
        raise StoreError(
            "\n".join(f"{path}: {problem}" for problem in found) + "\n"
            "Damaged answers are never used, and asked again. The next run sets a damaged file aside and salvages what is whole; "
            f"so does: python -m pytest_prunegate store merge NEW {given.store}"
        )
    sys.stdout.write(f"{path}: whole\n")


def _merge(given: argparse.Namespace) -> None:
    from pytest_prunegate.store import Store
    from pytest_prunegate.store.database_file import FILE
    from pytest_prunegate.store.maintenance import file_of, merge

    sources = [file_of(source) for source in given.sources]
    own = given.store / FILE
    if given.store.is_file() or (own.exists() and any(source.samefile(own) for source in sources)):
        raise InputError(f"{given.store}: is to be a folder, and none of the stores that are merged into it.")
    problems = []
    store = Store(given.store)
    try:
        for note in store.notes:
            sys.stderr.write(f"{note}\n")
        for source in sources:
            merged = merge(store, source)
            sys.stdout.write(f"{source}: {_counts(merged.added)} added\n")
            problems += [f"{source}: {merged.problem}; what is whole was merged."] if merged.problem else []
    finally:
        store.close()
    if problems:
        raise StoreError("\n".join(problems))


def _prune(given: argparse.Namespace) -> None:
    from pytest_prunegate.store.maintenance import count_before, file_of, kept_models

    path = file_of(given.store)
    if given.older_than is not None:
        before, others = time.time() - given.older_than, []
        told = [f"{count_before(path, before)} responses from before {_day(before)}"]
    else:
        before, others = 0.0, _others(path, kept_models(path), given.keep)
        told = ["\n".join(_lines(model)) for model in others]
    if not given.yes:
        sys.stdout.write("".join(f"{lines}\n" for lines in told))
        sys.stdout.write("This would be deleted. Add --yes to do it.\n" if told else "Nothing would be deleted.\n")
        return
    _delete(given.store, others, before)


def _others(path: Path, models: Sequence[KeptModel], keep: Sequence[str]) -> list[KeptModel]:
    """The models that none of the words means."""

    def means(word: str, model: KeptModel) -> bool:
        return bool(word) and (model.fingerprint.startswith(word) or word in model.paths)

    unknown = [word for word in keep if not any(means(word, model) for model in models)]
    if unknown:
        known = "\n".join(line for model in models for line in _lines(model)[:-1])
        raise InputError(f"{path}: --keep {', '.join(unknown)}: no such model in this store. It has:\n{known}")
    return [model for model in models if not any(means(word, model) for word in keep)]


def _delete(folder: Path, others: Sequence[KeptModel], before: float) -> None:
    from pytest_prunegate.store import Store
    from pytest_prunegate.store.maintenance import prune

    store = Store(folder)
    try:
        deleted = prune(store, models=[model.fingerprint for model in others], before=before)
    finally:
        store.close()
    sys.stdout.write(f"{store.path}: {_counts(deleted)} deleted\n")


def _counts(rows: Counter[str]) -> str:
    return (
        ", ".join(
            f"{rows[table]} {table}" for table in ("responses", "failures", "protocols", "timings") if table in rows
        )
        or "nothing"
    )


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _export(given: argparse.Namespace) -> None:
    from pytest_prunegate.baseline.kept_facts import export

    if not given.output.name.endswith(".json.gz"):
        raise InputError(f"--output={given.output}: name it *.json.gz, so that --original knows it for a baseline.")
    for line in export(given.store, given.model, given.output):
        sys.stderr.write(f"{line}\n")
