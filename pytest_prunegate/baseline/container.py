"""The file itself: gzip-compressed JSON with a format, a version and a digest, complete or not there."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.atomic_file import replacing
from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "baseline.json.gz"
_FORMAT = "pytest-prunegate baseline"
_VERSION = 1
_PIECE = 1 << 20  # bytes decompressed at once
_ALWAYS = 64 << 20  # bytes of JSON that any file may unpack to
_RATIO = 500  # beyond that, more than this many times its size is no model's answers
_MOST = 4 << 30
_REMEDY = "Copy it again from where it was made, or make a new one with --prunegate-baseline-only."


def canonical(value: Any) -> str:
    """JSON that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest_of(value: Any) -> str:
    """xxh3_128 of a value's canonical JSON."""
    return xxhash.xxh3_128(canonical(value).encode()).hexdigest()


def write_container(path: Path, content: dict[str, Any]) -> None:
    """Write a file at once: equal content has equal bytes.

    Raises:
        OSError: it cannot be written.
    """
    rest = {"format": _FORMAT, "version": _VERSION, "content": content}
    text = canonical(rest | {"digest": digest_of(rest)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(text.encode())


def read_container(path: Path, where: str) -> dict[str, Any]:
    """What a file holds.

    Args:
        path: the file.
        where: how the user named it, for messages.

    Raises:
        InputError: it cannot be read, is damaged, is something else, or is of a newer version.
    """
    try:
        loaded = json.loads(_unpacked(path, where))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{where}: {path} cannot be unpacked: {error}. {_REMEDY}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: {path} holds no JSON that can be read: {type(error).__name__}: {error}. {_REMEDY}") from error  # fmt: skip
    if not isinstance(loaded, dict) or loaded.get("format") != _FORMAT:
        raise InputError(
            f"{where}: {path} is JSON of something else; a baseline is written by --prunegate-baseline-only, or by "
            "`python -m pytest_prunegate store export`."
        )
    if loaded.get("version") != _VERSION:
        raise InputError(
            f"{where}: {path} is a baseline of format {loaded.get('version')}; this version of pytest-prunegate reads {_VERSION}. "
            "Upgrade pytest-prunegate, or make the baseline again with this version."
        )
    content = loaded.get("content")
    rest = {key: value for key, value in loaded.items() if key != "digest"}
    if loaded.get("digest") != digest_of(rest) or not isinstance(content, dict):
        raise InputError(f"{where}: {path} is damaged: its digest is not that of its content. {_REMEDY}")
    return content


def _unpacked(path: Path, where: str) -> bytes:
    """A file's bytes, decompressed in pieces, so that one that unpacks to more than can be meant is given up early."""
    most = min(_MOST, _ALWAYS + _RATIO * path.stat().st_size)
    found = io.BytesIO()
    with gzip.open(path, "rb") as packed:
        while piece := packed.read(_PIECE):
            found.write(piece)
            if found.tell() > most:
                raise InputError(
                    f"{where}: {path} unpacks to more than {most >> 20} MB, which no baseline does. {_REMEDY}"
                )
    return found.getvalue()
