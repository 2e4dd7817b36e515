"""A tokenizer's files inside a baseline, and the folder that they are put into again.

Nothing of a baseline file decides where something is written: names are those of a list, the folder is named by a digest.
"""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import canonical, digest_of
from pytest_prunegate.checkpoint.files import TOKENIZER_FILES, read_json
from pytest_prunegate.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEMPLATE = re.compile(r"additional_chat_templates/[A-Za-z0-9_-][A-Za-z0-9_.-]*\.jinja")
# Of a model's configuration, what transformers chooses a tokenizer's class and repairs by.
_CONFIG_KEYS = ("model_type", "model_name", "tokenizer_class", "transformers_version")
_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """Contents by name, and what the model's configuration says that matters to a tokenizer."""

    files: Mapping[str, bytes]
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of everything that is in it."""
        return digest_of(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """Text as it is, other files in base64."""
        return {"files": {name: _encoded(content) for name, content in self.files.items()}, "config": dict(self.config)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TokenizerFiles:
        """The way back.

        Raises:
            InputError: a name is not one of a tokenizer's files.
        """
        strange = sorted(name for name in found["files"] if not _is_tokenizer_file(name))
        if strange:
            raise InputError(
                f"it holds {', '.join(map(repr, strange))} among the tokenizer's files, which is not written: no tokenizer has such a file. "
                "Do not use this file; it was not written by pytest-prunegate."
            )
        files = {name: _decoded(content) for name, content in found["files"].items()}
        return cls(
            files=files, config={key: str(found["config"][key]) for key in _CONFIG_KEYS if key in found["config"]}
        )

    def put_into(self, cache_dir: Path) -> Path:
        """A folder of the cache with these files and no others.

        Raises:
            InputError: the cache cannot be written.
        """
        folder = cache_dir / "tokenizers" / self.digest
        wanted = {**self.files, **({_CONFIG: canonical(dict(self.config)).encode()} if self.config else {})}
        try:
            if not _holds(folder, wanted):
                _write(folder, wanted)
        except OSError as error:
            raise InputError(
                f"{folder}: the baseline's tokenizer cannot be kept there: {error.strerror}. Name a writable folder with --prunegate-cache-dir."
            ) from error
        return folder


def collect(folder: Path) -> TokenizerFiles:
    """The files of a tokenizer, and what the configuration beside them says.

    Raises:
        OSError: a file cannot be read.
        ModelError: the configuration does not parse.
    """
    paths = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    paths += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    config = read_json(folder / _CONFIG)
    return TokenizerFiles(
        files={path.relative_to(folder).as_posix(): path.read_bytes() for path in paths},
        config={key: str(config[key]) for key in _CONFIG_KEYS if config.get(key)},
    )


def _is_tokenizer_file(name: str) -> bool:
    return name in TOKENIZER_FILES or bool(_TEMPLATE.fullmatch(name))


def _encoded(content: bytes) -> dict[str, str]:
    try:
        return {"text": content.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}


def _decoded(found: Mapping[str, str]) -> bytes:
    return found["text"].encode("utf-8") if "text" in found else base64.b64decode(found["base64"], validate=True)


def _holds(folder: Path, wanted: Mapping[str, bytes]) -> bool:
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return present.keys() == wanted.keys() and all(path.read_bytes() == wanted[name] for name, path in present.items())


def _write(folder: Path, wanted: Mapping[str, bytes]) -> None:
    """Put a complete folder in its place at once; one that is there holds something else, and is no use."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        for name, content in wanted.items():
            path = temporary / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError:
        if not _holds(folder, wanted):  # another run may have been faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
