"""A fingerprint of everything in a checkpoint that can change an answer: never of its path.

Weights are hashed tensor by tensor (name, dtype, shape, bytes), so that the same weights in other shards
have the same fingerprint; zeros are counted in the same pass over the file. xxh3_128 is not cryptographic: it guards
against mix-ups, not against forgery.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.files import TOKENIZER_FILES, code_files, read_json
from pytest_prunegate.checkpoint.hashing import hash_file
from pytest_prunegate.checkpoint.scan import digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.checkpoint.scan import Scan

# Say who wrote the file and from where, and change no answer.
_PROVENANCE_KEYS = (
    "_name_or_path", "name_or_path", "transformers_version", "_from_model_config", "local_files_only", "is_local",
)  # fmt: skip
_ADAPTER_PROVENANCE = ("base_model_name_or_path", "revision", "peft_version", "auto_mapping")
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def checkpoint_fingerprint(folder: Path, scan: Scan) -> str:
    """Fingerprint of a checkpoint's weights, configuration, tokenizer and code: 32 hexadecimal digits (xxh3_128)."""
    code = [["code", str(path.relative_to(folder)), hash_file(path)] for path in code_files(folder)]
    return digest_of([scan.digest, *_config_parts(folder), *_tokenizer_parts(folder), *code])


def made_fingerprint(folder: Path, tensors: str, code: str) -> str:
    """Fingerprint of a model that a function made: its tensors, what it said of itself, and the code that made it and may run in it.

    Args:
        folder: has its configuration and its tokenizer.
        tensors: digest of its tensors.
        code: digest of the function's file.
    """
    return digest_of([tensors, *_config_parts(folder), *_tokenizer_parts(folder), ["code", code]])


def adapter_fingerprint(base: str, folder: Path, scan: Scan) -> str:
    """Fingerprint of an adapter on its base: both decide an answer, and where they came from does not."""
    config = _without(read_json(folder / "adapter_config.json"), _ADAPTER_PROVENANCE)
    return digest_of([base, scan.digest, ["adapter", config], *_tokenizer_parts(folder)])


def joined_fingerprint(*parts: str) -> str:
    """One fingerprint of several digests."""
    return digest_of(list(parts))


def tokenizer_digest(folder: Path) -> str:
    """Digest of what decides how a text is encoded: a tokenizer's files without its chat template."""
    return digest_of(_tokenizer_parts(folder, templates=False))


def template_digest(folder: Path) -> str | None:
    """Digest of a tokenizer's chat templates, wherever they are kept; None where it has none."""
    files = [folder / name for name in _TEMPLATE_FILES if (folder / name).is_file()]
    files += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    written = read_json(folder / "tokenizer_config.json").get("chat_template")
    if not files and not written:
        return None
    return digest_of([written, *([path.name, hash_file(path)] for path in files)])


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
