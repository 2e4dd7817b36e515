"""Reads ``dataset:`` of thresholds.yaml: plain data, and nothing that runs code or writes anywhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.threshold_values import expect_text, unknown_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.input.yaml_nodes import Node

# Of the arguments of ``datasets.load_dataset``, those that only choose what is read.
_KEYS = ("path", "name", "data_files", "data_dir")
_CARD = 1_000_000  # characters of a data set's card
_HEAD = re.compile(r"\ufeff?---\s*\n(.*?\n)---", re.DOTALL)
_DEPTH = 20  # of what a card's head holds
_FORMATS = ("json", "csv", "parquet", "text", "arrow")
# Loaders of ``datasets`` by name that take pickles, queries, streams or archives; any other word is a folder or a hub id.
_OTHER_LOADERS = frozenset({
    "cache", "eval", "generator", "harbor", "hdf5", "iceberg", "lance", "pandas", "spark", "sql", "vortex", "webdataset",
})  # fmt: skip


def read_dataset(node: Node, folder: Path) -> Mapping[str, Any] | None:
    """Arguments of ``datasets.load_dataset``; everything wrong is recorded.

    Args:
        node: what stands under ``dataset``.
        folder: the thresholds file's, for relative paths.
    """
    given = {}
    for key, value in node.entries(what="the data set's path and data_files"):
        if key not in _KEYS:
            unknown_key(value, key, _KEYS)
        elif key == "data_files" or expect_text(value, "text"):
            given[key] = value
    if "path" not in given:
        node.wrong("path is missing: json, csv or parquet for local files, else a folder or a hub id.")
        return None
    _refuse_source(given["path"])
    _refuse_addresses(given["path"], folder)
    plain = {key: value.plain() for key, value in given.items()}
    if "data_files" in given:
        plain["data_files"] = _data_files(given["data_files"], folder)
    return plain


def _refuse_source(path: Node) -> None:
    if path.text in _OTHER_LOADERS:
        path.wrong(f"{path.text} is a loader that does more than read plain data. Use {', '.join(_FORMATS)}, a folder or a hub id.")  # fmt: skip
    elif path.text.endswith(".py"):
        path.wrong("loading scripts are not run. Save the data as JSON, CSV or Parquet.")
    elif "://" in path.text:
        path.wrong("expected a format, a folder or a hub id, found a URL.")


def _refuse_addresses(path: Node, folder: Path) -> None:
    """A local data set's card may name files on the network, which would be fetched in the place of those beside it."""
    card = folder / path.text / "README.md"
    try:
        text = card.read_text(encoding="utf-8", errors="replace")[:_CARD] if path.text and card.is_file() else ""
    except (OSError, ValueError):  # a name that no file can have
        return
    head = _HEAD.match(text)
    found = next(_addresses(_configs(head[1])), None) if head else None
    if found is not None:
        path.wrong(
            f"the head of {card} names {found} as data, which would be fetched. Name the files with data_files, or take it out of there."
        )


def _configs(head: str) -> Any:
    """What a card says of the files that the data is in; nothing where it is no YAML, which ``datasets`` does not read either."""
    import yaml

    try:
        found = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return found.get("configs") if isinstance(found, dict) else None


def _addresses(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str) and "://" in value:
        yield value
    elif isinstance(value, (dict, list)) and depth < _DEPTH:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _addresses(part, depth + 1)


def _data_files(node: Node, folder: Path) -> dict[str, list[str]]:
    if node.kind != "map":
        node.wrong("name the split of each file, for example {validation: data/dev.jsonl}.")
        return {}
    found: dict[str, list[str]] = {}
    for split, value in node.entries(what="splits with their files"):
        files = list(value.items(what="files")) if value.kind == "seq" else [value]
        found[split] = [str(_existing(file, folder)) for file in files]
    return found


def _existing(node: Node, folder: Path) -> Path:
    path = folder / node.text
    try:
        if node.text and path.is_file():
            return path.resolve()
    except (OSError, ValueError):  # a name that no file can have
        pass
    node.wrong(f"there is no file {path}. Paths are taken from the folder of the thresholds file.")
    return path
