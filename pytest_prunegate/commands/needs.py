"""What a recorded check needs: the strictest threshold that still leaves room for its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_prunegate.input.rules import Quantities

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.commands.recorded import Figures, RecordedCheck
    from pytest_prunegate.input.rules import Rule

_STEP = 1000  # thresholds are rounded to one part of this, away from what was measured
_DIGITS = 12  # of a bound; more is noise of its arithmetic


@dataclass(frozen=True, kw_only=True)
class Need:
    """The strictest threshold of a rule, and what it rests on; or no value, and why there is none.

    `has_noise`: whether it leaves room for the noise of what was measured, or there is none.
    """

    value: Decimal | None
    why: str
    has_noise: bool = True


@dataclass(frozen=True, kw_only=True)
class _Bound:
    """How far a loss or a score may go by its noise, in words too. No value: it is unbounded."""

    value: Fraction | None
    words: str
    has_noise: bool = True


def need_of(check: RecordedCheck, rule: Rule) -> Need:
    """What a check needs of a threshold."""
    figures = check.figures
    if figures is None:
        return Need(value=None, why=f"it was not measured ({check.outcome})")
    if figures.measured.check.silent:
        return Need(value=None, why=f"{figures.measured.check.silent}, which no threshold passes")
    return _of_loss(figures, rule) if rule.is_of_loss else _of_pruned(figures, rule)


def _of_pruned(figures: Figures, rule: Rule) -> Need:
    """Of a threshold on the pruned model alone: what an interval would just meet, or what was measured."""
    strictest = _exact(figures.strictest.get(rule.key))
    value, said = figures.measured.pruned, f"measured {_percent(figures.measured.pruned)}"
    if not rule.is_share:
        if strictest is None:
            return Need(value=None, why="no interval of the pruned model's own score is known")
        said = f"measured {float(value):.4f}"
    if strictest is not None and (not rule.is_share or figures.by_interval):
        value = min(value, strictest) if rule.at_least else max(value, strictest)
        said += ", the rest is its noise"
    found = _rounded(value, math.floor if rule.at_least else math.ceil)
    return _useful(rule, found, f"{said} ({figures.counted})", within_one=True)


def _of_loss(figures: Figures, rule: Rule) -> Need:
    """Of a threshold on what was lost against the original."""
    is_absolute = not rule.is_share
    measured = rule.of(Quantities(relative=figures.measured.relative_drop, absolute=figures.measured.drop, pruned=None))
    if measured is None:
        return Need(value=None, why="the original scores 0, so that no relative drop exists")
    said = f"{'gained' if measured < 0 else 'lost'} {_shown(abs(measured), is_absolute=is_absolute)}"
    bound = _loss_bound(figures, rule)
    if bound.value is None:
        return Need(value=None, why=f"{said}; {bound.words}")
    floor = Fraction(figures.gross) * (abs(figures.measured.original or Fraction(0)) if is_absolute else 1)
    most = max(measured, bound.value, _exact(float(floor)) or Fraction(0), Fraction(0))
    if figures.gross:
        said += f", noise floor {_shown(floor, is_absolute=is_absolute)}"
    found = _rounded(most, math.ceil)
    need = _useful(
        rule, rule.as_loss(found), f"{said}, {bound.words} ({figures.counted})", within_one=figures.has_interval,
    )  # fmt: skip
    return Need(value=need.value, why=need.why, has_noise=bound.has_noise)


def _loss_bound(figures: Figures, rule: Rule) -> _Bound:
    """The upper end of a loss: of its 95% interval; where an interval decides, of that one if it is more."""
    is_absolute = not rule.is_share
    if not figures.has_interval:
        return _Bound(value=Fraction(-1), words="no interval is known: the measured loss alone", has_noise=False)
    high = _exact(rule.of(Quantities(relative=figures.relative_high, absolute=figures.absolute_high, pruned=None)))
    words = "95% interval up to"
    if high is not None and figures.by_interval and rule.key in figures.strictest:
        strictest = _exact(figures.strictest[rule.key])
        further = None if strictest is None else rule.as_loss(strictest)
        if further is None or further > high:
            high, words = further, "interval at its error rate up to"
    if high is None:
        why = "" if is_absolute else ": the original cannot be told from 0"
        return _Bound(value=None, words=f"its interval is unbounded{why}")
    return _Bound(value=high, words=f"{words} {_shown(high, is_absolute=is_absolute)}")


def _useful(rule: Rule, value: Decimal, why: str, *, within_one: bool) -> Need:
    """No threshold is better than one that nothing can break."""
    if rule.holds_always(value, within_one=within_one):
        return Need(value=None, why=f"{why}: a threshold of that would never fail")
    return Need(value=value, why=why)


def _rounded(value: Fraction, way: Callable[[Fraction], int]) -> Decimal:
    return Decimal(way(value * _STEP)) / _STEP


def _exact(bound: float | None) -> Fraction | None:
    return None if bound is None else Fraction(repr(round(bound, _DIGITS)))


def _shown(value: Fraction, *, is_absolute: bool) -> str:
    return f"{float(value):.4f}" if is_absolute else _percent(value)


def _percent(value: Fraction) -> str:
    return f"{float(value):.2%}"
