"""Writes the result files and reports of a run: each is complete, or it is not there."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash
from filelock import FileLock

from pytest_prunegate.atomic_file import replacing
from pytest_prunegate.report.changed_records import CHANGED_FILE
from pytest_prunegate.report.records import RESULTS_FILE
from pytest_prunegate.report.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_prunegate.report.earlier import Earlier
    from pytest_prunegate.report.records import Summary

MODEL_RESULTS_VERSION = 2
_PATIENCE = 60  # seconds
BASELINE = "baseline_results.json"
COMPARISONS = (RESULTS_FILE, "comparison_report.md", "comparison_report.html")


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else on this machine writes reports into a folder meanwhile: a run reads there what it is about to replace.

    Raises:
        OSError: another run has been at it for a minute.
    """
    digest = xxhash.xxh3_64(str(folder.resolve()).encode()).hexdigest()
    user = os.getuid() if hasattr(os, "getuid") else "user"  # /tmp may keep one user's lock from another
    with FileLock(Path(tempfile.gettempdir()) / f"prunegate-reports-{user}-{digest}.lock", timeout=_PATIENCE):
        yield


def write_reports(summary: Summary, folder: Path) -> list[Path]:
    """Write the JSON results, the Markdown and the HTML report.

    Args:
        summary: the run.
        folder: takes the files; they replace those of an earlier run one by one.

    Returns:
        The files, the HTML report last.

    Raises:
        OSError: a file cannot be written.
    """
    texts = {
        model_file(side, model.name): _json(model_results(summary, side)) for side, model in summary.models.items()
    }
    texts[RESULTS_FILE] = _json(summary.as_json())
    texts["comparison_report.md"] = render(summary, "report.md.j2")
    texts["comparison_report.html"] = render(summary, "report.html.j2")
    return _write_all(folder, texts)


def write_baseline(summary: Summary, folder: Path) -> list[Path]:
    """Write what the original alone scored; reports of comparisons in the same folder stay as they are.

    Raises:
        OSError: the file cannot be written.
    """
    return _write_all(folder, {BASELINE: _json(model_results(summary, "original"))})


def archive(earlier: Earlier, folder: Path, *, names: dict[str, str | None]) -> Path | None:
    """Move the files of earlier runs away where some of what they say is stale, or where this run writes others.

    Args:
        earlier: what they are.
        folder: where they are.
        names: this run's models by side, as their files carry them.

    Returns:
        The folder that took them; None where nothing was moved.

    Raises:
        OSError: a file cannot be moved.
    """
    rewritten = (
        set()
        if earlier.stale
        else {*(model_file(side, name) for side, name in names.items()), *COMPARISONS, CHANGED_FILE}
    )
    present = [folder / name for name in earlier.files if name not in rewritten and (folder / name).is_file()]
    if not present:
        return None
    stem = (earlier.started or "unreadable").replace(":", "-").partition("+")[0]
    target = _free_name(folder / "archive" / stem)
    target.mkdir(parents=True)
    for path in present:
        path.rename(target / path.name)
    return target


def model_results(summary: Summary, side: str) -> dict[str, Any]:
    """One model's scores by task and metric, in the shape that people already parse. What was not measured is null."""
    model = summary.models[side]
    tasks: dict[str, dict[str, float | None]] = {}
    members: dict[str, dict[str, dict[str, float]]] = {}
    for check in summary.checks:
        if check.metric == "sparsity":
            continue
        tasks.setdefault(check.task, {})[check.name] = check.original if side == "original" else check.pruned
        for member in check.members:
            members.setdefault(check.task, {}).setdefault(member["name"], {})[check.name] = member[side]
    return {
        "version": MODEL_RESULTS_VERSION,
        "model_path": model.path,
        "name": model.name,
        "fingerprint": model.fingerprint,
        "sparsity": model.sparsity,
        "sparsity_problem": model.sparsity_problem,
        "wikitext_ppl": model.wikitext_ppl,
        "wikitext_windows": model.wikitext_windows,
        "tasks": tasks,
        "members": members,
        "outputs": {task.name: task.outputs[side] for task in summary.tasks},
        "documents": {task.name: task.documents for task in summary.tasks},
    }


def _free_name(path: Path) -> Path:
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def model_file(side: str, name: str | None) -> str:
    """File of one model's scores; a named model's carries its name."""
    suffix = f"_{name}" if name else ""
    return f"{side}_model_results{suffix}.json"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False, default=str) + "\n"


def remove_left_behind(path: Path) -> None:
    """Remove what a run left that was killed while it wrote a file."""
    for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left_behind.unlink(missing_ok=True)


def _write_all(folder: Path, texts: dict[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        remove_left_behind(folder / name)
        with replacing(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in texts]
