"""Times a model of transformers in this process: a prompt read at once, and tokens generated behind it one by one."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

import torch

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.speed import TimedRun

if TYPE_CHECKING:
    from collections.abc import Sequence


def timed_run(model: Any, device: torch.device, prompts: Sequence[Sequence[int]], generate: int) -> TimedRun:
    """Read prompts, and take the likeliest token so many times; an end of text ends nothing, so that all models do the same work.

    Args:
        model: a causal language model of transformers.
        device: that it is on.
        prompts: token ids, all of one length.
        generate: tokens behind each, of which the prompt itself gives the first.

    Raises:
        TaskError: the model keeps no keys and values.
    """
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    before = _start(device)
    with torch.inference_mode():
        ids = torch.tensor(prompts, device=device)  # (batch, prompt)
        began = time.perf_counter()
        found = model(input_ids=ids, use_cache=True, **last)
        token = found.logits[:, -1:].argmax(dim=-1)  # (batch, 1)
        _wait(device)
        read = time.perf_counter()
        for _ in range(generate - 1):
            if getattr(found, "past_key_values", None) is None:
                raise TaskError(
                    "speed: the model keeps no keys and values from one token to the next; it cannot be timed."
                )
            found = model(input_ids=token, past_key_values=found.past_key_values, use_cache=True)
            token = found.logits[:, -1:].argmax(dim=-1)
        _wait(device)
        done = time.perf_counter()
    memory = None if before is None else sum(map(torch.cuda.max_memory_allocated, _cards())) - before
    return TimedRun(prefill=read - began, decode=done - read, memory=memory)


def weights_size(model: Any) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def _start(device: torch.device) -> int | None:
    """Bytes that are taken on all GPUs before the run, over which a model may be spread; None elsewhere, where nobody counts them."""
    if device.type != "cuda":
        return None
    for card in _cards():
        torch.cuda.synchronize(card)
        torch.cuda.reset_peak_memory_stats(card)
    return int(sum(map(torch.cuda.memory_allocated, _cards())))


def _cards() -> range:
    return range(torch.cuda.device_count())


def _wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        for card in _cards():
            torch.cuda.synchronize(card)
    elif device.type == "mps":
        torch.mps.synchronize()
