"""Reads how a check is decided: the keys decide, error_rate, indifference and inconclusive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.threshold_values import read_share
from pytest_prunegate.input.thresholds import (
    LARGEST_ERROR_RATE,
    LARGEST_INDIFFERENCE,
    LEAST_ERROR_RATE,
    Decide,
    DecisionSpec,
    Inconclusive,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal
    from enum import StrEnum

    from pytest_prunegate.input.yaml_nodes import Node

DECISION_KEYS = ("decide", "error_rate", "indifference", "inconclusive")
PERPLEXITY_DECISION_KEYS = ("decide", "error_rate")


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
