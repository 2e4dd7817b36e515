"""Whether the engine says of a few tokens what the model itself says: the last word on whether its architecture is understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_prunegate.execution.fast.jobs import Choices, Generation, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.execution.fast.engine import Engine
    from pytest_prunegate.execution.fast.jobs import Job

_PROMPT, _SHARED, _CHOICE, _GENERATED = 32, 20, 3, 4
# Nats by which a token's log-probability may differ: chance of the order of sums, by the size of the dtype in bytes.
_ALLOWED = {8: 1e-4, 4: 1e-2, 2: 0.5}


def trial(engine: Engine, model: Any) -> str | None:
    """Have the engine score and generate behind two prompts that begin alike, and compare that with whole passes of the model.

    Returns:
        What differs; None where nothing does.

    Raises:
        Exception: whatever the model raises.
    """
    tokens = torch.randint(
        0, model.get_input_embeddings().num_embeddings, (3 * _PROMPT,), generator=torch.Generator().manual_seed(0)
    )
    one, fresh = tokens[:_PROMPT].tolist(), tokens[_PROMPT:].tolist()
    prompts = [one, [*one[:_SHARED], *fresh[:_CHOICE]]]
    jobs: list[Job] = [
        *(_choices(prompt, fresh[_SHARED:]) for prompt in prompts),
        *(_generation(prompt) for prompt in prompts),
    ]
    for finished in engine.run(jobs):
        job = finished.job
        if isinstance(job, Choices):
            expected = [_loglikelihood(model, scored) for scored in job.scored]
            off = max(abs(found - sure) for (found, _), sure in zip(finished.scores, expected, strict=True))
            if not off <= allowed(model) * _CHOICE:  # NaN compares as false
                return f"a continuation's log-likelihood is off by {off:.2g}"
        elif reason := unlikely(model, job.prompt.tolist(), finished.generated):
            return reason
    return None


def _choices(prompt: Sequence[int], fresh: Sequence[int]) -> Choices:
    """Two continuations, one of a single token."""
    continuations = (tuple(fresh[:_CHOICE]), tuple(fresh[_CHOICE : _CHOICE + 1]))
    scored = (Scored(key=None, input=(*prompt, *one[:-1]), continuation=one) for one in continuations)
    return Choices(scored=tuple(scored))


def _generation(prompt: Sequence[int]) -> Generation:
    return Generation(key=None, prompt=np.asarray(prompt), most=_GENERATED, is_over=lambda _: False)


def _said(model: Any, tokens: Sequence[int], last: int) -> torch.Tensor:
    """Log-probabilities (last, V) behind each of the last tokens."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([list(tokens)], device=model.device)).logits[0, -last:]
    return torch.log_softmax(logits.float(), -1)


def _loglikelihood(model: Any, scored: Scored) -> float:
    tokens = torch.tensor(scored.continuation, device=model.device)
    said = _said(model, scored.input, len(scored.continuation))
    return float(said.gather(1, tokens[:, None]).sum())


def allowed(model: Any) -> float:
    """Nats by which a token's log-probability may differ from that of a whole pass."""
    return _ALLOWED[model.dtype.itemsize]


def unlikely(model: Any, prompt: list[int], generated: Sequence[int]) -> str | None:
    """What a text has that the model would not write: each of its tokens is to be the likeliest, or nearly."""
    said = _said(model, [*prompt, *generated[:-1]], len(generated))
    lacking = said.max(-1).values - said.gather(1, torch.tensor(generated, device=model.device)[:, None])[:, 0]
    worst = float(lacking.max())
    return None if worst <= allowed(model) else f"a generated token is {worst:.2g} nats less likely than the likeliest"
