"""Reads thresholds.yaml, and collects every mistake that the file alone can tell, with its line.

Whether lm-eval has such a task and such a metric is judged in `checks.py`, against the index of lm-eval's tasks.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.thresholds import MetricSpec, Rule, TaskSpec, Threshold, ThresholdsFile
from pytest_prunegate.yaml_nodes import Mistakes, Node, compose_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COMING = frozenset({
    "perplexity", "sparsity", "apply_chat_template", "system_instruction", "fewshot_as_multiturn",
    "chat_template_kwargs", "fewshot_seed", "repeats",
})  # fmt: skip
_TASK_KEYS = (
    "metrics",
    "outputs",
    "num_fewshot",
    "limit",
    "max_gen_toks",
    "gen_kwargs",
    "dataset",
    "truncate",
    "marks",
)
_BUILT_IN_MARKS = ("skip", "skipif", "xfail", "usefixtures", "parametrize", "filterwarnings")
_FILE_KEYS = ("defaults", "tasks")
_OUTPUT_KEYS = ("max_empty", "max_cut")
_METRIC_RULES = tuple(rule for rule in Rule if rule is not Rule.MAX_SHARE)
_DATASET_KEYS = ("path", "name", "data_files", "data_dir")


def load_thresholds(path: Path, *, display: str, built_in: bool = False) -> tuple[ThresholdsFile, Mistakes]:
    """Read a thresholds file.

    Args:
        path: the file.
        display: how messages name it.
        built_in: whether it is the one that ships with the package.

    Returns:
        The file as far as it could be read, and all mistakes found. It is usable only if there is none.

    Raises:
        InputError: the file cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{display}: the thresholds file cannot be read: {reason}.") from error
    mistakes = Mistakes(display=display)
    reader = _Reader(mistakes, path.parent)
    root = compose_document(text, mistakes)
    if root is not None:
        reader.read_file(root)
    if not mistakes.found and not any(task.metrics is None or task.metrics or task.outputs for task in reader.tasks):
        mistakes.add(1, "there is no check in this file. Write at least one task with a metric, for example "
                        "`tasks: {gsm8k: {metrics: {accuracy: {max_relative_drop: 5%, filter: flexible-extract}}}}`.")  # fmt: skip
    loaded = ThresholdsFile(
        path=path, display=display, built_in=built_in, tasks=tuple(reader.tasks), defaults=reader.defaults
    )
    return loaded, mistakes


