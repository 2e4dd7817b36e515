"""The original's next-token distributions as a baseline keeps them, and the pruned model's divergence from what was kept.

A position keeps its likeliest tokens with their log-probabilities, and a random sample of all others, drawn by their probabilities. With P the mass
of those others, KL(p || q) = sum over the kept of p log(p / q) + P E[log(p / q)], and the mean over the sample estimates that expectation
without bias (importance sampling); its variance is told. What the likeliest tokens and the mass of the rest bound alone is far wider.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_prunegate.errors import TaskError
from pytest_prunegate.execution.next_tokens import refuse_not_finite, targets_of
from pytest_prunegate.tasks.agreement import WindowAgreement, rows_differ

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIKELIEST, _SAMPLED = 64, 64  # tokens of a position: a kilobyte


def packed(original: Iterable[torch.Tensor], tokens: tuple[int, ...]) -> str:
    """A window's distributions as text.

    Args:
        original: its logits, pieces of (rows, V).
        tokens: the window's ids, (T,).
    """
    own = np.asarray(tokens, dtype="<i4").tobytes()
    draw = torch.Generator().manual_seed(zlib.crc32(own))  # each window by itself, and the same whenever it is computed
    found: dict[str, list[Any]] = {"ids": [], "values": [], "own": [], "best": []}
    vocabulary, done = 0, 0
    with torch.inference_mode():
        for logits in original:
            targets = targets_of(tokens, done, logits)
            rows, vocabulary = len(targets), logits.shape[-1]
            p = torch.log_softmax(logits[:rows].double(), dim=-1).cpu()
            ids = p.topk(min(_LIKELIEST, vocabulary), dim=-1).indices
            if vocabulary > _LIKELIEST:
                others = p.exp().scatter(1, ids, 0.0)
                ids = torch.cat((ids, torch.multinomial(others, _SAMPLED, replacement=True, generator=draw)), dim=1)
            found["ids"].append(ids.int())
            found["values"].append(p.gather(1, ids).float())
            found["own"].append(-p.gather(1, targets.cpu()[:, None])[:, 0].float())
            found["best"].append(logits[:rows].argmax(dim=-1).cpu().int())
            done += rows
    held = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    content = b"".join(held[name].tobytes() for name in held)
    header = {"rows": done, "kept": held["ids"].shape[1], "vocabulary": vocabulary}
    return json.dumps(header | {"packed": base64.b64encode(zlib.compress(content)).decode()})


def agreement_with(kept: str, pruned: Iterable[torch.Tensor], tokens: tuple[int, ...]) -> WindowAgreement:
    """The pruned model on a window whose original's distributions were kept.

    Args:
        kept: what `packed` made.
        pruned: its logits, pieces of (rows, V).
        tokens: the window's ids, (T,).

    Raises:
        TaskError: the vocabularies differ in size, or a logit is NaN.
    """
    header = json.loads(kept)
    held = _unpacked(header)
    kl: list[float] = []
    variance, same, losses = 0.0, [], []
    with torch.inference_mode():
        for logits in pruned:
            if logits.shape[-1] != header["vocabulary"]:
                raise TaskError(rows_differ(header["vocabulary"], logits.shape[-1]))
            targets = targets_of(tokens, len(kl), logits)
            here = slice(len(kl), len(kl) + len(targets))
            q = torch.log_softmax(logits[: len(targets)].double(), dim=-1).cpu()
            values, spread = _divergence(held["values"][here].double(), q.gather(1, held["ids"][here].long()))
            kl += values.tolist()
            variance += float(spread.sum())
            same += (logits[: len(targets)].argmax(dim=-1).cpu() == held["best"][here]).tolist()
            losses += (-q.gather(1, targets.cpu()[:, None])[:, 0]).tolist()
    refuse_not_finite(kl)
    return WindowAgreement(
        kl=tuple(kl), same=tuple(same), original=tuple(held["own"].tolist()), pruned=tuple(losses), variance=variance / len(kl) ** 2
    )  # fmt: skip


def _divergence(p: torch.Tensor, q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The divergence of each row and its variance, (rows,) each, from log-probabilities of kept tokens, (rows, kept)."""
    top, sampled = p[:, :_LIKELIEST], p[:, _LIKELIEST:]
    exact = (top.exp() * (top - q[:, :_LIKELIEST])).sum(dim=-1)
    if not sampled.shape[1]:
        return exact, torch.zeros_like(exact)
    mass = (1 - top.exp().sum(dim=-1)).clamp(min=0)
    ratios = sampled - q[:, _LIKELIEST:]
    return exact + mass * ratios.mean(dim=-1), mass**2 * ratios.var(dim=-1) / sampled.shape[1]


def _unpacked(header: dict[str, Any]) -> dict[str, torch.Tensor]:
    content, rows, kept = zlib.decompress(base64.b64decode(header["packed"])), header["rows"], header["kept"]
    shapes = {
        "ids": ((rows, kept), "<i4"),
        "values": ((rows, kept), "<f4"),
        "own": ((rows,), "<f4"),
        "best": ((rows,), "<i4"),
    }
    held, start = {}, 0
    for name, (shape, kind) in shapes.items():
        found = np.frombuffer(content, dtype=kind, count=math.prod(shape), offset=start).reshape(shape).copy()
        held[name] = torch.from_numpy(found)
        start += found.nbytes
    return held
