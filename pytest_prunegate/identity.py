"""What must be equal for two runs' figures to stand in one report: models, settings, data."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checks import Check, GateTask, TaskKind
from pytest_prunegate.thresholds import TaskSpec

if TYPE_CHECKING:
    from pytest_prunegate.gate import Gate

# Of a task's settings, those that change no figure, and its data, which is told apart.
_NOT_SETTINGS = ("line", "metrics", "outputs", "marks", "dataset", "thresholds")
WORDS = {
    "original": "another original model, or loaded otherwise",
    "pruned": "another pruned model, or loaded otherwise",
    "settings": "other settings",
    "data": "other data",
}


def check_identity(gate: Gate, check: Check) -> dict[str, str]:
    """Digests of everything that a check's figures depend on, by what it is.

    It is known without loading a task, so that a run can tell whether an earlier one's figures are about the same thing.
    Data on a hub is known by its name alone.
    """
    from pytest_prunegate.evaluation.requests import canonical_json

    task = gate.task(check.task)
    limits = [part.settings.limit for part in task.parts if isinstance(part.spec, TaskSpec)]
    settings = {
        "check": [check.metric, check.filter, check.measure],
        "seed": gate.options.seed if any(limit is not None for limit in limits) else None,
        "parts": [_settings(part) for part in (task, *task.members)],
        "weighting": [asdict(aggregate) for aggregate in task.aggregates],
    }
    sides = {
        side: canonical_json([gate.facts[side].fingerprint, asdict(gate.conditions[side])])
        for side in gate.facts if task.kind is not TaskKind.SPARSITY or side == "pruned"
    }  # fmt: skip
    texts = sides | {"settings": _canonical(settings), "data": _canonical([_data(part) for part in task.parts])}
    return {name: xxhash.xxh3_128(text.encode()).hexdigest() for name, text in texts.items()}


def _canonical(value: Any) -> str:
    import json

    return json.dumps(value, sort_keys=True, default=str)


def _settings(part: GateTask) -> dict[str, Any]:
    return {
        field.name: getattr(part.spec, field.name) for field in fields(part.spec) if field.name not in _NOT_SETTINGS
    }


def _data(part: GateTask) -> Any:
    """What a part is asked, as far as its files say it: the task's definition, and local data."""
    dataset = getattr(part.spec, "dataset", None)
    definition = part.info.path if part.info else None
    return [
        part.name,
        _file_digest(definition) if definition else None,
        _canonical(dict(part.info.overrides)) if part.info else None,
        None if dataset is None else {key: _content(value) if key == "data_files" else value for key, value in dataset.items()},
    ]  # fmt: skip


def _content(data_files: dict[str, list[str]]) -> dict[str, list[str]]:
    return {split: [_file_digest(Path(name)) for name in names] for split, names in data_files.items()}


def _file_digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
