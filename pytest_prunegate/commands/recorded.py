"""A recorded run, read from its comparison_results.json, and what each of its checks needs: the strictest threshold that leaves room for noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.input.rule import Quantities
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.report.summary.records import RESULTS_FILE
from pytest_prunegate.report.summary.results_file import OtherVersionError, UnreadableError, measured_of, read_results
from pytest_prunegate.verdict.outcome import Basis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.records import AskedTask, Summary
    from pytest_prunegate.report.summary.results_file import Measured


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a threshold can be made of: a check as it was measured, and how far its loss may reach.

    `relative_high` and `absolute_high` are the upper ends of the 95% intervals of the loss, None where they are unbounded, or
    not known. `by_interval` says whether an interval decides it. `gross` is the noise floor, as a share of the original's score.
    """

    measured: Measured
    relative_high: float | None
    absolute_high: float | None
    by_interval: bool
    gross: float
    counted: str

    @property
    def has_interval(self) -> bool:
        """Whether an interval of the loss is known."""
        return self.measured.check.interval is not None

    @property
    def strictest(self) -> Mapping[str, float | None]:
        """By rule, the threshold that an interval at the check's own error rate would just meet."""
        return self.measured.decision.strictest

    @property
    def is_lower_better(self) -> bool:
        """Whether a higher score is known to be worse."""
        drop, original = self.measured.drop, self.measured.original
        return bool(drop) and original is not None and self.measured.pruned - original == drop


@dataclass(frozen=True, kw_only=True)
class RecordedCheck:
    """A check of the run: its rules, its other keys in the file, and its figures (None, and `outcome`, where it has none)."""

    task: str
    name: str
    outcome: str
    rules: tuple[str, ...]
    keys: Mapping[str, Any]
    figures: Figures | None


@dataclass(frozen=True, kw_only=True)
class RecordedTask:
    """A task of the run with its settings, in the words of thresholds.yaml. `shots` are the examples that it had."""

    name: str
    kind: str
    origins: tuple[str, ...]
    settings: Mapping[str, Any]
    shots: int | None
    checks: tuple[RecordedCheck, ...]


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run: where it was read, when it began, its models in words, and its tasks."""

    source: str
    started: str
    models: Mapping[Side, str]
    tasks: tuple[RecordedTask, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not any(check.figures for task in self.tasks for check in task.checks)


def read_run(path: Path) -> RecordedRun:
    """Read a run.

    Args:
        path: its comparison_results.json, or the folder that holds it.

    Raises:
        InputError: it cannot be read, is of another version, or measured nothing.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        run = _run(read_results(file), str(file))
    except OSError as error:
        several = sorted(file.parent.glob(f"{file.stem}_*.json")) if path.is_dir() else []
        way_on = f"Name a {RESULTS_FILE}, or the folder that holds it."
        if several:
            way_on = f"There are those of several candidates; name one: {', '.join(map(str, several))}."
        raise InputError(f"{file}: cannot be read: {error.strerror}. {way_on}") from None
    except OtherVersionError as error:
        raise InputError(f"{file}: {error}. Run the gate again: its store has the answers.") from None
    except UnreadableError as error:
        raise InputError(f"{file}: {error}.") from None
    if run.is_empty:
        raise InputError(f"{file}: holds no measured check. Measure some, for example with --prunegate-record.")
    return run


def _run(found: Summary, source: str) -> RecordedRun:
    shots = {task.name: task.num_fewshot for task in found.tasks}
    tasks = tuple(
        RecordedTask(
            name=name, kind=asked.kind, origins=asked.origins, settings=asked.settings, shots=shots.get(name),
            checks=tuple(_check(check, asked) for check in found.checks if check.task == name),
        ) for name, asked in found.asked.items()
    )  # fmt: skip
    models = {side: model.name or model.path for side, model in found.models.items()}
    return RecordedRun(source=source, started=found.started, models=models, tasks=tasks)


def _check(check: CheckSummary, asked: AskedTask) -> RecordedCheck:
    own, measured = asked.checks.get(check.name), measured_of(check)
    if own is None:
        raise UnreadableError(f"is damaged: it does not say what was asked of {check.task}.{check.name}")
    is_confident = {**asked.settings, **own.keys}.get("decide") == Decide.CONFIDENT
    figures = _figures(measured, is_confident=is_confident) if measured else None
    return RecordedCheck(
        task=check.task, name=check.name, outcome=check.outcome, rules=own.rules, keys=own.keys, figures=figures
    )


def _figures(measured: Measured, *, is_confident: bool) -> Figures:
    check, decision = measured.check, measured.decision
    return Figures(
        measured=measured,
        relative_high=check.interval.relative[1] if check.interval else None,
        absolute_high=check.interval.absolute[1] if check.interval else None,
        by_interval=is_confident or decision.basis in {Basis.SAMPLE, Basis.CONFIDENT},
        gross=check.noise.gross if check.noise else 0.0,
        counted=f"{measured.documents} {check.unit}",
    )


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
    if rule.takes_text:
        return Need(value=None, why="write what the pruned model has to have")
    strictest = _exact(figures.strictest.get(rule.key))
    value, said = figures.measured.pruned, f"measured {_percent(figures.measured.pruned)}"
    if not rule.is_share:
        if strictest is None and rule.is_of_metrics:
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
