"""Proposes a thresholds file from a recorded run: the same tasks and settings, each check with what it lost plus its noise."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.commands.recorded import Need, need_of
from pytest_prunegate.errors import InputError
from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.input.rules import MAX_RELATIVE_DROP, MAX_RELATIVE_INCREASE, MAX_SHARE, RULES
from pytest_prunegate.input.thresholds import TaskSpec
from pytest_prunegate.plain import seen_from
from pytest_prunegate.tasks.kinds import KINDS, figure_metric, sections
from pytest_prunegate.tasks.thresholds_file import parse_thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_prunegate.commands.recorded import RecordedCheck, RecordedRun, RecordedTask
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.rule import Rule

_OUTPUTS = ("max_empty", "max_cut")
_HEADER = """\
Proposed by `python -m pytest_prunegate thresholds` from {source}
(run of {started}; original: {original}; pruned: {pruned}).
A value is what was lost plus its noise: the upper end of the loss's 95% interval, rounded up to 0.1%, so that the recorded
pair passes. It says what this pruned model loses, and not what may be lost: tighten what is too generous."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A thresholds file: its text, how many thresholds it has, and how many checks it has none for."""

    text: str
    thresholds: int
    left_out: int


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """The thresholds that are proposed for a check, as YAML values by their keys, and a comment on all of its rules."""

    check: RecordedCheck
    values: Mapping[str, Any]
    comment: str

    @property
    def metric(self) -> str:
        """What the file calls the metric that the check is of."""
        own = next((rule for rule in self.check.rules if RULES[rule].has_own_check), None)
        return self.check.name.removesuffix(f".{own}") if own else self.check.name

    @property
    def is_output(self) -> bool:
        return self.check.name in _OUTPUTS and MAX_SHARE.key in self.check.rules


def propose(run: RecordedRun, *, path: Path) -> Proposal:
    """Propose a thresholds file.

    Args:
        run: what was recorded.
        path: where the file is to lie; paths of data below its folder are written as seen from there.

    Raises:
        InputError: there is nothing to propose, or the file would not be read back.
    """
    entries = {task.name: [_entry(check) for check in task.checks] for task in run.tasks}
    every = [entry for found in entries.values() for entry in found]
    lines = [f"# {_printable(line)}" for line in _HEADER.format(source=run.source, started=run.started, **_models(run)).splitlines()]  # fmt: skip
    for section, kind in reversed(sections().items()):
        tasks = [(task, entries[task.name]) for task in run.tasks if _section_of(task) == section]
        lines += _section(None if kind.is_single else section, tasks, path.parent)
    text = "\n".join(lines) + "\n"
    if not any(entry.values for entry in every):
        reasons = "\n".join(f"{entry.check.task}.{entry.check.name}: {entry.comment}" for entry in every)
        raise InputError(f"{run.source}: no threshold can be proposed:\n{reasons}")
    _, mistakes = parse_thresholds(text, path=path, display="the proposed file")
    if mistakes.found:
        raise InputError(f"{run.source}: what was asked for there cannot be asked for here:\n{mistakes.render()}")
    return Proposal(
        text=text,
        thresholds=sum(key in {*RULES, *_OUTPUTS} for entry in every for key in entry.values),
        left_out=sum(not entry.values for entry in every),
    )


def _section_of(task: RecordedTask) -> str:
    """The key of thresholds.yaml below which a task stands; a group stands among the tasks."""
    return KINDS[task.kind].section or TaskSpec.section


def _models(run: RecordedRun) -> dict[Side, str]:
    return {side: run.models.get(side, "none") for side in SIDES}


def _entry(check: RecordedCheck) -> _Entry:
    values: dict[str, Any] = {}
    comments: list[str] = []
    for written in check.rules or (() if figure_metric(check.name) else (MAX_RELATIVE_DROP.key,)):
        rule, need = _need(check, RULES[written])
        if need.value is None:
            comments.append(f"no {_key(check, rule)}: {need.why}")
        else:
            values[_key(check, rule)] = _yaml_value(need, rule)
            comments.append(need.why)
    return _Entry(check=check, values=values, comment=_printable("; ".join(dict.fromkeys(comments))))


