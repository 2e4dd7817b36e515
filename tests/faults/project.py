"""The project that is disturbed: two tiny real models, three kinds of requests, and what a run of it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.scripted import BOOLQ_AND_GSM8K, write_data
from support.tiny import write_tiny_llama

TOLERANCE = 1e-4  # of log-probabilities, where batches are put together otherwise
ENGINE = 16  # a batch size that stands for the default executor
FILES = (
    "original_model_results.json", "pruned_model_results.json", "comparison_results.json", "comparison_report.md",
    "comparison_report.html", "changed.jsonl",
)  # fmt: skip
_TEXT = "What is the number? It is so. Question: 1 2 3 passage\n\nand even and odd, true False yes no 4567. "
_PERPLEXITY = """
perplexity:
  wikitext2:
    max_relative_increase: 900%
    seqlen: 64
    dataset: {path: text, data_files: {test: data/text.txt}}
"""
# Times, and nothing else: moments (with or without their zone), seconds in JSON, durations in the reports.
_MOMENT = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?")
_SECONDS = re.compile(rb'("seconds": )[\d.e-]+')
_DAY = re.compile(rb'("(?:first|last)": )"\d{4}-\d\d-\d\d"')
_DAYS = re.compile(rb'(data-label="Days">)[^<]*')
_DURATION = re.compile(rb"\b\d+(\.\d+)? (s|min|h)\b")

Responses = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with models, data and thresholds. Every run has the same command line, so that its reports can be the same."""

    folder: Path
    cache: Path

    @property
    def store(self) -> Path:
        """The file with the responses."""
        return self.folder / "store" / "responses.sqlite"

    @property
    def results(self) -> Path:
        """What a run writes."""
        return self.folder / "prunegate-results"

    @property
    def journal(self) -> Path:
        """What a run did, line by line; see watching.py."""
        return self.folder / "journal.jsonl"

    def arguments(self, *more: str, batch_size: int = 1, pruned: str = "pruned") -> list[str]:
        """The command line of a run."""
        backend = "fast" if batch_size == ENGINE else "hf"
        return [
            f"--prunegate-backend={backend}", "--original=original", f"--pruned={pruned}", "--prunegate-store=store", f"--prunegate-cache-dir={self.cache}",
            "--prunegate-device=cpu", f"--prunegate-batch-size={batch_size}", "-p", "no:cacheprovider", *more,
        ]  # fmt: skip

    def forget(self) -> None:
        """Remove what runs left. The folders themselves stay: one may be a mounted disk."""
        for folder in (self.folder / "store", self.results):
            for path in folder.glob("*") if folder.is_dir() else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            (folder / ".gitignore").unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def responses(self) -> Responses:
        """What is committed, by model and request; read from a copy, because reading recovers a file after a kill."""
        with tempfile.TemporaryDirectory() as copy:
            for ending in ("", "-wal", "-journal"):
                if (path := Path(f"{self.store}{ending}")).exists():
                    shutil.copy(path, copy)
            path = Path(copy) / self.store.name
            if not path.exists():
                return {}
            with closing(sqlite3.connect(path)) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'responses'").fetchall():
                    return {}
                connection.text_factory = lambda text: text.decode(errors="replace")  # a damaged row need not be UTF-8
                rows = connection.execute("SELECT model, request, response FROM responses").fetchall()
        return {(model, request): _parsed(response) for model, request, response in rows}

    def events(self) -> list[dict[str, Any]]:
        """The journal of the last run."""
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def files(self) -> dict[str, bytes]:
        """The final files without their times; those that are missing are left out."""
        return {
            name: without_times((self.results / name).read_bytes()) for name in FILES if (self.results / name).exists()
        }

    def checks(self) -> list[dict[str, Any]]:
        """The checks as comparison_results.json has them; none where there is no such file."""
        path = self.results / "comparison_results.json"
        found: list[dict[str, Any]] = json.loads(path.read_text())["checks"] if path.exists() else []
        return found


