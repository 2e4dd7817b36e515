"""What thresholds.yaml would say of a task's settings: the way back from its readers, in plain values."""

from __future__ import annotations

from dataclasses import MISSING, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import Field

    from pytest_prunegate.input.thresholds import Decision, Spec

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
