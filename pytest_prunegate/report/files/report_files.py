"""Writes the result files and reports of a run, each complete or not there, and moves away what earlier runs wrote about something else."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import xxhash
from filelock import FileLock

from pytest_prunegate.atomic_file import remove_left_behind, replacing
from pytest_prunegate.input.model_argument import Side
from pytest_prunegate.report.page.candidate_page import candidate_page
from pytest_prunegate.report.page.renderer import render, render_shipped
from pytest_prunegate.report.summary.candidate_records import (
    CANDIDATES_MARKDOWN,
    CANDIDATES_PAGE,
    CANDIDATES_RESULTS,
    CandidatesSummary,
)
from pytest_prunegate.report.summary.file_names import ANY_RESULTS, FileNames
from pytest_prunegate.report.summary.records import MODEL_RESULTS_VERSION, ModelResults
from pytest_prunegate.report.summary.values import json_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.earlier import Earlier
    from pytest_prunegate.report.summary.records import Summary, TaskSummary


_PATIENCE = 60  # seconds
BASELINE = "baseline_results.json"


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


def write_reports(summary: Summary, folder: Path, names: FileNames) -> list[Path]:
    """Write the JSON results, the Markdown and the HTML report, and each model's scores; beside several candidates not the original's.

    Args:
        summary: the run.
        folder: takes the files; they replace those of an earlier run one by one.
        names: of the files.

    Returns:
        The files, the HTML report last.

    Raises:
        OSError: a file cannot be written.
    """
    texts = {
        names.model(side): as_text(json_values(model_results(summary, side)))
        for side in summary.models if side == "pruned" or names.candidate is None
    }  # fmt: skip
    results, markdown, page = names.comparisons
    texts[results] = as_text(summary.as_json())
    texts[markdown] = render(summary, "report.md.j2")
    texts[page] = render(summary, "report.html.j2")
    return write_texts(folder, texts)


def write_original(summaries: Sequence[Summary], folder: Path) -> list[Path]:
    """Write what the original scored beside several candidates, in one file.

    Early stopping may judge a check on other documents for each candidate: its score is the one beside the candidate for which
    most documents were looked at, and `compared_with` names that one.

    Raises:
        OSError: the file cannot be written.
    """
    checks = [max(found, key=_documents_of) for found in zip(*(own.checks for own in summaries), strict=True)]
    of = [next(own for own in summaries if check in own.checks) for check in checks]
    tasks: dict[str, TaskSummary] = {}
    for task in (task for own in summaries for task in own.tasks):
        tasks[task.name] = max(tasks.get(task.name, task), task, key=lambda one: one.documents)
    text = next((own for own in summaries if own.models["original"].wikitext_ppl is not None), summaries[0])
    joined = replace(summaries[0], checks=tuple(checks), tasks=tuple(tasks.values()), models=text.models)
    found = replace(model_results(joined, "original"), compared_with=_names_by_check(checks, of))
    return write_texts(folder, {FileNames().model("original"): as_text(json_values(found))})


def _documents_of(check: CheckSummary) -> int:
    return check.documents or 0


def _names_by_check(checks: Sequence[CheckSummary], of: Sequence[Summary]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for check, summary in zip(checks, of, strict=True):
        if check.original is not None and not check.is_counted:
            found.setdefault(check.task, {})[check.name] = summary.models["pruned"].name
    return found


def write_baseline(summary: Summary, folder: Path) -> list[Path]:
    """Write what the original alone scored; reports of comparisons in the same folder stay as they are.

    Raises:
        OSError: the file cannot be written.
    """
    return write_texts(folder, {BASELINE: as_text(json_values(model_results(summary, "original")))})


def model_results(summary: Summary, side: Side) -> ModelResults:
    """One model's scores by task and metric, in the shape that people already parse. What was not measured is null."""
    model = summary.models[side]
    tasks: dict[str, dict[str, float | None]] = {}
    members: dict[str, dict[str, dict[str, float]]] = {}
    scored: dict[str, dict[str, int | None]] = {}
    for check in summary.checks:
        if check.is_counted:
            continue
        tasks.setdefault(check.task, {})[check.name] = check.original if side == "original" else check.pruned
        scored.setdefault(check.task, {})[check.name] = check.documents
        for member in check.members:
            members.setdefault(check.task, {}).setdefault(member.name, {})[check.name] = getattr(member, side)
    return ModelResults(
        version=MODEL_RESULTS_VERSION, model_path=model.path, name=model.name, fingerprint=model.fingerprint, sparsity=model.sparsity,
        sparsity_problem=model.sparsity_problem, wikitext_ppl=model.wikitext_ppl, wikitext_windows=model.wikitext_windows,
        tasks=tasks, members=members, outputs={task.name: task.outputs[side] for task in summary.tasks},
        documents={task.name: task.documents for task in summary.tasks}, scored=scored,
    )  # fmt: skip


def as_text(value: dict[str, Any]) -> str:
    """JSON values as a file holds them."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_texts(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write files by their names into a folder, each whole or not at all; they replace those that are there.

    Raises:
        OSError: one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        remove_left_behind(folder / name)
        with replacing(folder / name) as file:
            file.write(text.encode())
    return [folder / name for name in texts]


def archive(earlier: Earlier, folder: Path, names: FileNames, *, models: Mapping[Side, ModelFacts]) -> Path | None:
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
    rewritten = set() if earlier.stale else set(names.all)
    claimed = set(_claimed_by_others(folder, names))
    leaving = [name for name in earlier.files if name not in rewritten and name not in claimed]
    replaced = {names.model(side): facts.fingerprint for side, facts in models.items()}
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
        if path.name != names.results:
            other = FileNames.of_results(path.name)
            yield from (other.model("original"), other.model("pruned"))


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """What is asked of a model's scores, of whichever version they are: a file is moved away even where it cannot be read back."""

    fingerprint: str


def _fingerprint(path: Path) -> str | None:
    """Of the model that a file of scores is about; None where there is no such file, or it does not say."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Scores).fingerprint
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _room_for(files: list[Path], path: Path) -> Path:
    """A folder that has none of these files yet."""
    number, found = 1, path
    while any((found / file.name).exists() for file in files):
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def write_candidates(summary: CandidatesSummary, folder: Path) -> list[Path]:
    """Write the overview of all candidates: JSON, Markdown and HTML.

    Args:
        summary: of the candidates.
        folder: takes the files, beside the candidates' own reports, to which they link.

    Returns:
        The files, the HTML report last.

    Raises:
        OSError: a file cannot be written.
    """
    return write_texts(
        folder,
        {
            CANDIDATES_RESULTS: as_text(summary.as_json()),
            CANDIDATES_MARKDOWN: markdown_of(summary),
            CANDIDATES_PAGE: render_shipped("candidates.html.j2", summary=summary, page=candidate_page(summary)),
        },
    )


def markdown_of(summary: CandidatesSummary, *, linked: bool = True) -> str:
    """The overview in Markdown; without links where it is shown away from the reports that it names."""
    return render_shipped("candidates.md.j2", summary=summary, linked=linked)
