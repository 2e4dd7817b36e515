"""Reads what thresholds.yaml says of one task and of its data, and says it again: settings in the words of the file.

Data is plain data, and nothing that runs code or writes anywhere.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.rules import MAX_SHARE
from pytest_prunegate.input.threshold_values import (
    DECISION_KEYS,
    as_tuple,
    expect_text,
    read_decision,
    read_marks,
    read_threshold,
    read_thresholds,
    unknown_key,
)
from pytest_prunegate.input.thresholds import MetricSpec, TaskSpec, Threshold
from pytest_prunegate.input.trust import CODE_ARGUMENTS, secret_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from dataclasses import Field
    from pathlib import Path

    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.thresholds import Decision, Spec
    from pytest_prunegate.input.yaml_nodes import Node


# Of the arguments of ``datasets.load_dataset``, those that only choose what is read.
_KEYS = ("path", "name", "data_files", "data_dir")
_CARD = 1_000_000  # characters of a data set's card
_HEAD = re.compile(r"\ufeff?---\s*\n(.*?\n)---", re.DOTALL)
_DEPTH = 20  # of what a card's head holds
_FORMATS = ("json", "csv", "parquet", "text", "arrow")
# Loaders of ``datasets`` by name that take pickles, queries, streams or archives; any other word is a folder or a hub id.
_OTHER_LOADERS = frozenset({
    "cache", "eval", "generator", "harbor", "hdf5", "iceberg", "lance", "pandas", "spark", "sql", "vortex", "webdataset",
})  # fmt: skip


def read_dataset(node: Node, folder: Path) -> Mapping[str, Any] | None:
    """Arguments of ``datasets.load_dataset``; everything wrong is recorded.

    Args:
        node: what stands under ``dataset``.
        folder: the thresholds file's, for relative paths.
    """
    given = {}
    for key, value in node.entries(what="the data set's path and data_files"):
        if key not in _KEYS:
            unknown_key(value, key, _KEYS)
        elif key == "data_files" or expect_text(value, "text"):
            given[key] = value
    if "path" not in given:
        node.wrong("path is missing: json, csv or parquet for local files, else a folder or a hub id.")
        return None
    _refuse_source(given["path"])
    _refuse_addresses(given["path"], folder)
    plain = {key: value.plain() for key, value in given.items()}
    if "data_files" in given:
        plain["data_files"] = _data_files(given["data_files"], folder)
    return plain


def _refuse_source(path: Node) -> None:
    if path.text in _OTHER_LOADERS:
        path.wrong(f"{path.text} is a loader that does more than read plain data. Use {', '.join(_FORMATS)}, a folder or a hub id.")  # fmt: skip
    elif path.text.endswith(".py"):
        path.wrong("loading scripts are not run. Save the data as JSON, CSV or Parquet.")
    elif "://" in path.text:
        path.wrong("expected a format, a folder or a hub id, found a URL.")


def _refuse_addresses(path: Node, folder: Path) -> None:
    """A local data set's card may name files on the network, which would be fetched in the place of those beside it."""
    card = folder / path.text / "README.md"
    try:
        text = card.read_text(encoding="utf-8", errors="replace")[:_CARD] if path.text and card.is_file() else ""
    except (OSError, ValueError):  # a name that no file can have
        return
    head = _HEAD.match(text)
    found = next(_addresses(_configs(head[1])), None) if head else None
    if found is not None:
        path.wrong(
            f"the head of {card} names {found} as data, which would be fetched. Name the files with data_files, or take it out of there."
        )


def _configs(head: str) -> Any:
    """What a card says of the files that the data is in; nothing where it is no YAML, which ``datasets`` does not read either."""
    import yaml

    try:
        found = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found.get("configs") if isinstance(found, dict) else None


