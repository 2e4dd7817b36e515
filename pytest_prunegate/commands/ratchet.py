"""Tightens the values of a thresholds file to what a recorded run needs. Nothing is loosened, and nothing else is touched."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.commands.recorded import Need, need_of
from pytest_prunegate.errors import InputError
from pytest_prunegate.input.task_reader import settings_words
from pytest_prunegate.input.thresholds import TaskSpec
from pytest_prunegate.tasks.thresholds_file import parse_thresholds, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pytest_prunegate.commands.recorded import RecordedRun, RecordedTask
    from pytest_prunegate.input.thresholds import Spec, Threshold, ThresholdsFile

_BOM = "\ufeff"
_FREE = ("limit", "marks", "slice_by", "decide", "error_rate", "indifference", "inconclusive")
"""Settings that change what a figure is an estimate of, or nothing at all, but not what is measured."""


@dataclass(frozen=True, kw_only=True)
class Ratchet:
    """The tightened text, a line for each value that was tightened, and one for each that was left."""

    text: str
    tightened: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _User:
    """A check of the file that a threshold serves; without a name where the file leaves its metrics to others."""

    spec: Spec
    name: str | None
    threshold: Threshold

    @property
    def label(self) -> str:
        return f"{self.spec.name}.{self.name}" if self.name else self.spec.name


@dataclass(frozen=True, kw_only=True)
class _Edit:
    """A threshold with its new value as it is to be written."""

    threshold: Threshold
    number: str
    value: Decimal


def tighten(path: Path, run: RecordedRun) -> Ratchet:
    """Tighten a thresholds file by a recorded run.

    Args:
        path: the file; it is not written.
        run: what was recorded.

    Raises:
        InputError: the file cannot be read, has mistakes, or writes a value in a way that cannot be edited.
    """
    display = str(path)
    whole = read_text(path, display=display)
    text = whole.removeprefix(_BOM)
    file = _parsed(text, path)
    edits: list[_Edit] = []
    tightened: list[str] = []
    left: list[str] = []
    for users in _by_place(file):
        threshold = users[0].threshold
        where = "defaults" if _is_of(threshold, file.defaults) else ", ".join(user.label for user in users)
        place = f"{display}:{threshold.line}: {where}: {_rule_name(users[0])} {threshold.text}"
        edit, why = _edit(threshold, users, run)
        if edit is None:
            left.append(f"{place} stays: {why}")
        else:
            edits.append(edit)
            tightened.append(f"{place} -> {_with_percent(edit.number, threshold)}")
    found = _edited(text, edits, display)
    _verify(file, _parsed(found, path), edits, display)
    return Ratchet(text=whole[: len(whole) - len(text)] + found, tightened=tuple(tightened), left=tuple(left))


def write_in_place(path: Path, text: str) -> None:
    """Replace a file's text at once, with its permissions; behind a link, the file that it leads to.

    Raises:
        OSError: it cannot be written.
    """
    target = path.resolve()
    with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        file.write(text.encode("utf-8"))
    temporary = Path(file.name)
    try:
        shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _parsed(text: str, path: Path) -> ThresholdsFile:
    file, mistakes = parse_thresholds(text, path=path, display=str(path))
    if mistakes.found:
        raise InputError(mistakes.render())
    return file


def _by_place(file: ThresholdsFile) -> list[list[_User]]:
    """The checks that each value of the file serves, in the order of the text; one value serves several by defaults and anchors."""
    places: dict[tuple[int, int], list[_User]] = {}
    for user in _users(file):
        if user.threshold.span is not None:
            places.setdefault(user.threshold.span, []).append(user)
    return [places[span] for span in sorted(places)]


def _users(file: ThresholdsFile) -> Iterator[_User]:
    for spec in file.specs:
        used = spec.named_thresholds(file.defaults)
        yield from (_User(spec=spec, name=name, threshold=threshold) for name, threshold in used)


def _is_of(threshold: Threshold, thresholds: tuple[Threshold, ...]) -> bool:
    return any(threshold.span == other.span for other in thresholds)


def _rule_name(user: _User) -> str:
    return str(user.name if user.threshold.rule.takes_name_of_check else user.threshold.rule)


def _edit(threshold: Threshold, users: list[_User], run: RecordedRun) -> tuple[_Edit | None, str]:
    """How a value is tightened; or why it stays."""
    needs: list[tuple[_User, Need]] = []
    for user in users:
        found, why = _needs(user, run)
        if why:
            return None, why if len(users) == 1 else f"{user.label}: {why}"
        needs += [(user, need) for need in found]
    grows = threshold.rule.at_least
    user, most = sorted(needs, key=lambda one: one[1].value or Decimal(0), reverse=not grows)[0]
    assert most.value is not None
    number = _number(most.value, threshold)
    need = f"{_with_percent(number, threshold)}{f' for {user.label}' if len(users) > 1 else ''}"
    if most.value == threshold.value:
        return None, f"it is what is needed ({most.why})"
    if (most.value > threshold.value) != grows:
        return None, f"{need} is needed ({most.why}), which would loosen it"
    return _Edit(threshold=threshold, number=number, value=most.value), ""


def _needs(user: _User, run: RecordedRun) -> tuple[list[Need], str]:
    """What the recorded checks behind one of the file's need (a tag has several); or why that is not known."""
    if user.name is None:
        return [], "the file names no metrics of it"
    tasks = [task for task in run.tasks if user.spec.name in {task.name, *task.origins}]
    found = [(task, check) for task in tasks for check in task.checks if check.name == user.name]
    if not found:
        return [], "it is not in the results"
    needs = [need_of(check, user.threshold.rule) for _, check in found]
    for (task, _), need in zip(found, needs, strict=True):
        if differing := _other_settings(user.spec, task):
            return [], f"it was measured with other settings ({', '.join(differing)})"
        if need.value is None or not need.has_noise:
            return [], need.why
    return needs, ""


