"""What must be equal for two runs' figures to stand in one report: models, settings, data."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.hashing import hash_file
from pytest_prunegate.execution.devices import hardware_name
from pytest_prunegate.tasks.checks import RunningKind
from pytest_prunegate.tasks.task_builder import FEWSHOT_SEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask

# Of a task's settings, those that change no figure, and its data, which is told apart.
_NOT_SETTINGS = ("line", "metrics", "outputs", "marks", "dataset", "slice_by", "thresholds", "decision", "unsafe_code")
WORDS = {
    "original": "another original model, or loaded otherwise",
    "pruned": "another pruned model, or loaded otherwise",
    "settings": "other settings",
    "data": "other data",
}


class Identities:
    """Digests of everything that a check's figures depend on, by what it is.

    They are known without loading a task, so that a run can tell whether an earlier one's figures are about the same thing.
    Data on a hub is known by its name alone. Local data is read once for all checks of a task.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._data: dict[str, str] = {}

    def of(self, check: Check) -> dict[str, str]:
        """The digests of a check: original, pruned, settings, data."""
        gate, task = self._gate, self._gate.task(check.task)
        is_drawn = any(part.asking_kind.is_sampled and part.spec.sample_limit is not None for part in task.parts)
        settings = {
            "check": [check.metric, check.filter, check.measure],
            "asked": [threshold.text for threshold in check.thresholds if threshold.rule.takes_text],
            "seed": gate.options.seed if is_drawn else None,
            "parts": [_settings(part) for part in (task, *task.members)],
            "machine": _machine(gate, task),
            "mask": None if task.asks_models else _mask(gate),
            "weighting": [asdict(aggregate) for aggregate in task.aggregates],
        }
        sides = {
            side: _digest([gate.facts[side].fingerprint, asdict(gate.conditions[side])])
            for side in gate.facts
        }  # fmt: skip
        if task.name not in self._data:
            self._data[task.name] = _digest([_data(gate, part) for part in task.parts or (task,)])
        return sides | {"settings": _digest(settings), "data": self._data[task.name]}


def data_fingerprint(parts: Sequence[PreparedTask]) -> str:
    """One fingerprint for the data of a task, or of all members of a group in their order."""
    if len(parts) == 1:
        return parts[0].data_fingerprint
    return xxhash.xxh3_128("-".join(part.data_fingerprint for part in parts).encode()).hexdigest()


def fewshot_seeds(task: GateTask, parts: Sequence[PreparedTask]) -> tuple[int, ...]:
    """The seeds that draw a task's examples, or those of a group's members; none where there are no examples."""
    shown = [own for own, part in zip(task.parts, parts, strict=True) if part.num_fewshot]
    seeds = (own.settings.fewshot_seed for own in shown)
    return tuple(dict.fromkeys(FEWSHOT_SEED if seed is None else seed for seed in seeds))


def _mask(gate: Gate) -> str | None:
    """The fingerprint of the model whose zeros are compared."""
    pruned = gate.facts.get("pruned")
    return pruned.mask_from.fingerprint if pruned and pruned.mask_from else None


def _machine(gate: Gate, task: GateTask) -> str | None:
    """Where a figure was measured that is of the machine, too."""
    is_of_machine = isinstance(task.kind, RunningKind) and task.kind.is_of_machine
    return f"{platform.node()}, {hardware_name(gate.options.device)}" if is_of_machine else None


def _digest(value: Any) -> str:
    return xxhash.xxh3_128(_canonical(value).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _settings(part: GateTask) -> dict[str, Any]:
    return {
        field.name: getattr(part.spec, field.name) for field in fields(part.spec) if field.name not in _NOT_SETTINGS
    }


def _data(gate: Gate, part: GateTask) -> Any:
    """What a part is asked, as far as files say it: the task's definition, and local data."""
    dataset = getattr(part.spec, "dataset", None)
    found: list[Any] = [part.name, _local(dict(dataset)) if dataset else None]
    if part.info is None:
        return found
    found.append(_canonical(dict(part.info.overrides)))
    if part.info.path is not None:
        found.append(hash_file(part.info.path))
        folder = gate.options.include_path
        if folder and part.info.path.is_relative_to(folder.resolve()):
            from pytest_prunegate.tasks.task_builder import local_configuration

            found += [_folder_digest(folder.resolve(), ("*.yaml", "*.yml", "*.py")), _local(local_configuration(part))]
    return found


def _local(value: Any) -> Any:
    """A data set's arguments, with the content of every file or folder that they name."""
    if isinstance(value, dict):
        return {str(key): _local(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_local(inner) for inner in value]
    path = Path(value) if isinstance(value, str) and value else None
    if path is not None and path.is_file():
        return hash_file(path)
    return _folder_digest(path, ("*",)) if path is not None and path.is_dir() else value


def _folder_digest(folder: Path, patterns: tuple[str, ...]) -> list[tuple[str, str]]:
    paths = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    return [(str(path.relative_to(folder)), hash_file(path)) for path in paths]
