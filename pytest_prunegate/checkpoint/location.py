"""Where a model's files lie: a local directory as it is, a hub id in the local snapshot of its revision."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import InputError
from pytest_prunegate.input.model_argument import on_folder, parse_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_prunegate.input.model_argument import ModelArgument

_SMALL_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.py", "*.tiktoken", "*.spm"]
_WEIGHT_PATTERNS = (["*.safetensors"], ["*.bin"])  # pickled weights only where there are no others


@dataclass(frozen=True, kw_only=True)
class Location:
    """A model's local files; `revision` is the commit of a hub model, `base` where an adapter's base lies."""

    argument: ModelArgument
    folder: Path
    revision: str | None
    base: Location | None = None
    tokenizer: Path | None = None
    """Of the side's argument ``tokenizer``, where it has one."""


def locate(argument: ModelArgument, *, cache_dir: Path | None) -> Location:
    """Find a model's files, and download them first where a hub id was given.

    Args:
        argument: the model as the user wrote it.
        cache_dir: where downloads go; None for the hub library's own place.

    Raises:
        InputError: there is no such model, or the hub cannot be reached and nothing is kept locally.
    """
    revision = None
    if argument.folder is None:
        folder = _snapshot(argument, cache_dir)
        argument, revision = on_folder(argument, folder), folder.name
    assert argument.folder is not None
    return Location(
        argument=argument,
        folder=argument.folder,
        revision=revision,
        base=locate(argument.base, cache_dir=cache_dir) if argument.base else None,
        tokenizer=tokenizer_folder(argument, cache_dir),
    )


def download_size(argument: ModelArgument, *, cache_dir: Path | None) -> int | None:
    """Bytes that `locate` would download; None where the hub does not say. Writes nothing."""
    if argument.folder is not None:
        return download_size(argument.base, cache_dir=cache_dir) if argument.base else 0
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        info = HfApi().model_info(argument.value, revision=argument.revision, files_metadata=True)
    except Exception:  # noqa: BLE001 - whatever keeps the hub from answering is told by the download itself
        return None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    weights = next((found for patterns in _WEIGHT_PATTERNS if (found := _matching(sizes, patterns))), [])
    return sum(
        sizes[name] for name in {*_matching(sizes, _SMALL_FILES), *weights}
        if not isinstance(try_to_load_from_cache(argument.value, name, cache_dir=hub_cache(cache_dir), revision=info.sha), str)
    )  # fmt: skip


def _matching(names: Iterable[str], patterns: list[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def hub_cache(cache_dir: Path | None) -> Path:
    """Where snapshots are kept: in the cache directory, where one is given, or else in the hub library's own place."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return cache_dir / "hub" if cache_dir else Path(HF_HUB_CACHE)


def tokenizer_folder(argument: ModelArgument, cache_dir: Path | None) -> Path | None:
    """Where the tokenizer lies that a side's arguments name; None where they name none.

    Raises:
        InputError: there is none.
    """
    written = argument.arguments.get("tokenizer")
    if written is None:
        return None
    flag = f"--prunegate-{argument.side}-args=tokenizer"
    folder = argument.cwd / Path(str(written)).expanduser()
    if folder.is_dir():
        return folder.absolute()
    named = replace(parse_model(argument.side, str(written), argument.cwd, flag=flag), arguments={})
    return Path(_download(named, cache_dir, _SMALL_FILES))


def _snapshot(argument: ModelArgument, cache_dir: Path | None) -> Path:
    for weights in _WEIGHT_PATTERNS:
        folder = Path(_download(argument, cache_dir, [*_SMALL_FILES, *weights]))
        if any(path for pattern in weights for path in folder.glob(pattern)):
            return folder
    raise InputError(f"{argument.where}: this hub repository holds no weights in safetensors or PyTorch format.")


def _download(argument: ModelArgument, cache_dir: Path | None, patterns: list[str]) -> Any:
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(argument.value, revision=argument.revision, cache_dir=hub_cache(cache_dir), allow_patterns=patterns)  # fmt: skip
    except Exception as error:  # the hub library's errors share no base
        raise InputError(
            f"{argument.where}: there is no such directory, and as a hub id it could not be fetched either: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
        ) from error
