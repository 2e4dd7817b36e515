"""Requests as the engine's jobs, and what it finished as their responses: encoded, cut and decoded as lm-eval does."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_prunegate.execution.fast.greedy import Greedy, greedy_settings
from pytest_prunegate.execution.fast.jobs import Choices, Generation, Scored
from pytest_prunegate.execution.fast.suitable import why_not_generation
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_prunegate.execution.fast.engine import Finished
    from pytest_prunegate.execution.fast.jobs import Job
    from pytest_prunegate.tasks.requests import Request


class Encoding:
    """What lm-eval's model object makes of requests.

    Args:
        lm: the model object.
    """

    def __init__(self, lm: Any) -> None:
        self._lm = lm
        self._greedy: dict[str, Greedy | None] = {}
        self.refused: dict[str, None] = {}
        """Why texts of some generation arguments are lm-eval's, each once."""

    def is_job(self, request: Request) -> bool:
        """Whether the engine answers requests like this."""
        if request.kind == GENERATION:
            return bool(request.context) and self._settings(request) is not None
        return request.kind == LOGLIKELIHOOD and bool(request.context) and not self._lm.enable_thinking

    def jobs(self, requests: Iterable[Request]) -> dict[Request, Job]:
        """The job that each request is a part of. Those that are not here are lm-eval's: it has a word on them, or fails."""
        found: dict[Request, Job] = {}
        together: dict[Any, list[Scored]] = defaultdict(list)
        for request in filter(self.is_job, requests):
            if request.kind == GENERATION:
                job = self._generation(request)
                found |= {request: job} if job else {}
            elif scored := self._scored(request):
                together[request if scored.is_cut else request.context].append(
                    scored
                )  # cut ones begin at different places
        for group in together.values():
            found |= dict.fromkeys((scored.key for scored in group), Choices(scored=group))
        return found

    def responses(self, finished: Finished) -> Iterator[tuple[Request, Response]]:
        """The responses of a finished job."""
        job = finished.job
        if isinstance(job, Choices):
            for scored, (loglikelihood, is_greedy) in zip(job.scored, finished.scores, strict=True):
                yield scored.key, Response(loglikelihood=loglikelihood, greedy=is_greedy)
        else:
            greedy = self._settings(job.key)
            assert greedy is not None
            yield job.key, greedy.response(self._lm, finished.generated)

    def _settings(self, request: Request) -> Greedy | None:
        arguments = request.gen_kwargs or "{}"
        if arguments not in self._greedy:
            self._greedy[arguments] = self._made(json.loads(arguments))
        return self._greedy[arguments]

    def _made(self, gen_kwargs: dict[str, Any]) -> Greedy | None:
        try:
            reason = why_not_generation(self._lm, gen_kwargs)
        except Exception as error:  # noqa: BLE001 - `generate` will say the same of such arguments
            reason = reason_of(error)
        if reason:
            self.refused[reason] = None
            return None
        greedy = greedy_settings(self._lm, gen_kwargs)
        return greedy if 0 < greedy.most < self._lm.max_length else None

    def _generation(self, request: Request) -> Generation | None:
        greedy = self._settings(request)
        assert greedy is not None
        tokens, _ = self._lm.tok_batch_encode(
            [request.context], left_truncate_len=self._lm.max_length - greedy.most, truncation=self._lm.truncation
        )
        if not tokens.shape[1]:
            return None
        return Generation(key=request, prompt=tokens[0].numpy(), most=greedy.most, is_over=greedy.stops.are_met)

    def _scored(self, request: Request) -> Scored | None:
        context, continuation = self._lm._encode_pair(request.context, request.continuation)  # noqa: SLF001 - lm-eval's own
        longest = self._lm.max_length
        if not context or not 0 < len(continuation) <= longest:
            return None
        tokens = (context + continuation)[-(longest + 1) :][:-1]
        return Scored(
            key=request, input=tuple(tokens), continuation=tuple(continuation), is_cut=len(tokens) < len(context) + len(continuation) - 1
        )  # fmt: skip
