"""Which files of a checkpoint transformers would load, what their JSON says, and whether a file is still the one that was read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_CONFIGURATION = ("config.json", "generation_config.json", "adapter_config.json")


class Stamp(NamedTuple):
    """A file's size in bytes, the time of its last change in nanoseconds, and its inode."""

    size: int
    mtime_ns: int
    inode: int


def stamp_of(path: Path) -> Stamp | None:
    """The file's stamp, through symbolic links; None where it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)


def stamps_of(paths: Iterable[Path]) -> dict[Path, Stamp | None]:
    """The stamps of files; None for one that is not there, so that its appearance is noticed."""
    return {path: stamp_of(path) for path in paths}


def checkpoint_files(folder: Path, arguments: Mapping[str, Any]) -> list[Path]:
    """Every file of a checkpoint that its fingerprint covers, and those that would count if they were there.

    Args:
        folder: of the checkpoint.
        arguments: of the side, with which transformers loads it.

    Raises:
        ModelError: it has no weights.
    """
    fixed = [folder / name for name in (*weight_names(arguments), *_CONFIGURATION)]
    return [*weight_files(folder, arguments), *fixed, *code_files(folder), *tokenizer_files(folder)]


def code_files(folder: Path) -> list[Path]:
    """The Python files of a checkpoint, those of packages in it too."""
    return sorted(folder.rglob("*.py"))


def adapter_files(folder: Path) -> list[Path]:
    """Every file of an adapter that its fingerprint covers."""
    return [folder / "adapter_config.json", folder / "adapter_model.safetensors", *tokenizer_files(folder)]


def tokenizer_files(folder: Path) -> list[Path]:
    """Every file of a tokenizer that its digests cover, there or not."""
    return [
        *(folder / name for name in TOKENIZER_FILES),
        *sorted((folder / "additional_chat_templates").glob("*.jinja")),
    ]


def change_since(before: Mapping[Path, Stamp | None]) -> str | None:
    """The first file that is not as it was, and how; None where all are."""
    for path, was in before.items():
        now = stamp_of(path)
        if now != was:
            return f"{path} {_described(was, now)}"
    return None


def refuse_changed(title: str, before: Mapping[Path, Stamp | None]) -> None:
    """See that a model's files are as they were when they were fingerprinted.

    Raises:
        ModelError: one of them is not; it names the file and what changed.
    """
    if changed := change_since(before):
        raise ModelError(
            f"{title}: {changed} while the run used it. Nothing that the model is asked from here on is kept: it would be kept under the "
            "fingerprint of another model. Let nothing write to the checkpoint, and run again."
        )


def _described(was: Stamp | None, now: Stamp | None) -> str:
    if was is None or now is None:
        return "appeared" if was is None else "disappeared"
    if now.size != was.size:
        return f"changed (its size, from {was.size} to {now.size} bytes)"
    if now.inode != was.inode:
        return "was replaced by another file of the same size"
    return f"changed (it was written at {datetime.fromtimestamp(now.mtime_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC)"


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
