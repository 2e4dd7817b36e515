"""An index of lm-eval's tasks, kept on disk: names, files, metrics and filters.

lm-eval reads some 14,000 YAML files (15 to 30 s) to know its own tasks. What a gate needs to know of them fits a
small file, keyed by lm-eval's version and location, so that only the first run after an installation pays.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FORMAT = 1  # raise it when what an entry holds changes
_SUGGESTIONS = 3


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric of a task: its direction (None: the task decides when it is loaded), and whether it is a mean of documents."""

    name: str
    higher_is_better: bool | None
    is_mean: bool


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """What lm-eval's YAML says of a task. `kind` is task, class (written in Python), group or tag."""

    name: str
    kind: str
    path: Path | None
    output_type: str | None
    metrics: tuple[MetricInfo, ...]
    filters: tuple[str, ...]
    num_fewshot: int | None


# squadv2 is written in Python, so that its YAML names no metric; this package scores it itself.
SQUADV2_METRICS = tuple(
    MetricInfo(name=name, higher_is_better=True, is_mean=not name.startswith("best_"))
    for name in (
        "exact",
        "f1",
        "HasAns_exact",
        "HasAns_f1",
        "NoAns_exact",
        "NoAns_f1",
        "best_exact",
        "best_f1",
    )
)


class TaskIndex:
    """Look-up of lm-eval's tasks by name."""

    def __init__(self, records: Mapping[str, Mapping[str, Any]], tasks_folder: Path) -> None:
        self._records = records
        self._folder = tasks_folder

    def __len__(self) -> int:
        return len(self._records)

    def find(self, name: str) -> TaskInfo | None:
        """The task, group or tag of that exact name; None where lm-eval has none."""
        record = self._records.get(name)
        if record is None:
            return None
        metrics = tuple(MetricInfo(name=m[0], higher_is_better=m[1], is_mean=m[2]) for m in record.get("metrics", ()))
        return TaskInfo(
            name=name,
            kind=record["kind"],
            path=self._folder / record["path"] if "path" in record else None,
            output_type="generate_until" if name == "squadv2" else record.get("output_type"),
            metrics=SQUADV2_METRICS if name == "squadv2" else metrics,
            filters=tuple(record.get("filters", ("none",))),
            num_fewshot=record.get("num_fewshot"),
        )

    def suggest(self, name: str) -> list[str]:
        """Registered names near to a wrong one, best first."""
        plain = {_plain(known): known for known in reversed(list(self._records))}
        if _plain(name) in plain:
            return [plain[_plain(name)]]
        near = difflib.get_close_matches(_plain(name), plain, n=_SUGGESTIONS, cutoff=0.75)
        return [plain[match] for match in near]


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
    except (OSError, ValueError):
        return None
    return TaskIndex(records, _lm_eval()[1]) if isinstance(records, dict) else None


def build_index(cache_dir: Path) -> TaskIndex:
    """Ask lm-eval for all of its tasks (15 to 30 s), and keep the answer in the cache directory.

    Raises:
        InputError: the cache directory cannot be written.
    """
    from lm_eval.tasks import TaskManager

    folder = _lm_eval()[1]
    records = dict(_records(TaskManager().task_index.values(), folder))
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


def lm_eval_version() -> str:
    """Version of the installed lm-eval."""
    return _lm_eval()[0]


def _lm_eval() -> tuple[str, Path]:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError("lm-eval is not installed in this environment: `pip install lm-eval`.")
    return importlib.metadata.version("lm_eval"), Path(spec.origin).parent / "tasks"


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _records(entries: Iterable[Any], folder: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    from lm_eval.api.registry import (
        DEFAULT_METRIC_REGISTRY,
        HIGHER_IS_BETTER_REGISTRY,
        METRIC_AGGREGATION_REGISTRY,
    )

    directions, aggregations = (
        dict(HIGHER_IS_BETTER_REGISTRY),
        dict(METRIC_AGGREGATION_REGISTRY),
    )  # a registry's get() raises
    kinds = {"TASK": "task", "PY_TASK": "class", "GROUP": "group", "TAG": "tag"}
    for entry in entries:
        record: dict[str, Any] = {"kind": kinds[entry.kind.name]}
        if entry.yaml_path is not None:
            record["path"] = os.path.relpath(entry.yaml_path, folder)
        if record["kind"] == "task":
            config = entry.cfg
            output_type = config.get("output_type", "generate_until")
            metric_list = config.get("metric_list")
            if metric_list is None:
                metric_list = [{"metric": name} for name in DEFAULT_METRIC_REGISTRY[output_type]]
            record |= {
                "output_type": output_type,
                "num_fewshot": config.get("num_fewshot"),
                "metrics": [_metric(metric, directions, aggregations) for metric in metric_list],
            }
            if isinstance(config.get("filter_list"), list):
                record["filters"] = [item["name"] for item in config["filter_list"]]
        yield entry.name, record


def _metric(config: Mapping[str, Any], directions: Mapping[str, bool], aggregations: Mapping[str, Any]) -> list[Any]:
    name = str(config["metric"])
    if "/" in name:  # a Python function: the index gives its path, lm-eval uses its name
        name = name.rpartition(".")[2]
    aggregation = config.get("aggregation")
    if aggregation is None:
        aggregation = getattr(aggregations.get(name), "__name__", None)
    return [name, config.get("higher_is_better", directions.get(name)), aggregation in {"mean", "nanmean"}]
