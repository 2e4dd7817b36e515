"""Reads single thresholds, sets of them, and how a check is decided, from YAML nodes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.thresholds import (
    LARGEST_ERROR_RATE,
    LARGEST_INDIFFERENCE,
    LEAST_ERROR_RATE,
    Decide,
    DecisionSpec,
    Inconclusive,
    Rule,
    Threshold,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from enum import StrEnum

    from pytest_prunegate.input.yaml_nodes import Node


_OF_METRICS = (
    Rule.MAX_RELATIVE_DROP, Rule.MAX_RELATIVE_INCREASE, Rule.MAX_ABSOLUTE_DROP, Rule.MIN_RECOVERY, Rule.MIN_SCORE,
)  # fmt: skip
_NUMBER_KINDS = frozenset({"str", "int", "float"})

DECISION_KEYS = ("decide", "error_rate", "indifference", "inconclusive")
PERPLEXITY_DECISION_KEYS = ("decide", "error_rate")


def read_thresholds(
    node: Node,
    *,
    rules: tuple[Rule, ...] = _OF_METRICS,
    alone: Rule = Rule.MAX_RELATIVE_DROP,
    extra: tuple[str, ...] = (),
) -> tuple[Threshold, ...]:
    """The thresholds of a node: a number alone, or a mapping of rules.

    Args:
        node: what the file has.
        rules: those that may stand here.
        alone: the rule of a number alone.
        extra: other keys of the mapping, which the caller reads.
    """
    if node.kind in _NUMBER_KINDS:
        return as_tuple(read_threshold(alone, node))
    keys = tuple(rule.value for rule in rules) + extra
    found: list[Threshold] = []
    for key, value in node.entries(what=f"a threshold such as 5%, or thresholds such as {{{alone}: 5%}}"):
        if key in extra:
            continue
        if key not in keys:
            unknown_key(value, key, keys)
        else:
            found += as_tuple(read_threshold(Rule(key), value))
    return tuple(found)


def read_threshold(rule: Rule, node: Node) -> Threshold | None:
    """One threshold, exactly as it is written; None, and a mistake, where it is none."""
    text = node.text.strip()
    percent = text.endswith("%")
    value = _number(node)
    if value is None:
        node.wrong(f"{rule} is {node.shown}: expected a share such as 5% or 0.05.")
        return None
    if rule is Rule.MAX_ABSOLUTE_DROP:
        if percent:
            node.wrong(f"{rule} is in score units and takes no per cent sign. For three points of a score in [0, 1] write 0.03.")  # fmt: skip
            return None
        if value < 0:
            node.wrong(f"{rule} is {text}: it cannot be negative.")
            return None
        return Threshold(rule=rule, value=value, text=text, line=node.line, span=node.span)
    value = value / 100 if percent else value
    may_exceed_one = rule is Rule.MAX_RELATIVE_INCREASE and percent  # a perplexity can more than double
    if value < 0 or (value > 1 and not may_exceed_one):
        hint = f" For {text} per cent write {text}% or {value / 100}." if not percent and value > 1 else ""
        node.wrong(f"{rule} is {text}: it must lie between 0 and 1 (0% and 100%).{hint}")
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
