"""Keys of configuration files that would lead transformers to files which are not hashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.files import read_json
from pytest_prunegate.checkpoint.stamps import TOKENIZER_FILES
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# By which transformers opens another file, depending on its version.
_VERSIONED = {"config.json": "configuration_files", "tokenizer_config.json": "fast_tokenizer_files"}


def refuse_redirects(folder: Path) -> None:
    """See that transformers reads a checkpoint's configuration and tokenizer under their usual names.

    Raises:
        ModelError: a key, or several, would lead it elsewhere; it names each.
    """
    problems = [*_versioned(folder), *_other_vocabularies(folder)]
    if problems:
        raise ModelError("\n".join(problems))


def _versioned(folder: Path) -> Iterator[str]:
    for name, key in _VERSIONED.items():
        if read_json(folder / name).get(key):
            yield (
                f"{folder / name}: {key}: transformers would read another file in its place, depending on its version. Keep the one that is "
                "meant under the usual name, and take the key out."
            )


def _other_vocabularies(folder: Path) -> Iterator[str]:
    """Versions of transformers take a tokenizer's files from such keys, in place of those beside it."""
    path = folder / "tokenizer_config.json"
    for key, value in read_json(path).items():
        if (
            key.endswith("_file")
            and isinstance(value, str)
            and value not in TOKENIZER_FILES
            and (folder / value).is_file()
        ):
            yield f"{path}: {key}: {value}: transformers may read this file in place of the tokenizer's own. Take the key out."
