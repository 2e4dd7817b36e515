"""Reads single thresholds, sets of them, and how a check is decided, from YAML nodes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.rules import MAX_RELATIVE_DROP, RULES
from pytest_prunegate.input.thresholds import (
    LARGEST_ERROR_RATE,
    LARGEST_INDIFFERENCE,
    LEAST_ERROR_RATE,
    Decide,
    DecisionSpec,
    Inconclusive,
    Threshold,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from enum import StrEnum
    from pathlib import Path

    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.yaml_nodes import Mistakes, Node


_NUMBER_KINDS = frozenset({"str", "int", "float"})

DECISION_KEYS = ("decide", "error_rate", "indifference", "inconclusive")
_BUILT_IN_MARKS = ("skip", "skipif", "xfail", "usefixtures", "parametrize", "filterwarnings")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a file says around an entry.

    Args:
        mistakes: of the file; everything wrong goes there.
        folder: the file's, for relative paths.
        defaults: thresholds of metrics that have none of their own; None where they could not be read.
        decision: how checks are decided that do not say it themselves.
    """

    mistakes: Mistakes
    folder: Path
    defaults: tuple[Threshold, ...] | None
    decision: DecisionSpec


def read_marks(node: Node) -> tuple[str, ...]:
    """Names of marks, all of which pytest takes."""
    names = [value for value in node.items(what="a list of pytest marks") if expect_text(value, "a mark's name")]
    for value in names:
        if value.text in _BUILT_IN_MARKS:
            value.wrong(
                f"{value.text} is pytest's own mark, and would change what a check's outcome means. Take another name."
            )
        elif not value.text.isidentifier() or value.text.startswith("_"):
            value.wrong(f"{value.text!r} cannot be a pytest mark: use letters, digits and underscores.")
    return tuple(value.text for value in names)


def read_thresholds(
    node: Node,
    *,
    rules: tuple[Rule, ...] | None = None,
    alone: Rule = MAX_RELATIVE_DROP,
    extra: tuple[str, ...] = (),
) -> tuple[Threshold, ...]:
    """The thresholds of a node: a number alone, or a mapping of rules.

    Args:
        node: what the file has.
        rules: those that may stand here; None for those of metrics.
        alone: the rule of a number alone.
        extra: other keys of the mapping, which the caller reads.
    """
    if node.kind in _NUMBER_KINDS:
        return as_tuple(read_threshold(alone, node))
    known = {rule.key: rule for rule in rules or [rule for rule in RULES.values() if rule.is_of_metrics]}
    keys = (*known, *extra)
    found: list[Threshold] = []
    for key, value in node.entries(what=f"a threshold such as 5%, or thresholds such as {{{alone}: 5%}}"):
        if key in extra:
            continue
        if key not in keys:
            unknown_key(value, key, keys)
        else:
            found += as_tuple(read_threshold(known[key], value))
    return tuple(found)


def read_threshold(rule: Rule, node: Node) -> Threshold | None:
    """One threshold, exactly as it is written; None, and a mistake, where it is none."""
    if rule.takes_text:
        return _read_text(rule, node)
    number = _number(node)
    if number is None:
        node.wrong(f"{rule} is {node.shown}: expected a share such as 5% or 0.05.")
        return None
    text = node.text.strip()
    try:
        value = rule.read(number, text)
    except ValueError as error:
        node.wrong(str(error))
        return None
    return Threshold(rule=rule, value=value, text=text, line=node.line, span=node.span)


def _read_text(rule: Rule, node: Node) -> Threshold | None:
    text = node.shown.strip()
    try:
        value = rule.read_text(text)
    except ValueError as error:
        node.wrong(str(error))
        return None
    return Threshold(rule=rule, value=value, text=text, line=node.line, span=node.span)


def read_share(node: Node, name: str) -> Decimal | None:
    """A share between 0 and 1, such as 1% or 0.01; None, and a mistake, where it is none."""
    value = _number(node)
    if value is not None and node.text.strip().endswith("%"):
        value /= 100
    if value is None or not 0 <= value <= 1:
        node.wrong(f"{name} is {node.shown}: expected a share such as 1% or 0.01.")
        return None
    return value


def _number(node: Node) -> Decimal | None:
    """The number of a scalar, its per cent sign left out."""
    if node.kind not in _NUMBER_KINDS:
        return None
    return replace(node, raw=_Scalar(node.raw, node.text.strip().removesuffix("%").strip())).number()


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


def as_tuple(threshold: Threshold | None) -> tuple[Threshold, ...]:
    """The threshold, if there is one."""
    return () if threshold is None else (threshold,)


def expect_text(node: Node, what: str) -> bool:
    """Whether a node is text; a mistake where it is not."""
    if node.kind == "str" and node.text:
        return True
    node.wrong(f"expected {what}, found {node.shown}.")
    return False


def unknown_key(node: Node, key: str, known: tuple[str, ...]) -> None:
    """Record a key that does not belong here, with the nearest that does."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    node.wrong(f"unknown key.{hint} Known here: {', '.join(known)}.")


def read_decision(node: Node) -> DecisionSpec:
    """What a mapping says of how its checks are decided; its other keys are somebody else's."""
    if node.kind != "map":
        return DecisionSpec()
    readers: dict[str, Callable[[Node], Any]] = {
        "decide": lambda value: _choice(value, Decide),
        "error_rate": _error_rate,
        "indifference": _indifference,
        "inconclusive": lambda value: _choice(value, Inconclusive),
    }
    entries = node.entries(what="how it is decided")
    return DecisionSpec(**{key: readers[key](value) for key, value in entries if key in readers})


def _choice(node: Node, choices: type[StrEnum]) -> StrEnum | None:
    if node.text in set(choices):
        return choices(node.text)
    node.wrong(f"expected {' or '.join(choices)}, found {node.shown}.")
    return None


def _error_rate(node: Node) -> Decimal | None:
    rate = read_share(node, "error_rate")
    if rate is not None and not LEAST_ERROR_RATE <= rate <= LARGEST_ERROR_RATE:
        node.wrong(
            f"error_rate is {node.text}: it must lie between {LEAST_ERROR_RATE:.4%} and {LARGEST_ERROR_RATE:.0%}."
        )
        return None
    return rate


def _indifference(node: Node) -> Decimal | None:
    share = read_share(node, "indifference")
    if share is not None and share > LARGEST_INDIFFERENCE:
        node.wrong(f"indifference is {node.text}: it must be at most {LARGEST_INDIFFERENCE:.0%}.")
        return None
    return share
