"""Which files of a checkpoint transformers would load, what their JSON says, and which keys would lead it to others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "chat_template.json", "sentencepiece.bpe.model",
    "sentencepiece.model", "source.spm", "target.spm", "bpe.codes", "tekken.json", "tiktoken.model", "qwen.tiktoken",
)  # fmt: skip
_INDEX = ".index.json"
# By which transformers opens another file, depending on its version.
_VERSIONED = {"config.json": "configuration_files", "tokenizer_config.json": "fast_tokenizer_files"}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no such file.

    Raises:
        ModelError: it does not parse.
    """
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise ModelError(f"{path}: expected a JSON object.")
    return loaded


def weight_names(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the files that transformers takes a checkpoint's weights from, the first that is there.

    Args:
        arguments: of the side, with which transformers loads it.
    """
    variant, wanted = arguments.get("variant"), arguments.get("use_safetensors")
    safetensors, pickles = (
        ("model.safetensors", f"model.safetensors{_INDEX}"),
        ("pytorch_model.bin", f"pytorch_model.bin{_INDEX}"),
    )
    names = (*(() if wanted is False else safetensors), *(() if wanted else pickles))
    return tuple(_with_variant(name, str(variant)) for name in names) if variant else names


def _with_variant(name: str, variant: str) -> str:
    """As transformers writes it (modeling_utils._add_variant)."""
    stem, _, end = name.rpartition(".")
    return f"{stem}.{variant}.{end}"


def weight_files(folder: Path, arguments: Mapping[str, Any]) -> list[Path]:
    """The weight files that transformers loads from a checkpoint, sorted.

    Args:
        folder: of the checkpoint.
        arguments: of the side, with which transformers loads it.

    Raises:
        ModelError: there are none, or some of a sharded checkpoint are missing.
    """
    first = _named_weights(folder) or _first_weights(folder, weight_names(arguments))
    if first.suffix != ".json":
        return [first]
    shards = sorted({folder / name for name in read_json(first).get("weight_map", {}).values()})
    missing = [path.name for path in shards if not path.is_file()]
    if missing or not shards:
        raise ModelError(f"{first}: shards are missing: {', '.join(missing) or 'all'}.")
    return shards


def _first_weights(folder: Path, names: Sequence[str]) -> Path:
    present = [folder / name for name in names if (folder / name).is_file()]
    if not present:
        raise ModelError(f"{folder}: there are no weights in this directory (looked for {', '.join(names)}).")
    return present[0]


def _named_weights(folder: Path) -> Path | None:
    """The file that the configuration itself names; transformers asks for no other then."""
    named = read_json(folder / "config.json").get("transformers_weights")
    if named is None:
        return None
    path = folder / str(named)
    if not path.is_file() or path.name != named or not path.name.endswith((".safetensors", f".safetensors{_INDEX}")):
        raise ModelError(
            f"{folder / 'config.json'}: transformers_weights: {named}: expected the name of a safetensors file, or of the index of several, in "
            "this directory. Take the key out where the weights are model.safetensors."
        )
    return path


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
