"""The tensors of weight files as torch's own, mapped into memory where the files allow it, and the zeros in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers.modeling_utils import load_state_dict

from pytest_prunegate.checkpoint.counting import TensorCounter
from pytest_prunegate.checkpoint.layout import Counted
from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
from pytest_prunegate.checkpoint.structure import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.structure import TensorCounts

# By safetensors' names.
TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


def load_tensors(files: Iterable[Path]) -> Mapping[str, torch.Tensor]:
    """The tensors of weight files by their names, read as transformers reads them: of pickles, tensors alone (``weights_only``).

    Raises:
        Exception: torch finds more than tensors in a pickle, or none of its own.
    """
    held: dict[str, torch.Tensor] = {}
    for path in files:
        held |= load_state_dict(str(path), map_location="cpu", weights_only=True)
    return held


def count_tensors(files: Iterable[Path]) -> Counted:
    """Names, dtypes and shapes of the tensors in weight files.

    Raises:
        Exception: as for loading.
    """
    held = load_tensors(files)
    tensors = tuple(info_of(name, one) for name, one in held.items())
    counts = (counts_of(info, one) for info, one in zip(tensors, held.values(), strict=True))
    return Counted(tensors=tensors, counts=tuple(counts))


def info_of(name: str, tensor: torch.Tensor) -> TensorInfo:
    """What a tensor is, in the words of its file."""
    return TensorInfo(name=name, dtype=_NAMES.get(tensor.dtype, str(tensor.dtype)), shape=tuple(tensor.shape))


def counts_of(info: TensorInfo, tensor: torch.Tensor) -> TensorCounts | None:
    """What the bytes of a tensor say, as those in a safetensors file do."""
    if info.dtype not in WORDS:
        return None
    counter = TensorCounter(info.dtype, info.shape)
    held = memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    for start in range(0, len(held), counter.piece_size):
        counter.add(held[start : start + counter.piece_size])
    return counter.counts()
