"""Reads what thresholds.yaml says of one task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.dataset_reader import read_dataset
from pytest_prunegate.input.rules import MAX_SHARE
from pytest_prunegate.input.secrets import secret_problems
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
from pytest_prunegate.input.trust import CODE_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node

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
