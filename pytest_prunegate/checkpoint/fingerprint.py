"""A fingerprint of everything in a checkpoint that can change an answer: never of its path.

Weights are hashed tensor by tensor (name, dtype, shape, bytes), so that the same weights in other shards
have the same fingerprint. xxh3_128 is not cryptographic: it guards against mix-ups, not against forgery.
"""

from __future__ import annotations

import json
import mmap
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.files import read_json, stored_tensors, weight_files

if TYPE_CHECKING:
    from pathlib import Path

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# Say who wrote the file and from where, and change no answer.
_PROVENANCE_KEYS = ("_name_or_path", "name_or_path", "transformers_version", "_from_model_config")
_CHUNK = 16 << 20  # bytes hashed at once: bounds the pages held in memory


def fingerprint(folder: Path) -> str:
    """Fingerprint of a checkpoint's weights, configuration and tokenizer.

    Args:
        folder: a local checkpoint.

    Returns:
        32 hexadecimal digits (xxh3_128).

    Raises:
        ModelError: weights are missing or damaged.
    """
    digest = xxhash.xxh3_128()
    for part in (*_weight_parts(folder), *_config_parts(folder), *_tokenizer_parts(folder)):
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def _weight_parts(folder: Path) -> list[list[Any]]:
    files = weight_files(folder)
    parts: list[list[Any]] = [
        [
            "tensor",
            tensor.name,
            tensor.dtype,
            list(tensor.shape),
            hash_range(tensor.file, tensor.start, tensor.stop),
        ]
        for tensor in stored_tensors(files)
    ]
    others = [path for path in files if path.suffix != ".safetensors"]
    parts += [["file", path.name, hash_range(path, 0, path.stat().st_size)] for path in others]
    return sorted(parts, key=lambda part: (part[0], part[1]))


def _config_parts(folder: Path) -> list[list[Any]]:
    names = ("config.json", "generation_config.json")
    configs = [(name, read_json(folder / name)) for name in names]
    return [["config", name, _without_provenance(config)] for name, config in configs]


def _tokenizer_parts(folder: Path) -> list[list[Any]]:
    paths = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    parts: list[list[Any]] = []
    for path in paths:
        if path.name == "tokenizer_config.json":
            parts.append(["tokenizer", path.name, _without_provenance(read_json(path))])
        else:
            parts.append(["tokenizer", path.name, hash_range(path, 0, path.stat().st_size)])
    return parts


def _without_provenance(config: dict[str, Any]) -> str:
    kept = {key: value for key, value in config.items() if key not in _PROVENANCE_KEYS}
    return json.dumps(kept, sort_keys=True)


def hash_range(path: Path, start: int, stop: int) -> str:
    """xxh3_128 of a file's bytes from start to stop, read through a memory map in bounded pieces."""
    digest = xxhash.xxh3_128()
    if stop > start:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
            memoryview(view) as data,
        ):
            for position in range(start, stop, _CHUNK):
                with data[position : min(position + _CHUNK, stop)] as piece:
                    digest.update(piece)
    return digest.hexdigest()
