"""Where a model's files lie: a local directory as it is, a hub id in the local snapshot of its revision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.errors import InputError
from pytest_prunegate.options import judge_folder

if TYPE_CHECKING:
    from pytest_prunegate.options import ModelArgument

_SMALL_FILES = ["*.json", "*.model", "*.txt", "*.jinja"]
_WEIGHT_PATTERNS = (["*.safetensors"], ["*.bin"])  # pickled weights only where there are no others


@dataclass(frozen=True, kw_only=True)
class Location:
    """A model's local files; `revision` is the commit of a hub model."""

    argument: ModelArgument
    folder: Path
    revision: str | None


def locate(argument: ModelArgument, *, cache_dir: Path | None) -> Location:
    """Find a model's files, and download them first where a hub id was given.

    Args:
        argument: the model as the user wrote it.
        cache_dir: where downloads go; None for the hub library's own place.

    Raises:
        InputError: there is no such model, or the hub cannot be reached and nothing is kept locally.
    """
    if argument.folder is not None:
        return Location(argument=argument, folder=argument.folder, revision=None)
    folder = _snapshot(argument, cache_dir)
    return Location(argument=argument, folder=folder, revision=folder.name)


def _snapshot(argument: ModelArgument, cache_dir: Path | None) -> Path:
    from huggingface_hub import snapshot_download

    where = f"--{argument.side}={argument.written}"
    hub_cache = cache_dir / "hub" if cache_dir else None
    folder = None
    for weights in _WEIGHT_PATTERNS:
        try:
            folder = Path(snapshot_download(
                argument.value, revision=argument.revision, cache_dir=hub_cache, allow_patterns=[*_SMALL_FILES, *weights],
            ))  # fmt: skip
        except Exception as error:  # the hub library's errors share no base
            raise InputError(
                f"{where}: there is no such directory, and as a hub id it could not be fetched either: "
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
            ) from error
        if any(path for pattern in weights for path in folder.glob(pattern)):
            judge_folder(where, folder)
            return folder
    raise InputError(f"{where}: this hub repository holds no weights in safetensors or PyTorch format.")
