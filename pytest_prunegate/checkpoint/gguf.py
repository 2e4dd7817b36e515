"""What a GGUF file says of itself: tensors, architecture, longest input.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, read by its authors' own package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.layout import Layout, Place, Role
from pytest_prunegate.checkpoint.safetensors_header import StoredTensor
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

# The names are the format's own, whatever the model: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-tensor-names
_IN_A_LAYER = re.compile(r"(?:^|\.)blk\.(\d+)\.")
_ROUTER = re.compile(r"\.ffn_gate_inp(_shexp)?\.")
_NO_MATRIX = re.compile(r"norm|ssm_conv1d|ssm_a|\.bias$|attn_sinks|rel_b")
_MATRIX = 2
_PLAIN = ("F64", "F32", "F16", "BF16")  # GGUF's names for plain numbers are those of safetensors


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """A GGUF file's tensors and metadata. `quantised` names the types of tensors that are packed."""

    architecture: str
    max_length: int | None
    vocab_size: int | None
    has_template: bool
    tensors: tuple[StoredTensor, ...]
    elements: int
    quantised: tuple[str, ...]


def read_gguf(path: Path) -> GgufHeader:
    """Read the header of a GGUF file.

    Raises:
        ModelError: the package gguf is missing, or the file is damaged.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(f"{path}: reading GGUF files needs the package gguf: `pip install pytest-prunegate[gguf]`.") from error  # fmt: skip
    try:
        reader = GGUFReader(str(path))
        architecture = str(_value(reader, "general.architecture"))
        tensors = tuple(_stored(path, tensor) for tensor in reader.tensors)
    except Exception as error:  # a damaged file ends in all kinds of errors
        raise ModelError(f"{path}: this is no GGUF file, or it is damaged: {type(error).__name__}: {error}") from error
    vocabulary = _value(reader, "tokenizer.ggml.tokens")
    return GgufHeader(
        architecture=architecture,
        max_length=_value(reader, f"{architecture}.context_length"),
        vocab_size=len(vocabulary) if vocabulary else None,
        has_template=bool(_value(reader, "tokenizer.chat_template")),
        tensors=tensors,
        elements=sum(tensor.elements for tensor in tensors),
        quantised=tuple(sorted({tensor.dtype for tensor in tensors} - set(_PLAIN))),
    )


def _value(reader: Any, key: str) -> Any:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _stored(path: Path, tensor: Any) -> StoredTensor:
    start = int(tensor.data_offset)
    return StoredTensor(
        name=str(tensor.name), dtype=str(tensor.tensor_type.name), shape=tuple(int(size) for size in reversed(tensor.shape)),
        file=path, start=start, stop=start + int(tensor.n_bytes),
    )  # fmt: skip


def gguf_layout(header: GgufHeader) -> Layout:
    """Where the tensors of a GGUF file go: by their names, which the format fixes. What they leave unused is not known."""
    places = {tensor.name: _place(tensor) for tensor in header.tensors}
    sizes = {role: sum(one.elements for one in header.tensors if places[one.name].role is role) for role in Role}
    layers = {place.layer for place in places.values()} - {None}
    return Layout(
        architecture=header.architecture,
        places=places,
        layers=len(layers),
        linear=sizes[Role.LINEAR],
        router=sizes[Role.ROUTER],
    )


def _place(tensor: StoredTensor) -> Place:
    found = _IN_A_LAYER.search(tensor.name)
    if found is None or len(tensor.shape) < _MATRIX or _NO_MATRIX.search(tensor.name):
        return Place(role=Role.OTHER, layer=int(found[1]) if found else None)
    return Place(role=Role.ROUTER if _ROUTER.search(tensor.name) else Role.LINEAR, layer=int(found[1]))
