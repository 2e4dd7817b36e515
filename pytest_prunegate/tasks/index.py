"""An index of lm-eval's tasks, kept on disk: names, files, metrics and filters.

lm-eval reads some 14,000 YAML files (15 to 30 s) to know its own tasks. What a gate needs to know of them fits a
small file, keyed by lm-eval's version and location, so that only the first run after an installation pays.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.resources import installed_version
from pytest_prunegate.tasks.own_scorers import OWN_SCORERS
from pytest_prunegate.tasks.task_info import (
    Aggregate,
    GroupInfo,
    MetricInfo,
    TaskInfo,
    aggregates_of,
    records_of,
    task_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORMAT = 2  # raise it when what an entry holds changes
_SUGGESTIONS = 3
_MAX_DEPTH = 10  # groups of groups; more is a group that contains itself
_INFORMATIVE = ("output_type", "metric_list", "filter_list", "num_fewshot")


class TaskIndex:
    """Look-up of lm-eval's tasks, groups and tags by name."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]], tasks_folder: Path) -> None:
        self._records = records
        self._folder = tasks_folder

    def __len__(self) -> int:
        return len(self._records)

    def find(self, name: str) -> TaskInfo | GroupInfo | None:
        """The task, group or tag of that exact name; None where there is none.

        Raises:
            InputError: a group contains itself.
        """
        return self._find(name, {}, 0) if name in self._records else None

    def suggest(self, name: str) -> list[str]:
        """Registered names near to a wrong one, best first."""
        plain = {_plain(known): known for known in reversed(list(self._records))}
        if _plain(name) in plain:
            return [plain[_plain(name)]]
        near = difflib.get_close_matches(_plain(name), plain, n=_SUGGESTIONS, cutoff=0.75)
        return [plain[match] for match in near]

    def including(self, folder: Path) -> TaskIndex:
        """This index with the tasks of a folder of the user's; a name that is in both is the user's.

        Raises:
            InputError: a YAML file of the folder does not parse, or holds no task at all.
        """
        from lm_eval.tasks._index import TaskIndex as Entries

        _refuse_broken_files(folder)
        entries = Entries.build([folder.resolve()])
        if not entries:
            raise InputError(f"--prunegate-include-path={folder}: there is no task in the YAML files of this folder.")
        return TaskIndex({**self._records, **dict(records_of(entries.values(), self._folder))}, self._folder)

    def _find(self, name: str, overrides: Mapping[str, Any], depth: int) -> TaskInfo | GroupInfo:
        record = self._records[name]
        if depth > _MAX_DEPTH:
            raise InputError(f"{name}: the groups of this task nest deeper than {_MAX_DEPTH}; one may contain itself.")
        if record["kind"] in {"task", "class"}:
            return self._task(name, record, overrides)
        if record["kind"] == "tag":
            items, own = record["tasks"], overrides
        else:
            items, own = record["tasks"], {**record["overrides"], **overrides}
        return self._group(name, {**record, "tasks": items}, own, depth)

    def _group(self, name: str, record: Mapping[str, Any], overrides: Mapping[str, Any], depth: int) -> GroupInfo:
        children: dict[str, TaskInfo | GroupInfo] = {}
        missing = []
        for item in record["tasks"]:
            child = self._member(name, item, overrides, depth + 1)
            if child is None:
                missing.append(str(item))
            else:
                children[child.name] = child  # as in lm-eval, the last of one name
        return GroupInfo(
            name=name, kind=record["kind"], children=tuple(children.values()), missing=tuple(missing),
            aggregates=tuple(
                Aggregate(metric=metric, filters=None if filters is None else tuple(filters), weight_by_size=weighted)
                for metric, filters, weighted in record.get("aggregates", ())
            ),
        )  # fmt: skip

    def _member(
        self, group: str, item: str | dict[str, Any], overrides: Mapping[str, Any], depth: int
    ) -> TaskInfo | GroupInfo | None:
        """A member as lm-eval builds it (lm_eval.tasks._factory): a name, a name with changes, or an inline definition."""
        if isinstance(item, str):
            return self._find(item, overrides, depth) if item in self._records else None
        if "group" in item:
            own = {key: value for key, value in item.items() if key != "group"}
            if item["group"] in self._records:
                return self._find(item["group"], {**overrides, **own}, depth)
            inner = {key: value for key, value in own.items() if key not in {"task", "aggregate_metric_list", "group_alias", "metadata"}}  # fmt: skip
            inline = {"kind": "group", "aggregates": aggregates_of(item), "tasks": _as_list(item.get("task"))}
            return self._group(f"{group}::{item['group']}", inline, {**inner, **overrides}, depth)
        if "task" not in item:
            return None
        name, merged = item["task"], {**overrides, **item}
        if name in self._records:
            return self._find(name, merged, depth)
        inline = {**merged, "task": f"{group}::{name}"}
        return _info(f"{group}::{name}", {"kind": "task", **task_record(inline)}, None, inline)

    def _task(self, name: str, record: Mapping[str, Any], overrides: Mapping[str, Any]) -> TaskInfo:
        path = (self._folder / record["path"]).resolve() if "path" in record else None
        changes = {key: value for key, value in overrides.items() if key != "task"}
        if record["kind"] == "task" and any(key in changes for key in _INFORMATIVE):
            from lm_eval.tasks._yaml_loader import load_yaml

            assert path is not None
            record = {"kind": "task", **task_record({**load_yaml(path, resolve_func=False), **changes})}
        return _info(name, record, path, changes)


