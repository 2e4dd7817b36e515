"""Which files of a checkpoint transformers would load, and what their JSON says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

# In transformers' own order of preference.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no such file.

    Raises:
        ModelError: it does not parse.
    """
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise ModelError(f"{path}: expected a JSON object.")
    return loaded


def weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers loads from a checkpoint, sorted.

    Raises:
        ModelError: there are none, or some of a sharded checkpoint are missing.
    """
    present = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not present:
        raise ModelError(f"{folder}: there are no weights in this directory (looked for {', '.join(WEIGHTS)}).")
    if present[0].suffix != ".json":
        return present[:1]
    shards = sorted({folder / name for name in read_json(present[0]).get("weight_map", {}).values()})
    missing = [path.name for path in shards if not path.is_file()]
    if missing or not shards:
        raise ModelError(f"{present[0]}: shards are missing: {', '.join(missing) or 'all'}.")
    return shards