def _addresses(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and "://" in value:
        yield value
    elif isinstance(value, (dict, list)) and depth < _DEPTH:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _addresses(part, depth + 1)


def _data_files(node: Node, folder: Path) -> dict[str, list[str]]:
    if node.kind != "map":
        node.wrong("name the split of each file, for example {validation: data/dev.jsonl}.")
        return {}
    found: dict[str, list[str]] = {}
    for split, value in node.entries(what="splits with their files"):
        files = list(value.items(what="files")) if value.kind == "seq" else [value]
        found[split] = [str(_existing(file, folder)) for file in files]
    return found


def _existing(node: Node, folder: Path) -> Path:
    path = folder / node.text
    try:
        if node.text and path.is_file():
            return path.resolve()
    except (OSError, ValueError):  # a name that no file can have
        pass
    node.wrong(f"there is no file {path}. Paths are taken from the folder of the thresholds file.")
    return path


_TASK_KEYS = (
    "metrics", "outputs", "num_fewshot", "fewshot_seed", "limit", "repeats", "max_gen_toks", "gen_kwargs", "apply_chat_template",
    "chat_template_kwargs", "system_instruction", "fewshot_as_multiturn", "dataset", "truncate", "cluster_by", "slice_by", "marks",
    *DECISION_KEYS,
)  # fmt: skip
_OUTPUT_KEYS = ("max_empty", "max_cut")


class TaskReader:
    """Reads the nodes below a task's name; everything wrong goes to the file's mistakes."""

    def __init__(self, around: Surroundings) -> None:
        self._mistakes = around.mistakes
        self._folder = around.folder
        self._defaults = around.defaults
        self._decision = around.decision

    def task(self, name: str, node: Node) -> TaskSpec:
        """A task with its settings and metrics."""
        decision = read_decision(node).under(self._decision)
        spec = TaskSpec(name=name, line=node.line, decision=decision)
        if node.kind == "null":
            return spec
        values: dict[str, Any] = {}
        for key, value in node.entries(what="the task's keys (metrics, limit, ...)"):
            if key not in _TASK_KEYS:
                unknown_key(value, key, _TASK_KEYS)
            elif key not in DECISION_KEYS:
                values[key] = getattr(self, f"_read_{key}")(value)
        for kind in ("metrics", "outputs"):
            if kind in values:
                values[kind] = tuple(
                    replace(metric, decision=metric.decision.under(decision)) for metric in values[kind]
                )
        found = replace(spec, **{key: value for key, value in values.items() if value is not None})
        if found.metrics is None and found.outputs:
            found = replace(found, metrics=())
        if found.metrics == () and not found.outputs and not self._mistakes.found:
            node.wrong("has no check. Name a metric, or take the task out.")
        return found

    def _read_metrics(self, node: Node) -> tuple[MetricSpec, ...]:
        path = node.path.removesuffix(".metrics")
        if node.kind == "seq":
            names = [value for value in node.items(what="metric names") if expect_text(value, "a metric's name")]
            return tuple(
                MetricSpec(name=value.text, line=value.line, thresholds=self._defaulted(value, ())) for value in names
            )
        entries = node.entries(what="metrics with their thresholds")
        return tuple(self._metric(name, replace(value, path=f"{path}.{name}")) for name, value in entries)

    def _metric(self, name: str, node: Node) -> MetricSpec:
        filter_name = None
        if node.kind == "map":
            for key, value in node.entries(what="thresholds"):
                if key == "filter" and expect_text(value, "the name of one of the task's filters"):
                    filter_name = value.text
        before = len(self._mistakes.found)
        thresholds = () if node.kind == "null" else read_thresholds(node, extra=("filter", *DECISION_KEYS))
        if len(self._mistakes.found) == before:  # a threshold that is wrong is not a missing one
            thresholds = self._defaulted(node, thresholds)
        return MetricSpec(
            name=name, line=node.line, thresholds=thresholds, filter=filter_name, decision=read_decision(node)
        )

    def _defaulted(self, node: Node, own: tuple[Threshold, ...]) -> tuple[Threshold, ...]:
        if self._defaults is None:
            return own
        if not own and not self._defaults:
            node.wrong("has no threshold, and the file has no defaults. Write for example `max_relative_drop: 5%`.")
        return own or self._defaults

    def _read_outputs(self, node: Node) -> tuple[MetricSpec, ...]:
        found = []
        for key, value in node.entries(what="max_empty and max_cut"):
            if key not in _OUTPUT_KEYS:
                unknown_key(value, key, _OUTPUT_KEYS)
            elif thresholds := as_tuple(read_threshold(MAX_SHARE, value)):
                found.append(MetricSpec(name=key, line=value.line, thresholds=thresholds))
        return tuple(found)

    def _read_num_fewshot(self, node: Node) -> int | None:
        return node.positive_integer(least=0, what="the number of few-shot examples")

    def _read_fewshot_seed(self, node: Node) -> int | None:
        return node.positive_integer(least=0, what="the seed of the draw of examples")

    def _read_limit(self, node: Node) -> int | Decimal | None:
        share = node.number()
        if share is not None and 0 < share < 1:
            return share
        return node.positive_integer(least=1, what="a number of documents, or a share of them below 1")

    def _read_repeats(self, node: Node) -> int | None:
        return node.positive_integer(least=1, what="the answers per document")

    def _read_max_gen_toks(self, node: Node) -> int | None:
        return node.positive_integer(least=1, what="a number of tokens")

    def _read_gen_kwargs(self, node: Node) -> Mapping[str, Any]:
        found = {}
        for key, value in node.entries(what="generation arguments"):
            found[key] = value.plain()
            if key in CODE_ARGUMENTS:
                value.wrong("would run code that comes with a model or from a hub; a thresholds file cannot ask for that.")  # fmt: skip
        return self._without_secrets(node, found)

    def _read_chat_template_kwargs(self, node: Node) -> Mapping[str, Any]:
        found = {key: value.plain() for key, value in node.entries(what="arguments of the chat template")}
        return self._without_secrets(node, found)

    def _without_secrets(self, node: Node, found: Mapping[str, Any]) -> Mapping[str, Any]:
        for problem in secret_problems(node.path, found):
            self._mistakes.add(node.line, problem)
        return found

    def _read_apply_chat_template(self, node: Node) -> bool | str | None:
        if node.kind == "bool":
            return bool(node.plain())
        return node.text if expect_text(node, "true, false or the name of a template") else None

    def _read_system_instruction(self, node: Node) -> str | None:
        return node.text if expect_text(node, "the text of a system message") else None

    def _read_fewshot_as_multiturn(self, node: Node) -> bool | None:
        if node.kind == "bool":
            return bool(node.plain())
        node.wrong(f"expected true or false, found {node.shown}.")
        return None

    def _read_truncate(self, node: Node) -> bool:
        if node.text not in {"allow", "refuse"}:
            node.wrong(f"expected allow or refuse (the default), found {node.shown}.")
        return node.text == "allow"

    def _read_cluster_by(self, node: Node) -> str | None:
        return node.text if expect_text(node, "the name of a field of the task's documents") else None

    def _read_slice_by(self, node: Node) -> tuple[str, ...]:
        what = "the name of a field of the task's documents, or a list of them"
        nodes = list(node.items(what=what)) if node.kind == "seq" else [node]
        names = [value for value in nodes if expect_text(value, what)]
        seen: set[str] = set()
        for value in names:
            if value.text in seen:
                value.wrong(f"{value.text} is there twice. Keep one.")
            seen.add(value.text)
        if not nodes:
            node.wrong(f"expected {what}, found an empty list.")
        return tuple(value.text for value in names)

    def _read_marks(self, node: Node) -> tuple[str, ...]:
        return read_marks(node)

    def _read_dataset(self, node: Node) -> Mapping[str, Any] | None:
        return read_dataset(node, self._folder)


_NOT_SETTINGS = ("name", "line", "metrics", "outputs", "thresholds", "decision", "unsafe_code")


def settings_words(spec: Spec) -> dict[str, Any]:
    """The keys of an entry that say something; its checks and how they are decided are told apart."""
    said = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name not in _NOT_SETTINGS}
    usual = {field.name: _usual(field) for field in fields(spec)}
    return {name: _word(name, value) for name, value in said.items() if value != usual[name]}


def decision_words(decision: Decision, *, within: Decision) -> dict[str, Any]:
    """The keys that say how a check is decided, inside of something that is decided as `within`."""
    return {
        field.name: _word(field.name, getattr(decision, field.name))
        for field in fields(decision)
        if getattr(decision, field.name) != getattr(within, field.name)
    }


def _usual(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _word(name: str, value: Any) -> Any:
    if name == "truncate":
        return "allow"
    if isinstance(value, tuple):
        return list(value)
    return float(value) if isinstance(value, Decimal) else value
