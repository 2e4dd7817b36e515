"""Moves away what earlier runs wrote about something else, and never what another comparison in the same folder still shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.report.summary.file_names import ANY_RESULTS, FileNames, model_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.report.summary.earlier import Earlier

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def archive(earlier: Earlier, folder: Path, names: FileNames, *, models: Mapping[str, ModelFacts]) -> Path | None:
    """Move the files of earlier runs away where some of what they say is stale, or where this run writes others.

    A model's scores stay where another comparison in the folder is about the same file, unless this run is about to write
    another model's in its place.

    Args:
        earlier: what they are.
        folder: where they are.
        names: of this run's files.
        models: this run's, by side.

    Returns:
        The folder that took them; None where nothing was moved.

    Raises:
        OSError: a file cannot be moved.
    """
    rewritten = set() if earlier.stale else set(names.of((side, facts.name) for side, facts in models.items()))
    claimed = set(_claimed_by_others(folder, names))
    leaving = [name for name in earlier.files if name not in rewritten and name not in claimed]
    replaced = {model_file(side, facts.name): facts.fingerprint for side, facts in models.items()}
    leaving += [
        name for name, own in replaced.items() if name not in leaving and _fingerprint(folder / name) not in {None, own}
    ]
    present = [folder / name for name in leaving if (folder / name).is_file()]
    if not present:
        return None
    stem = earlier.started or ("unreadable" if earlier.stale else "other-models")
    target = _room_for(present, folder / "archive" / stem.replace(":", "-").partition("+")[0])
    target.mkdir(parents=True, exist_ok=True)
    for path in present:
        path.rename(target / path.name)
    return target


def _claimed_by_others(folder: Path, names: FileNames) -> Iterator[str]:
    """Files of models that other comparisons in the folder are about."""
    for path in folder.glob(ANY_RESULTS):
        if path.name == names.results:
            continue
        try:
            models = json.loads(path.read_text(encoding="utf-8"))["models"]
            yield from [model_file(side, model["name"]) for side, model in models.items()]
        except _UNREADABLE:  # told when it is read
            continue


def _fingerprint(path: Path) -> Any:
    """Of the model that a file of scores is about; None where there is no such file, or it does not say."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
    except _UNREADABLE:
        return None


def _room_for(files: list[Path], path: Path) -> Path:
    """A folder that has none of these files yet."""
    number, found = 1, path
    while any((found / file.name).exists() for file in files):
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found