def _info(name: str, record: Mapping[str, Any], path: Path | None, overrides: Mapping[str, Any]) -> TaskInfo:
    metrics = tuple(MetricInfo(name=m[0], higher_is_better=m[1], is_mean=m[2]) for m in record.get("metrics", ()))
    own = OWN_SCORERS.get(name)
    return TaskInfo(
        name=name,
        kind=record["kind"],
        path=path,
        output_type=own.output_type if own else record.get("output_type"),
        metrics=own.metrics if own else metrics,
        filters=tuple(record.get("filters", ("none",))),
        num_fewshot=record.get("num_fewshot"),
        overrides=overrides,
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _refuse_broken_files(folder: Path) -> None:
    """lm-eval passes over a file that it cannot read, and the task is then unknown for no visible reason."""
    from lm_eval.tasks._index import TaskIndex as Entries
    from lm_eval.tasks._yaml_loader import load_yaml

    problems = []
    for path in Entries._iter_yaml_files(folder):  # noqa: SLF001 - what lm-eval looks at, and no more
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:  # noqa: BLE001 - includes that are missing, YAML that does not parse
            reason = " ".join(str(error).split())
            problems.append(f"--prunegate-include-path: {path}: cannot be read: {type(error).__name__}: {reason}")
    if problems:
        raise InputError("\n".join(problems))


def index_file(cache_dir: Path) -> Path:
    """Where the index of the installed lm-eval is kept.

    Raises:
        InputError: lm-eval is not installed.
    """
    version, folder = _lm_eval()
    place = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    return cache_dir / f"lm-eval-tasks-{version}-{place}-v{_FORMAT}.json"


def load_index(cache_dir: Path) -> TaskIndex | None:
    """The kept index; None where there is none yet, or it cannot be read (it is then built anew)."""
    try:
        records = json.loads(index_file(cache_dir).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return TaskIndex(records, _lm_eval()[1]) if isinstance(records, dict) else None


def build_index(cache_dir: Path) -> TaskIndex:
    """Ask lm-eval for all of its tasks (15 to 30 s), and keep the answer in the cache directory.

    Raises:
        InputError: the cache directory cannot be written.
    """
    from lm_eval.tasks import TaskManager

    folder = _lm_eval()[1]
    records = dict(records_of(TaskManager().task_index.values(), folder))
    path = index_file(cache_dir)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(records, file, separators=(",", ":"))
        Path(file.name).replace(path)
    except OSError as error:
        raise InputError(
            f"{path.parent}: the index of lm-eval's tasks cannot be kept there: {error.strerror}. "
            "Name a writable folder with --prunegate-cache-dir."
        ) from error
    return TaskIndex(records, folder)


def default_cache_dir() -> Path:
    """The user's cache folder of this package (XDG base directories)."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "pytest-prunegate"


def is_of_lm_eval(path: Path) -> bool:
    """Whether a task's file came with the installed lm-eval, and not from a folder of the user's."""
    return path.is_relative_to(_lm_eval()[1].resolve())


def lm_eval_version() -> str:
    """Version of the installed lm-eval."""
    return _lm_eval()[0]


def _lm_eval() -> tuple[str, Path]:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError("lm-eval is not installed in this environment: `pip install lm-eval`.")
    return installed_version("lm_eval"), Path(spec.origin).parent / "tasks"


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