def _need(check: RecordedCheck, rule: Rule) -> tuple[Rule, Need]:
    """What a check needs; a loss beyond 100% has its own rule where lower is better."""
    need = need_of(check, rule)
    if need.value is None and rule == MAX_RELATIVE_DROP and check.figures and check.figures.is_lower_better:
        return MAX_RELATIVE_INCREASE, need_of(check, MAX_RELATIVE_INCREASE)
    return rule, need


def _key(check: RecordedCheck, rule: Rule) -> str:
    return check.name if rule.takes_name_of_check else rule.key


def _yaml_value(need: Need, rule: Rule) -> Any:
    assert need.value is not None
    return f"{(need.value * 100).normalize():f}%" if rule.is_share else float(need.value)


def _section(name: str | None, tasks: list[tuple[RecordedTask, list[_Entry]]], folder: Path) -> Iterator[str]:
    """A part of the file; a task without any threshold is left as comments, for it would be asked for all of its metrics."""
    indent = "  " if name else ""
    if name and any(entry.values for _, entries in tasks for entry in entries):
        yield f"{name}:"
    for task, entries in tasks:
        has_values = any(entry.values for entry in entries)
        lines = _task_lines(task, entries, folder) if has_values else _comments(entries, prefix=f"{task.name}.")
        yield from (f"{indent}{line}" if line else line for line in lines)


def _task_lines(task: RecordedTask, entries: list[_Entry], folder: Path) -> Iterator[str]:
    settings = _dumped(_settings(task, folder)).removesuffix("\n")
    lines = settings.split("\n") if settings else []
    if KINDS[task.kind].is_of_lm_eval:
        metrics = [entry for entry in entries if not entry.is_output]
        lines += _checks("metrics", metrics, [_metric_line(own) for own in _by_metric(metrics)])
        outputs = [entry for entry in entries if entry.is_output]
        lines += _checks("outputs", outputs, [_value_line(entry) for entry in outputs if entry.values])
    else:
        lines = [*(_value_line(entry) for entry in entries if entry.values), *_comments(entries), *lines]
    yield _dumped({task.name: None}).removesuffix(" null\n")
    yield from textwrap.indent("\n".join(lines), "  ").split("\n")


def _checks(key: str, entries: list[_Entry], lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{key}:"
        yield from (f"  {line}" for line in lines)
    yield from (f"  {line}" for line in _comments(entries))


def _by_metric(entries: list[_Entry]) -> list[list[_Entry]]:
    """The entries with values of each metric: its own, and those of its answers."""
    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        if entry.values:
            found.setdefault(entry.metric, []).append(entry)
    return list(found.values())


def _metric_line(entries: list[_Entry]) -> str:
    values = {key: value for entry in entries for key, value in {**entry.values, **entry.check.keys}.items()}
    return f"{_dumped({entries[0].metric: values}).rstrip()}  # {'; '.join(entry.comment for entry in entries)}"


def _value_line(entry: _Entry) -> str:
    return f"{_dumped(dict(entry.values)).rstrip()}  # {entry.comment}"


def _comments(entries: list[_Entry], *, prefix: str = "") -> Iterator[str]:
    """A line for each check without a threshold."""
    for entry in entries:
        if not entry.values:
            yield _printable(f"# {prefix}{entry.check.name}: {entry.comment}")


def _settings(task: RecordedTask, folder: Path) -> dict[str, Any]:
    """A task's settings, the marks of the tags that it came through, and its data as seen from a folder."""
    found = dict(task.settings)
    marks = [*found.pop("marks", []), *(name for name in task.origins if name.isidentifier() and name[0] != "_")]
    if marks:
        found["marks"] = list(dict.fromkeys(marks))
    if files := found.get("dataset", {}).get("data_files"):
        seen = {
            split: [str(seen_from(folder.resolve(), Path(name))) for name in names] for split, names in files.items()
        }
        short = {split: names[0] if len(names) == 1 else names for split, names in seen.items()}
        found["dataset"] = {**found["dataset"], "data_files": short}
    return found


def _dumped(values: dict[str, Any]) -> str:
    """Values as YAML, a key at a time: lists and mappings in one line where they hold no further ones."""
    import yaml

    return "".join(
        yaml.safe_dump(
            {key: value}, sort_keys=False, default_flow_style=None if isinstance(value, (dict, list)) else False,
            allow_unicode=True, width=float("inf"),
        ) for key, value in values.items()
    )  # fmt: skip


def _printable(text: str) -> str:
    """Text for a comment, which ends with its line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