def _parsed(response: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(response)
    except ValueError:
        return {"unreadable": response}
    return parsed


def without_times(content: bytes) -> bytes:
    """A report with its moments and durations masked."""
    for pattern, mask in (
        (_MOMENT, b"<moment>"),
        (_SECONDS, rb"\1<seconds>"),
        (_DAY, rb"\1<day>"),
        (_DAYS, rb"\1<days>"),
        (_DURATION, b"<duration>"),
    ):
        content = pattern.sub(mask, content)
    return content


def write_project(folder: Path, cache: Path, *, documents: int, windows: int) -> Project:
    """Make the models and data.

    Args:
        folder: takes the project; what was there is removed.
        cache: of the gate, with lm-eval's index, shared by all projects.
        documents: of each of the two tasks.
        windows: of the text, about.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_tiny_llama(folder / "original", seed=1)
    write_tiny_llama(folder / "pruned", seed=2)
    write_tiny_llama(folder / "other", seed=3)
    write_tiny_llama(folder / "nan", seed=2, broken=True)
    write_data(folder / "data", documents)
    (folder / "data" / "text.txt").write_text(_TEXT * windows)
    (folder / "thresholds.yaml").write_text(BOOLQ_AND_GSM8K + _PERPLEXITY)
    return Project(folder=folder, cache=cache)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run came to: exit code, final files, checks, and the store's responses."""

    code: int | None
    files: dict[str, bytes]
    checks: list[dict[str, Any]]
    responses: Responses

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """Check by check."""
        return [(f"{check['task']}.{check['name']}", check["outcome"]) for check in self.checks]


def outcome_of(project: Project, code: int | None) -> Outcome:
    """What a run that ended with this exit code left behind."""
    return Outcome(code=code, files=project.files(), checks=project.checks(), responses=project.responses())


def differences(found: Outcome, expected: Outcome, *, batch_size: int) -> list[str]:
    """In what a run ended otherwise than the undisturbed one; see the package's docstring for what has to be equal."""
    problems = [f"exit code {found.code}, not {expected.code}"] if found.code != expected.code else []
    if batch_size == 1:
        problems += [
            f"{name} differs: {_first_difference(found.files.get(name), expected.files.get(name, b''))}"
            for name in FILES
            if found.files.get(name) != expected.files.get(name)
        ]
    if found.verdicts != expected.verdicts:
        problems.append(f"verdicts {found.verdicts}, not {expected.verdicts}")
    if [_scores(check) for check in found.checks] != [_scores(check) for check in expected.checks]:
        problems.append("scores differ")
    return problems + response_differences(found.responses, expected.responses, exact=batch_size == 1)


def _first_difference(found: bytes | None, expected: bytes) -> str:
    if found is None:
        return "it is not there"
    pairs = zip_longest(found.decode().splitlines(), expected.decode().splitlines())
    return next((f"{one!r}, not {other!r}" for one, other in pairs if one != other), "its end")


def response_differences(found: Responses, expected: Responses, *, exact: bool) -> list[str]:
    """How the stores' responses differ."""
    problems = []
    if found.keys() != expected.keys():
        problems.append(
            f"{len(expected.keys() - found.keys())} responses lack, {len(found.keys() - expected.keys())} are too many"
        )
    return problems + [
        f"a response is {found[key]}, not {expected[key]}"
        for key in found.keys() & expected.keys()
        if not _same(found[key], expected[key], exact=exact)
    ]


def _same(one: dict[str, Any], other: dict[str, Any], *, exact: bool) -> bool:
    if exact:
        return one == other
    near = abs(one.get("loglikelihood", 0.0) - other.get("loglikelihood", 0.0)) <= TOLERANCE
    return near and {**one, "loglikelihood": None} == {**other, "loglikelihood": None}


def _scores(check: dict[str, Any]) -> list[Any]:
    """The scores that are counts, exactly; a perplexity is as near as its log-probabilities."""
    exact = check["exact"] or {}
    is_count = check["metric"] != "perplexity"
    return [check["documents"], check["lost"], check["gained"], *(exact.values() if is_count else ())]
