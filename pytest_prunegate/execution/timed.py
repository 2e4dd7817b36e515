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
    memory = None if before is None else torch.cuda.max_memory_allocated(device) - before
    return TimedRun(prefill=read - began, decode=done - read, memory=memory)


def weights_size(model: Any) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def _start(device: torch.device) -> int | None:
    """Bytes that are taken on a GPU before the run; None elsewhere, where nobody counts them."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def _wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
