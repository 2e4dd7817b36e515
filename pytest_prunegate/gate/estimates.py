"""What a run takes of memory and disk, estimated before it starts, and whether its folders can be written; each figure says what it stands on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.files import read_json
from pytest_prunegate.checkpoint.location import download_size
from pytest_prunegate.errors import InputError
from pytest_prunegate.plain import size_text
from pytest_prunegate.tasks.requests import TRANSFORMERS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import ModelArgument
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions, Request


_WRITTEN = bytes(4096)  # one block: a full disk takes an empty file


def refuse_unwritable(folder: Path | None, flag: str, what: str) -> None:
    """Write into a folder, and take everything away again, folders that were made for it too.

    Args:
        folder: need not exist; None is never written to.
        flag: the option that names it, for the message.
        what: is to be written, for the message.

    Raises:
        InputError: it cannot be written.
    """
    if folder is None:
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_WRITTEN)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"{flag}={folder}: {what} cannot be written there: {error.strerror or error}. Name another folder with {flag}."
        ) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # it was not made, or another run writes there already
                path.rmdir()


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def refuse_full_disk(folder: Path, wanted: Estimate, where: str) -> None:
    """See that a disk has room.

    Raises:
        InputError: it does not.
    """
    free = free_disk(folder)
    if wanted.size > free:
        raise InputError(
            f"{where}: about {size_text(wanted.size)} are needed there ({wanted.basis}), and {size_text(free)} are free. "
            "Make room, or name another folder."
        )


_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
# Arguments under which the weights are not, or not as they are stored, on one device.
_SPREAD = (
    "device_map", "parallelize", "max_memory_per_gpu", "max_cpu_memory", "offload_folder", "tp_plan", "load_in_4bit", "load_in_8bit",
    "quantization_config",
)  # fmt: skip
_BYTES_OF_A_ROW = 1024  # of an answer in the store and in the reports, with its key and provenance
_BYTES_OF_A_TOKEN = 5  # of generated text


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number of bytes, and what it stands on."""

    size: int
    basis: str


def weights_estimate(facts: ModelFacts, conditions: Conditions) -> Estimate:
    """Memory of a model's weights: each parameter in the dtype that it is loaded in, or the files as they are."""
    each = _BYTES.get(conditions.dtype)
    if facts.parameters and each and (facts.gguf or not facts.quantised):
        return Estimate(size=facts.parameters * each, basis=f"{facts.parameters:,} parameters in {conditions.dtype}")
    return Estimate(size=facts.size or 0, basis="the size of its files")


def is_knowable(facts: ModelFacts, conditions: Conditions) -> bool:
    """Whether the weights are loaded whole, as estimated, onto one device."""
    return conditions.backend in TRANSFORMERS and not any(facts.arguments.get(key) for key in _SPREAD)


def cache_estimate(
    facts: ModelFacts, conditions: Conditions, prepared: Iterable[PreparedTask], batch_size: str
) -> Estimate | None:
    """Memory of the keys and values of one batch of the longest request, at most; None where the files do not tell it.

    A token is counted for each byte of a prompt, because none is shorter, and never more than the model takes.
    """
    each, of_token = _BYTES.get(conditions.dtype), _numbers_of_a_token(facts)
    requests = [request for task in prepared for request in task.requests]
    if not each or not of_token or not batch_size.isdecimal() or not requests:
        return None
    tokens = min(conditions.max_length, max(_length(request, conditions) for request in requests))
    size = of_token * each * tokens * int(batch_size)
    return Estimate(size=size, basis=f"batch size {batch_size}, at most {tokens} tokens, in {conditions.dtype}")


def kept_estimate(asked: Iterable[tuple[Request, Conditions]]) -> Estimate:
    """Disk that answers take, in the store or in the reports."""
    requests = list(asked)
    tokens = sum(_new_tokens(request, conditions) for request, conditions in requests)
    size = len(requests) * _BYTES_OF_A_ROW + tokens * _BYTES_OF_A_TOKEN
    generated = f", {_BYTES_OF_A_TOKEN} bytes for each of at most {tokens:,} generated tokens" if tokens else ""
    return Estimate(size=size, basis=f"{_BYTES_OF_A_ROW} bytes for each of {len(requests):,} answers{generated}")


def download_estimate(models: Iterable[ModelArgument], cache_dir: Path | None) -> Estimate:
    """Disk that models take which the hub still holds; a model of both sides counts once, one of unknown size not at all."""
    repositories: dict[tuple[str | None, ...], ModelArgument] = {}
    for model in models:
        repositories.setdefault((model.value, model.revision, model.base.value if model.base else None), model)
    found = {model.where: download_size(model, cache_dir=cache_dir) for model in repositories.values()}
    sizes = {where: size for where, size in found.items() if size}
    basis = ", ".join(f"{where}: {size_text(size)}" for where, size in sizes.items())
    return Estimate(size=sum(sizes.values()), basis=f"downloads, as the hub tells their sizes: {basis}")


def _numbers_of_a_token(facts: ModelFacts) -> int | None:
    """Keys and values that a decoder keeps of one token, by the names that transformers' configurations use."""
    config = {} if facts.gguf else read_json(facts.folder / "config.json")
    config = config.get("text_config") or config
    heads = _integer(config, "num_attention_heads", "n_head")
    layers, width = _integer(config, "num_hidden_layers", "n_layer"), _integer(config, "hidden_size", "n_embd")
    of_head = _integer(config, "head_dim") or (width // heads if width and heads else None)
    kept = _integer(config, "num_key_value_heads") or heads
    if not layers or not kept or not of_head or "kv_lora_rank" in config:  # the last keeps something smaller
        return None
    return 2 * layers * kept * of_head


def _integer(config: dict[str, Any], *names: str) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _length(request: Request, conditions: Conditions) -> int:
    if request.tokens is not None:
        return len(request.tokens)
    return len((request.context + (request.continuation or "")).encode()) + _new_tokens(request, conditions)


def _new_tokens(request: Request, conditions: Conditions) -> int:
    """Tokens that a request may generate; what lm-eval does not take is told elsewhere."""
    if request.gen_kwargs is None:
        return 0
    given = json.loads(request.gen_kwargs)
    asked = next((given[key] for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if given.get(key)), None)
    return asked if isinstance(asked, int) else conditions.max_gen_toks
