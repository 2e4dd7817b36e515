"""The log-likelihood of a window of tokens, with memory that does not grow with the vocabulary times the window."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROWS = 256  # positions whose logits are in memory at once: 130 MB in fp32 for a vocabulary of 128,000


def window_loglikelihood(lm: Any, tokens: tuple[int, ...]) -> float:
    """Sum of the natural log-probabilities of all tokens but the first, each given those before it.

    Args:
        lm: lm-eval's transformers backend, or another one that scores tokens.
        tokens: a window's ids, (T,).
    """
    if not isinstance(getattr(lm, "model", None), torch.nn.Module):
        request = (None, list(tokens[:1]), list(tokens[1:]))
        ((loglikelihood, _),) = lm._loglikelihood_tokens([request], disable_tqdm=True)  # noqa: SLF001 - lm-eval's own seam
        return float(loglikelihood)
    ids = torch.tensor([tokens], device=lm.device)  # (1, T)
    total = 0.0
    with torch.inference_mode():
        for start, logits in _logits(lm, ids):  # (1, rows, V)
            rows = min(logits.shape[1], len(tokens) - 1 - start)
            targets = ids[0, start + 1 : start + 1 + rows].to(logits.device)
            wide = logits[0, :rows].double() if logits.dtype == torch.float64 else logits[0, :rows].float()
            losses = torch.nn.functional.cross_entropy(wide, targets, reduction="none")  # (rows,)
            total -= float(losses.double().sum())
    return total


def _logits(lm: Any, ids: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Logits of the window from left to right, each piece with the position of its first row.

    The decoder runs once. The model's own forward is then asked for some rows at a time with the decoder's output in
    place of the decoder, so that whatever a model does behind its head (caps, scales) is done here too. A model that
    cannot be asked for rows gives all of them at once.
    """
    model, length = _without_adapter_shell(lm.model), ids.shape[1]
    decoder = getattr(model, "base_model", model)
    takes_rows = "logits_to_keep" in inspect.signature(model.forward).parameters
    if decoder is model or not takes_rows or length <= _ROWS or getattr(lm, "mixed_precision_dtype", None):
        yield 0, lm._model_call(ids)  # noqa: SLF001 - lm-eval's own seam
        return
    kept: list[Any] = []
    forward = decoder.forward

    def remember(*args: Any, **kwargs: Any) -> Any:
        if not kept:
            kept.append(forward(*args, **kwargs))
        return kept[0]

    decoder.forward = remember
    try:
        for start in range(0, length, _ROWS):
            rows = torch.arange(start, min(start + _ROWS, length), device=ids.device)
            yield start, model(ids, use_cache=False, logits_to_keep=rows).logits
    finally:
        decoder.forward = forward


def _without_adapter_shell(model: Any) -> Any:
    """The model that an adapter was put into. Virtual tokens are added by the shell, which then has to stay."""
    config = getattr(model, "active_peft_config", None)
    return model if config is None or config.is_prompt_learning else model.get_base_model()
