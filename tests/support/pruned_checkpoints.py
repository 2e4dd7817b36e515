"""Tiny checkpoints of real shapes, whose files tests prune: every matrix of the decoder's layers is changed in place."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from support.scripted import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bench

    Change = Callable[[str, torch.Tensor], torch.Tensor]

LAYERS, HIDDEN, INNER = 8, 32, 64
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@cache
def dense_checkpoint() -> Path:
    """A Llama of a few layers, made once in a process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    config = LlamaConfig(
        vocab_size=200, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def two_dense(bench: Bench) -> Bench:
    """Have the same dense checkpoint twice: original and pruned."""
    for name in ("original", "pruned"):
        shutil.copytree(dense_checkpoint(), bench.path / name)
    return bench


def is_matrix(name: str) -> bool:
    return ".layers." in name and "_proj" in name


def prune(folder: Path, change: Change, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Change each matrix of the decoder's layers in the files."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    tensors = {name: change(name, one).contiguous() if is_matrix(name) else one for name, one in tensors.items()}
    save_file(tensors, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}))
    return tensors


def by_groups(most: int, size: int) -> Change:
    def change(_: str, tensor: torch.Tensor) -> torch.Tensor:
        groups = tensor.reshape(-1, size)
        keep = groups.abs().argsort(-1, descending=True).argsort(-1) < most
        return (groups * keep).reshape(tensor.shape)

    return change


def half(_: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor * (tensor.abs() > tensor.abs().flatten().median())
