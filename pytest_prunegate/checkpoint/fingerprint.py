"""A fingerprint of everything in a checkpoint that can change an answer: never of its path.

Weights are hashed tensor by tensor (name, dtype, shape, bytes), so that the same weights in other shards
have the same fingerprint; zeros are counted in the same pass over the file. xxh3_128 is not cryptographic: it guards
against mix-ups, not against forgery.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.checkpoint.files import read_json, stored_tensors, weight_files
from pytest_prunegate.checkpoint.sparsity import can_count, count_zeros, is_decoder_linear

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.safetensors_header import StoredTensor

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
# Say who wrote the file and from where, and change no answer.
_PROVENANCE_KEYS = (
    "_name_or_path", "name_or_path", "transformers_version", "_from_model_config", "local_files_only", "is_local",
)  # fmt: skip
_ADAPTER_PROVENANCE = ("base_model_name_or_path", "revision", "peft_version", "auto_mapping")
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
_CHUNK = 4 << 20  # bytes hashed and counted at once: bounds the pages held in memory, and fits a cache


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One pass over a checkpoint's weights: their digest, their tensors, and zeros where they could be counted."""

    digest: str
    tensors: tuple[StoredTensor, ...]
    zeros: tuple[int | None, ...]


def scan_checkpoint(folder: Path) -> Scan:
    """Read all weights of a checkpoint once.

    Raises:
        ModelError: weights are missing or damaged.
    """
    files = weight_files(folder)
    return scan_tensors(stored_tensors(files), [path for path in files if path.suffix != ".safetensors"])


def scan_tensors(tensors: Sequence[StoredTensor], others: Sequence[Path] = ()) -> Scan:
    """Read tensors once, and files that hold none that can be told, as a whole."""
    parts: list[list[Any]] = []
    zeros: list[int | None] = []
    for tensor in tensors:
        counts = can_count(tensor) and is_decoder_linear(tensor.name, tensor.shape)
        digest, found = hash_range(tensor.file, tensor.start, tensor.stop, count=tensor.dtype if counts else None)
        parts.append(["tensor", tensor.name, tensor.dtype, list(tensor.shape), digest])
        zeros.append(found)
    parts += [["file", path.name, hash_file(path)] for path in others]
    return Scan(digest=_digest(sorted(parts, key=lambda part: (part[0], part[1]))), tensors=tuple(tensors), zeros=tuple(zeros))  # fmt: skip


def checkpoint_fingerprint(folder: Path, scan: Scan) -> str:
    """Fingerprint of a checkpoint's weights, configuration, tokenizer and code: 32 hexadecimal digits (xxh3_128)."""
    code = [["code", path.name, hash_file(path)] for path in sorted(folder.glob("*.py"))]
    return _digest([scan.digest, *_config_parts(folder), *_tokenizer_parts(folder), *code])


def adapter_fingerprint(base: str, folder: Path, scan: Scan) -> str:
    """Fingerprint of an adapter on its base: both decide an answer, and where they came from does not."""
    config = _without(read_json(folder / "adapter_config.json"), _ADAPTER_PROVENANCE)
    return _digest([base, scan.digest, ["adapter", config], *_tokenizer_parts(folder)])


def joined_fingerprint(*parts: str) -> str:
    """One fingerprint of several digests."""
    return _digest(list(parts))


def tokenizer_digest(folder: Path) -> str:
    """Digest of what decides how a text is encoded: a tokenizer's files without its chat template."""
    return _digest(_tokenizer_parts(folder, templates=False))


def template_digest(folder: Path) -> str | None:
    """Digest of a tokenizer's chat templates, wherever they are kept; None where it has none."""
    files = [folder / name for name in _TEMPLATE_FILES if (folder / name).is_file()]
    files += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    written = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not files and not written:
        return None
    return _digest([written, *([path.name, hash_file(path)] for path in files)])


def _digest(parts: list[Any]) -> str:
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def _config_parts(folder: Path) -> list[list[Any]]:
    names = ("config.json", "generation_config.json")
    return [["config", name, _without(read_json(folder / name), _PROVENANCE_KEYS)] for name in names]


def _tokenizer_parts(folder: Path, *, templates: bool = True) -> list[list[Any]]:
    paths = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if templates:
        paths += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    dropped = (
        _PROVENANCE_KEYS if templates else (*_PROVENANCE_KEYS, "chat_template", "model_max_length", "padding_side")
    )
    parts: list[list[Any]] = []
    for path in paths:
        if path.name == "tokenizer_config.json":
            parts.append(["tokenizer", path.name, _without(read_json(path), dropped)])
        elif templates or path.name not in _TEMPLATE_FILES:
            parts.append(["tokenizer", path.name, hash_file(path)])
    return parts


def _without(config: dict[str, Any], dropped: tuple[str, ...]) -> str:
    kept = {key: value for key, value in config.items() if key not in dropped}
    return json.dumps(kept, sort_keys=True)


def hash_file(path: Path) -> str:
    """xxh3_128 of a whole file."""
    return hash_range(path, 0, path.stat().st_size)[0]


def hash_range(path: Path, start: int, stop: int, *, count: str | None = None) -> tuple[str, int | None]:
    """xxh3_128 of a file's bytes from start to stop, and the zeros among its numbers where a dtype to count is given."""
    digest = xxhash.xxh3_128()
    zeros = None if count is None else 0
    for piece in _pieces(path, start, stop):
        digest.update(piece)
        if count is not None and zeros is not None:
            zeros += count_zeros(piece, count)
    return digest.hexdigest(), zeros


def _pieces(path: Path, start: int, stop: int) -> Iterator[memoryview]:
    """A file's bytes through a memory map, in bounded pieces; each is gone when the next one comes."""
    if stop <= start:
        return
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        memoryview(view) as data,
    ):
        for position in range(start, stop, _CHUNK):
            with data[position : min(position + _CHUNK, stop)] as piece:
                yield piece
