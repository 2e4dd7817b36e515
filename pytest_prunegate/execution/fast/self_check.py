"""The first documents of a model on both paths: whether the engine differs from lm-eval in more than the order of sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.execution.fast.jobs import Choices
from pytest_prunegate.execution.fast.trial import allowed, unlikely

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.execution.fast.engine import Finished
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Request


def refuted(
    model: Any, finished: Finished, ours: Mapping[Request, Response], usual: Mapping[Request, Response]
) -> str | None:
    """Why the engine is not to be trusted with a model; None where nothing speaks against it.

    Log-likelihoods may differ by what sums in another order do. A text may differ where the model finds each of the engine's tokens as
    likely as any other, or nearly: lm-eval's own texts do between two batch sizes.

    Args:
        model: of transformers.
        finished: what the engine did.
        ours: the engine's answers.
        usual: lm-eval's.
    """
    if isinstance(finished.job, Choices):
        off = {
            one: abs((ours[one.key].loglikelihood or 0.0) - (usual[one.key].loglikelihood or 0.0))
            for one in finished.job.scored
        }
        worst = max(
            (distance for one, distance in off.items() if distance > allowed(model) * len(one.continuation)),
            default=None,
        )
        return None if worst is None else f"one of its first log-likelihoods is {worst:.2g} off lm-eval's"
    one, other = ours[finished.job.key], usual[finished.job.key]
    if (one.text, one.cut) == (other.text, other.cut):
        return None
    short, long = sorted((one.text or "", other.text or ""), key=len)
    if long.startswith(short):
        return "one of its first texts ends elsewhere than lm-eval's"
    return unlikely(model, finished.job.prompt.tolist(), finished.generated)