class _Reader:
    """Walks the nodes of one file; everything wrong goes to its mistakes."""

    def __init__(self, mistakes: Mistakes, folder: Path) -> None:
        self._mistakes = mistakes
        self._folder = folder
        self.tasks: list[TaskSpec] = []
        self.defaults: tuple[Threshold, ...] = ()

    def read_file(self, root: Node) -> None:
        sections = dict(root.entries(what="the keys defaults and tasks"))
        for name, node in sections.items():
            if name not in _FILE_KEYS:
                _unknown_key(node, name, _FILE_KEYS)
        if "defaults" in sections:
            self.defaults = self._thresholds(sections["defaults"])
        if "tasks" in sections:
            for name, node in sections["tasks"].entries(what="tasks with their metrics"):
                self.tasks.append(self._task(name, replace(node, path=name)))

    def _task(self, name: str, node: Node) -> TaskSpec:
        spec = TaskSpec(name=name, line=node.line)
        if node.kind == "null":
            return spec
        values: dict[str, Any] = {}
        for key, value in node.entries(what="the task's keys (metrics, limit, ...)"):
            if key not in _TASK_KEYS:
                _unknown_key(value, key, _TASK_KEYS)
            else:
                values[key] = getattr(self, f"_read_{key}")(value)
        found = replace(spec, **{key: value for key, value in values.items() if value is not None})
        if found.metrics is None and found.outputs:
            found = replace(found, metrics=())
        if found.metrics == () and not found.outputs and not self._mistakes.found:
            node.wrong("has no check. Name a metric, or take the task out.")
        return found

    def _read_metrics(self, node: Node) -> tuple[MetricSpec, ...]:
        path = node.path.removesuffix(".metrics")
        if node.kind == "seq":
            names = [value for value in node.items(what="metric names") if _expect_text(value, "a metric's name")]
            return tuple(
                MetricSpec(name=value.text, line=value.line, thresholds=self._defaulted(value, ())) for value in names
            )
        entries = node.entries(what="metrics with their thresholds")
        return tuple(self._metric(name, replace(value, path=f"{path}.{name}")) for name, value in entries)

    def _metric(self, name: str, node: Node) -> MetricSpec:
        filter_name = None
        if node.kind == "map":
            for key, value in node.entries(what="thresholds"):
                if key == "filter" and _expect_text(value, "the name of one of the task's filters"):
                    filter_name = value.text
        before = len(self._mistakes.found)
        thresholds = () if node.kind == "null" else self._thresholds(node, extra=("filter",))
        if len(self._mistakes.found) == before:  # a threshold that is wrong is not a missing one
            thresholds = self._defaulted(node, thresholds)
        return MetricSpec(name=name, line=node.line, thresholds=thresholds, filter=filter_name)

    def _defaulted(self, node: Node, own: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        if not own and not self.defaults:
            node.wrong("has no threshold, and the file has no defaults. Write for example `max_relative_drop: 5%`.")
        return own or self.defaults

    def _thresholds(self, node: Node, *, extra: tuple[str, ...] = ()) -> tuple[Threshold, ...]:
        if node.kind in {"str", "int", "float"}:
            return _as_tuple(_threshold(Rule.MAX_RELATIVE_DROP, node))
        keys = tuple(rule.value for rule in _METRIC_RULES) + extra
        found: list[Threshold] = []
        for key, value in node.entries(what="a threshold such as 5%, or thresholds such as {max_relative_drop: 5%}"):
            if key in extra:
                continue
            if key not in keys:
                _unknown_key(value, key, keys)
            else:
                found += _as_tuple(_threshold(Rule(key), value))
        return tuple(found)

    def _read_outputs(self, node: Node) -> tuple[MetricSpec, ...]:
        found = []
        for key, value in node.entries(what="max_empty and max_cut"):
            if key not in _OUTPUT_KEYS:
                _unknown_key(value, key, _OUTPUT_KEYS)
            elif thresholds := _as_tuple(_threshold(Rule.MAX_SHARE, value)):
                found.append(MetricSpec(name=key, line=value.line, thresholds=thresholds))
        return tuple(found)

    def _read_num_fewshot(self, node: Node) -> int | None:
        return node.positive_integer(least=0, what="the number of few-shot examples")

    def _read_limit(self, node: Node) -> int | None:
        return node.positive_integer(least=1, what="a number of documents")

    def _read_max_gen_toks(self, node: Node) -> int | None:
        return node.positive_integer(least=1, what="a number of tokens")

    def _read_gen_kwargs(self, node: Node) -> Mapping[str, Any]:
        return {key: value.plain() for key, value in node.entries(what="generation arguments")}

    def _read_truncate(self, node: Node) -> bool:
        if node.text not in {"allow", "refuse"}:
            node.wrong(f"expected allow or refuse (the default), found {node.shown}.")
        return node.text == "allow"

    def _read_marks(self, node: Node) -> tuple[str, ...]:
        names = [value for value in node.items(what="a list of pytest marks") if _expect_text(value, "a mark's name")]
        for value in names:
            if value.text in _BUILT_IN_MARKS:
                value.wrong(
                    f"{value.text} is pytest's own mark, and would change what a check's outcome means. Take another name."
                )
            elif not value.text.isidentifier() or value.text.startswith("_"):
                value.wrong(f"{value.text!r} cannot be a pytest mark: use letters, digits and underscores.")
        return tuple(value.text for value in names)

    def _read_dataset(self, node: Node) -> Mapping[str, Any] | None:
        given = {}
        for key, value in node.entries(what="the data set's path and data_files"):
            if key not in _DATASET_KEYS:
                _unknown_key(value, key, _DATASET_KEYS)
            given[key] = value
        if "path" not in given:
            node.wrong("path is missing: json, csv or parquet for local files, else a folder or a hub id.")
            return None
        plain = {key: value.plain() for key, value in given.items()}
        if "data_files" in given:
            plain["data_files"] = self._data_files(given["data_files"])
        return plain

    def _data_files(self, node: Node) -> dict[str, list[str]]:
        if node.kind != "map":
            node.wrong("name the split of each file, for example {validation: data/dev.jsonl}.")
            return {}
        found: dict[str, list[str]] = {}
        for split, value in node.entries(what="splits with their files"):
            files = list(value.items(what="files")) if value.kind == "seq" else [value]
            found[split] = [str(self._existing(file)) for file in files]
        return found

    def _existing(self, node: Node) -> Path:
        path = self._folder / node.text
        if not node.text or not path.is_file():
            node.wrong(f"there is no file {path}. Paths are taken from the folder of the thresholds file.")
        return path.resolve()


def _threshold(rule: Rule, node: Node) -> Threshold | None:
    text = node.text.strip()
    percent = text.endswith("%")
    value = replace(node, raw=_Scalar(node.raw, text.removesuffix("%").strip())).number()
    if value is None or node.kind not in {"str", "int", "float"}:
        node.wrong(f"{rule} is {node.shown}: expected a share such as 5% or 0.05.")
        return None
    if rule is Rule.MAX_ABSOLUTE_DROP:
        if percent:
            node.wrong(
                f"{rule} is in score units and takes no per cent sign. For three points of a score in [0, 1] write 0.03."
            )
            return None
        if value < 0:
            node.wrong(f"{rule} is {text}: it cannot be negative.")
            return None
        return Threshold(rule=rule, value=value, text=text, line=node.line)
    value = value / 100 if percent else value
    if not 0 <= value <= 1:
        hint = f" For {text} per cent write {text}% or {value / 100}." if not percent and value > 1 else ""
        node.wrong(f"{rule} is {text}: it must lie between 0 and 1 (0% and 100%).{hint}")
        return None
    return Threshold(rule=rule, value=value, text=text, line=node.line)


@dataclass(frozen=True)
class _Scalar:
    """A YAML scalar with another text (the number without its per cent sign)."""

    original: Any
    value: str

    @property
    def tag(self) -> Any:
        return self.original.tag

    @property
    def start_mark(self) -> Any:
        return self.original.start_mark


def _as_tuple(threshold: Threshold | None) -> tuple[Threshold, ...]:
    return () if threshold is None else (threshold,)


def _expect_text(node: Node, what: str) -> bool:
    if node.kind == "str" and node.text:
        return True
    node.wrong(f"expected {what}, found {node.shown}.")
    return False


def _unknown_key(node: Node, key: str, known: tuple[str, ...]) -> None:
    if key in _COMING:
        node.wrong("is not supported yet by this version of pytest-prunegate. Take it out for now.")
        return
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    node.wrong(f"unknown key.{hint} Known here: {', '.join(known)}.")
