"""Writes a thresholds file for data that lies in a folder: which task each file is for, by its fields, and which split, by its name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import seen_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_LONGEST_LINE = 2**22  # characters of a first line; a document of these data sets has a few thousand
_SPLIT = re.compile(r"(?<![a-z])(train|test|validation|valid|dev)(?![a-z])", re.IGNORECASE)
_SPLITS = {"valid": "validation", "dev": "validation"}


@dataclass(frozen=True)
class _Shape:
    """What the files of a task look like.

    Attributes:
        task: in lm-eval, or a data set of the section perplexity.
        fits: whether a first document is one of this task's.
        split: the one that is asked.
        fewshot_split: the one that examples are drawn from, where there are any.
        lines: the rest of its entry in the thresholds file.
    """

    task: str
    fits: Callable[[Mapping[str, Any]], bool]
    split: str
    fewshot_split: str | None
    lines: tuple[str, ...]


_SHAPES = (
    _Shape(
        "squadv2",
        lambda document: {"id", "context", "question", "answers"} <= document.keys(),
        "validation",
        None,
        ("metrics: {f1: 5%, exact_match: 5%, HasAns_f1: 5%}",),
    ),
    _Shape(
        "gsm8k",
        lambda document: "question" in document and "####" in str(document.get("answer")),
        "test",
        "train",
        ("metrics: {accuracy: {max_relative_drop: 5%, filter: flexible-extract}}",),
    ),
)
_HEADER = """\
# Written by `python -m pytest_prunegate thresholds --local {folder}`, for the data that lies there. 5% is where to begin, not what your
# model may lose: change it to that.
"""


def propose_local(folder: Path, *, near: Path) -> str:
    """A thresholds file for the data in a folder and the folders below it: JSON lines of SQuAD v2 and GSM8K, and plain text.

    Args:
        folder: where the data lies.
        near: where the file is to lie; paths below it are written as seen from there.

    Raises:
        InputError: there is nothing that fits a task.
    """
    if not folder.is_dir():
        raise InputError(f"--local={folder}: there is no such folder.")
    tasks: dict[str, dict[str, str]] = {}
    for path in sorted(path for path in folder.rglob("*.json*") if path.suffix in {".jsonl", ".json"}):
        shape = _shape_of(path)
        if shape:
            tasks.setdefault(shape.task, {}).setdefault(
                _split_of(path) or shape.split, str(seen_from(near, path.absolute()))
            )
    lines = [line for shape in _SHAPES if shape.task in tasks for line in _task_lines(shape, tasks[shape.task])]
    texts = sorted(
        (path for path in folder.rglob("*.txt") if path.stat().st_size),
        key=lambda path: (_split_of(path) != "test", path),
    )
    sections = (["tasks:", *lines] if lines else []) + list(_perplexity_lines(texts, near))
    if not sections:
        raise InputError(
            f"--local={folder}: no data for a task was found there. Files are known by their fields: *.jsonl with id, context, question and answers "
            "(squadv2), with question and an answer that ends in #### and a number (gsm8k); *.txt is text for perplexity."
        )
    return _HEADER.format(folder=json.dumps(str(folder), ensure_ascii=False)) + "\n".join(sections) + "\n"


def _shape_of(path: Path) -> _Shape | None:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(_LONGEST_LINE)
    try:
        document = json.loads(first)
    except ValueError:
        return None
    return next((shape for shape in _SHAPES if isinstance(document, dict) and shape.fits(document)), None)


def _split_of(path: Path) -> str | None:
    """The split that a file's name says, in its last word that is one."""
    found = _SPLIT.findall(path.stem)
    return _SPLITS.get(found[-1].lower(), found[-1].lower()) if found else None


def _task_lines(shape: _Shape, files: Mapping[str, str]) -> Iterator[str]:
    """The entry of a task; what is asked stands in any split where the one that lm-eval asks is not there."""
    asked = files.get(shape.split) or next(iter(files.values()))
    wanted = {shape.split: asked}
    if shape.fewshot_split:
        wanted = {shape.fewshot_split: files.get(shape.fewshot_split, asked)} | wanted
    yield f"  {shape.task}:"
    if shape.fewshot_split and shape.fewshot_split not in files:
        yield "    num_fewshot: 0                # examples would come from the documents that are asked"
    yield f"    dataset: {{path: json, data_files: {json.dumps(wanted, ensure_ascii=False)}}}"
    yield from (f"    {line}" for line in shape.lines)


def _perplexity_lines(texts: Sequence[Path], near: Path) -> Iterator[str]:
    """The first text is measured, the others are named."""
    if texts:
        yield "perplexity:"
        yield "  wikitext2:"
        yield f"    dataset: {{path: text, data_files: {json.dumps({'test': str(seen_from(near, texts[0].absolute()))}, ensure_ascii=False)}}}"
        yield "    max_relative_increase: 10%"
        yield from (
            f"# also found: {json.dumps(str(seen_from(near, other.absolute())), ensure_ascii=False)}"
            for other in texts[1:]
        )
