"""Reads the header of a safetensors file: names, dtypes, shapes and byte ranges of its tensors.

Format: https://huggingface.co/docs/safetensors/index#format. The bytes are read as they lie, because
safetensors' numpy reader rejects bf16 and fp8.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

_MAX_HEADER = 100_000_000  # the format's own limit in bytes


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """What a tensor is called, and the dtype (by safetensors' names) and shape in which it is stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class StoredTensor(TensorInfo):
    """A tensor in a file: `start` and `stop` are byte offsets from the file's beginning."""

    file: Path
    start: int
    stop: int


def read_header(path: Path) -> list[StoredTensor]:
    """All tensors of a file.

    Raises:
        ModelError: the file is cut short or is no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == len(b"8 bytes!") else 0
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            raise ModelError(f"{path}: this is no safetensors file, or it is cut short ({size} bytes).")
        text = file.read(length)
    try:
        tensors = _tensors(path, json.loads(text), base=8 + length)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: the header of this safetensors file is damaged.") from error
    if any(tensor.stop > size for tensor in tensors):
        raise ModelError(f"{path}: this safetensors file is cut short ({size} bytes). Copy it again.")
    return tensors


def _tensors(path: Path, header: dict[str, Any], *, base: int) -> list[StoredTensor]:
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        numbers = [*entry["shape"], *entry["data_offsets"]]
        if not isinstance(entry["dtype"], str) or any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError(f"tensor {name} has no whole numbers for its shape and place")
        if not entry["data_offsets"][0] <= entry["data_offsets"][1]:
            raise ValueError(f"tensor {name} ends before it begins")
    return [
        StoredTensor(
            name=name, dtype=entry["dtype"], shape=tuple(entry["shape"]), file=path,
            start=base + entry["data_offsets"][0], stop=base + entry["data_offsets"][1],
        )
        for name, entry in entries.items()
    ]  # fmt: skip