def _other_settings(spec: Spec, task: RecordedTask) -> list[str]:
    """The keys by which the file asks for something else than was measured."""
    here, there = settings_words(spec), dict(task.settings)
    if isinstance(spec, TaskSpec) and spec.num_fewshot is not None and spec.num_fewshot == task.shots:
        there["num_fewshot"] = task.shots  # as lm-eval has it anyway
    keys = [key for key in dict.fromkeys([*here, *there]) if key not in _FREE]
    return [key for key in keys if _without_folders(here.get(key)) != _without_folders(there.get(key))]


def _without_folders(value: Any) -> Any:
    """A setting; of its files only the names, for the run may have been another machine's."""
    if not isinstance(value, dict) or "data_files" not in value:
        return value
    files: Mapping[str, list[str]] = value["data_files"]
    return {**value, "data_files": {split: [Path(name).name for name in names] for split, names in files.items()}}


def _number(value: Decimal, threshold: Threshold) -> str:
    """A value as the threshold is written: in per cent, or as a fraction."""
    shown = value * 100 if threshold.text.endswith("%") else value
    return f"{shown.normalize():f}"


def _with_percent(number: str, threshold: Threshold) -> str:
    return f"{number}%" if threshold.text.endswith("%") else number


def _edited(text: str, edits: list[_Edit], display: str) -> str:
    for edit in reversed(edits):
        start, end = edit.threshold.span or (0, 0)
        old = edit.threshold.text.removesuffix("%").strip()
        before, found, after = text[start:end].rpartition(edit.threshold.text)
        if not found:
            place = f"{display}:{edit.threshold.line}: {edit.threshold.text}"
            raise InputError(f"{place} is written in a way that cannot be edited in place. Write it plainly.")
        text = text[:start] + before + edit.number + found.removeprefix(old) + after + text[end:]
    return text


def _verify(before: ThresholdsFile, after: ThresholdsFile, edits: list[_Edit], display: str) -> None:
    """Nothing else may have changed."""
    new = {edit.threshold.span: edit.value for edit in edits}
    wanted = [(user.label, user.threshold.rule, new.get(user.threshold.span, user.threshold.value)) for user in _users(before)]  # fmt: skip
    found = [(user.label, user.threshold.rule, user.threshold.value) for user in _users(after)]
    if wanted != found:
        raise InputError(f"{display}: its values cannot be edited in place. Write each of them once, and plainly.")
