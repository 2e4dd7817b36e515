"""What a checkpoint says of itself: fingerprint, size, dtype, longest input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.files import read_json, stored_tensors, weight_files
from pytest_prunegate.checkpoint.fingerprint import fingerprint
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.checkpoint.location import Location

_SAFETENSORS_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# What lm-eval consults, in its order (lm_eval.models.utils.resolve_max_length).
_LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")
_LM_EVAL_DEFAULT_LENGTH = 2048
_UNSET_LENGTH = 10**29  # tokenizers write 1e30 for "no limit known"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer_config.json",
)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model as the run and the reports know it. Sizes in bytes, lengths in tokens; None where unknown."""

    side: str
    name: str | None
    path: str
    folder: Path
    revision: str | None
    fingerprint: str
    architecture: str | None
    dtype: str
    max_length: int
    parameters: int | None
    size: int

    @property
    def title(self) -> str:
        """How messages name the model."""
        return f"{self.side} model {self.name or self.path}"


def read_facts(location: Location) -> ModelFacts:
    """Everything that the files of a checkpoint say. Reads all weights once, for the fingerprint.

    Raises:
        ModelError: weights, configuration or tokenizer are missing or damaged.
    """
    folder, argument = location.folder, location.argument
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelError(f"{folder}: there is no tokenizer in this directory. Save the original's beside the weights.")
    config = read_json(folder / "config.json")
    files = weight_files(folder)
    tensors = stored_tensors(files)
    return ModelFacts(
        side=argument.side,
        name=argument.name,
        path=argument.value,
        folder=folder,
        revision=location.revision,
        fingerprint=fingerprint(folder),
        architecture=next(iter(config.get("architectures") or []), config.get("model_type")),
        dtype=_dtype(config, [tensor.dtype for tensor in tensors]),
        max_length=_max_length(config, folder),
        parameters=sum(tensor.elements for tensor in tensors) or None,
        size=sum(path.stat().st_size for path in files),
    )


def _dtype(config: dict[str, Any], stored: list[str]) -> str:
    """The dtype that ``dtype="auto"`` loads: the configuration's, else the first floating point tensor's."""
    text_config = config.get("text_config") or {}
    written = (
        config.get("dtype") or config.get("torch_dtype") or text_config.get("dtype") or text_config.get("torch_dtype")
    )
    if isinstance(written, str):
        return written.removeprefix("torch.")
    return next((_SAFETENSORS_DTYPES[dtype] for dtype in stored if dtype in _SAFETENSORS_DTYPES), "float32")


def _max_length(config: dict[str, Any], folder: Path) -> int:
    text_config = config.get("text_config") or config
    for key in _LENGTH_KEYS:
        if isinstance(text_config.get(key), int):
            return int(text_config[key])
    written = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return int(written) if written and written < _UNSET_LENGTH else _LM_EVAL_DEFAULT_LENGTH
