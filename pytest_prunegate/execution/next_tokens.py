"""Next-token distributions of a model in this process: logits of a window some rows at a time, and what is computed from them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.agreement import WindowAgreement, rows_differ

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        for start, logits in _pieces(lm, ids):  # (1, rows, V)
            rows = min(logits.shape[1], len(tokens) - 1 - start)
            targets = ids[0, start + 1 : start + 1 + rows].to(logits.device)
            wide = logits[0, :rows].double() if logits.dtype == torch.float64 else logits[0, :rows].float()
            losses = torch.nn.functional.cross_entropy(wide, targets, reduction="none")  # (rows,)
            total -= float(losses.double().sum())
    return total


def _pieces(lm: Any, ids: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
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


def logit_rows(lm: Any, tokens: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """Logits of a window, (rows, V) each from left to right; all pieces but the last have as many rows, whatever the model.

    To be consumed under ``torch.inference_mode``.

    Args:
        lm: lm-eval's transformers backend.
        tokens: a window's ids, (T,).
    """
    ids = torch.tensor([tokens], device=lm.device)  # (1, T)
    for _, logits in _pieces(lm, ids):
        yield from logits[0].split(_ROWS)


def window_agreement(
    original: Iterable[torch.Tensor], pruned: Iterable[torch.Tensor], *, tokens: tuple[int, ...]
) -> WindowAgreement:
    """Both models on a window, computed in float64.

    Args:
        original: its logits, pieces of (rows, V).
        pruned: likewise, in pieces of as many rows.
        tokens: the window's ids, (T,).

    Raises:
        TaskError: the vocabularies differ in size, or a logit is NaN.
    """
    found: dict[str, list[Any]] = {"kl": [], "same": [], "original": [], "pruned": []}
    with torch.inference_mode():
        for before, after in zip(original, pruned, strict=True):
            if before.shape != after.shape:
                raise TaskError(rows_differ(before.shape[-1], after.shape[-1]))
            targets = targets_of(tokens, len(found["kl"]), before)
            rows = len(targets)
            for key, values in _rows_agreement(before[:rows], after[:rows].to(before.device), targets).items():
                found[key] += values.tolist()
    refuse_not_finite(found["kl"])
    kl, same, before_losses, after_losses = (tuple(found[key]) for key in ("kl", "same", "original", "pruned"))
    return WindowAgreement(kl=kl, same=same, original=before_losses, pruned=after_losses)


def targets_of(tokens: tuple[int, ...], done: int, logits: torch.Tensor) -> torch.Tensor:
    """The tokens that a piece of logits predicts, on its device: one fewer for the last piece, whose last row has nothing to predict.

    Args:
        tokens: the window's ids, (T,).
        done: rows before the piece.
        logits: the piece, (rows, V).
    """
    return torch.tensor(tokens[done + 1 :][: len(logits)], device=logits.device)


def refuse_not_finite(kl: list[float]) -> None:
    """See that every divergence is a number.

    Raises:
        TaskError: one is not.
    """
    if not all(value < float("inf") for value in kl):  # NaN compares as false
        raise TaskError(
            "agreement: a model's next-token distribution is NaN or infinite. The checkpoint is damaged, or its numbers do not fit the "
            "dtype: try --prunegate-dtype=float32."
        )


def _rows_agreement(original: torch.Tensor, pruned: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Figures of some rows, (rows,) each, from logits of (rows, V)."""
    p, q = (torch.log_softmax(logits.double(), dim=-1) for logits in (original, pruned))
    own = targets[:, None]
    return {
        "kl": torch.where(p == -torch.inf, 0.0, p.exp() * (p - q)).sum(dim=-1),
        "same": original.argmax(dim=-1) == pruned.argmax(dim=-1),
        "original": -p.gather(1, own)[:, 0],
        "pruned": -q.gather(1, own)[:, 0],
    }
