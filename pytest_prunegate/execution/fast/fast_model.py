"""The default executor: lm-eval's model, prompts and post-processing, with this package's engine in place of its batches where that is sure."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import torch

from pytest_prunegate.execution.devices import available_memory
from pytest_prunegate.execution.fast.engine import Engine, Finished, Room
from pytest_prunegate.execution.fast.greedy import Greedy, greedy_settings
from pytest_prunegate.execution.fast.jobs import Choices, Generation, Scored
from pytest_prunegate.execution.fast.self_check import checked
from pytest_prunegate.execution.fast.suitable import why_not_generation, why_not_model
from pytest_prunegate.execution.fast.trial import trial
from pytest_prunegate.execution.lm_eval_model import LmEvalModel
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.execution.fast.jobs import Job
    from pytest_prunegate.tasks.requests import Request

_log = logging.getLogger("pytest_prunegate")
_AT_ONCE = 256  # prompts that the engine is given at once: what is left of them at their end fills fewer slots
_CPU = Room(slots=32, tokens=512)
_GPU = Room(slots=128, tokens=8192, together=True)
_CHECKS = {GENERATION: 2, LOGLIKELIHOOD: 2}  # prompts that are asked on both paths
# How many of each kind of request were checked in this process, by model, conditions and device.
_CHECKED: dict[tuple[str, Conditions, str], Counter[str]] = {}
_SHARE = 0.6  # of the free memory for keys and values; a pass takes some, too


class FastModel(LmEvalModel):
    """A decoder of transformers, run by the engine; what is not the engine's stays on lm-eval's path.

    Raises:
        ModelError: it cannot be loaded.
    """

    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> None:
        super().__init__(facts, conditions, settings)
        self._begin(conditions)

    def _begin(self, conditions: Conditions) -> None:
        """Have an engine for the model that was loaded, unless something speaks against it."""
        self._why_not_some: dict[str, None] = {}
        self._engine: Engine | None = None
        self._is_tried = False
        self._greedy: dict[str | None, Greedy | None] = {}
        self._conditions = conditions
        self._own_bound = self.measures_memory
        self._why_not = why_not_model(self._lm, self._facts)
        if self._why_not is None:
            room = _GPU if torch.device(self._lm.device).type == "cuda" else _CPU
            self._engine = Engine(self._lm.model, room, self._memory, precision=self._lm.softmax_dtype)
            self.is_continuous, self.measures_memory = True, False

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why answers came on lm-eval's own path."""
        whole = f"ran on lm-eval's own path: {self._why_not}" if self._why_not else None
        parts = (f"answered on lm-eval's own path where {reason}" for reason in self._why_not_some)
        return (whole,) if whole else tuple(parts)

    def at_once(self, kind: str) -> int:
        """So many that slots that become free are filled again; of lm-eval's path, what that takes."""
        return _AT_ONCE if self._engine else super().at_once(kind)

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """Texts and log-likelihoods through the engine, the rest on lm-eval's path."""
        if self._engine is None:
            super().ask(batch, hand_on)
            return
        jobs = self._jobs(batch)
        if jobs and not self._is_tried:
            self._try()
        self._ask_lm_eval([request for request in batch if request not in jobs], hand_on)
        for kind in (GENERATION, LOGLIKELIHOOD):
            if self._engine and (chosen := self._to_be_checked(kind, jobs)):
                self._check(chosen, hand_on)
                jobs = {request: job for request, job in jobs.items() if request not in chosen}
        if self._engine:
            self._run(jobs, hand_on)
        else:
            self._ask_lm_eval(list(jobs), hand_on)

    def free_memory(self) -> None:
        """Keys and values, too."""
        if self._engine:
            self._engine.free()
        super().free_memory()

    def _try(self) -> None:
        """See that the engine says of a few tokens what the model says."""
        assert self._engine is not None
        self._is_tried = True
        try:
            off = trial(self._engine, self._lm.model)
        except Exception as error:  # an architecture's code may raise anything where it is called in another way
            if self.is_out_of_memory(error):
                raise
            off = reason_of(error)
        self._engine.free()
        if off:
            self._turn_off(f"a first trial failed: {off}")

    def _turn_off(self, reason: str) -> None:
        _log.warning("%s: runs on lm-eval's own path: %s", self._facts.title, reason)
        self._why_not = reason
        self._engine, self.is_continuous, self.measures_memory = None, False, self._own_bound

    def _memory(self) -> int:
        """Bytes for keys and values."""
        device = torch.device(self._lm.device)
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
        return int(_SHARE * free)

    def _ask_lm_eval(self, requests: Sequence[Request], hand_on: HandOn) -> None:
        """In batches of one kind."""
        by_kind: dict[tuple[str, str | None], list[Request]] = defaultdict(list)
        for request in requests:
            by_kind[request.kind, request.gen_kwargs].append(request)
        size = int(self._batch_size) if self._batch_size.isdecimal() else 1
        for same in by_kind.values():
            for start in range(0, len(same), size):
                super().ask(same[start : start + size], hand_on)

    def _run(self, jobs: Mapping[Request, Job], hand_on: HandOn) -> None:
        """Do jobs, with half of the room where memory runs out."""
        left = list(dict.fromkeys(jobs.values()))
        while left:
            assert self._engine is not None
            try:
                for finished in self._engine.run(left):
                    left.remove(finished.job)
                    for request, response in self._responses(finished):
                        hand_on(request, response)
            except Exception as error:
                if not (self.is_out_of_memory(error) and self._engine.shrink()):
                    raise
                self.free_memory()
                _log.warning("%s: out of memory; going on with fewer documents at once", self._facts.title)

    def _responses(self, finished: Finished) -> Iterator[tuple[Request, Response]]:
        job = finished.job
        if isinstance(job, Choices):
            for scored, (loglikelihood, is_greedy) in zip(job.scored, finished.scores, strict=True):
                yield scored.key, Response(loglikelihood=loglikelihood, greedy=is_greedy)
        else:
            greedy = self._greedy[job.key.gen_kwargs]
            assert greedy is not None
            yield job.key, greedy.response(self._lm, finished.generated)

    def _jobs(self, requests: Iterable[Request]) -> dict[Request, Job]:
        """The job that each request is a part of; those that are not here are lm-eval's."""
        found: dict[Request, Job] = {}
        contexts: dict[str, list[Scored]] = defaultdict(list)
        for request in requests:
            if request.kind == GENERATION and (job := self._generation(request)):
                found[request] = job
            elif request.kind == LOGLIKELIHOOD and (scored := self._scored(request)):
                contexts[request.context].append(scored)
        for group in contexts.values():
            choices = Choices(scored=group)
            found |= dict.fromkeys((scored.key for scored in group), choices)
        return {request: found[request] for request in requests if request in found}

    def _generation(self, request: Request) -> Generation | None:
        assert request.gen_kwargs is not None
        if request.gen_kwargs not in self._greedy:
            self._greedy[request.gen_kwargs] = self._settings(json.loads(request.gen_kwargs))
        greedy = self._greedy[request.gen_kwargs]
        room = self._lm.max_length - (greedy.most if greedy else 0)
        if greedy is None or room <= 0 or not request.context:
            return None
        tokens, _ = self._lm.tok_batch_encode([request.context], left_truncate_len=room, truncation=self._lm.truncation)
        return Generation(key=request, prompt=tokens[0].numpy(), most=greedy.most, is_over=greedy.stops.are_met)

    def _settings(self, gen_kwargs: dict[str, Any]) -> Greedy | None:
        try:
            reason = why_not_generation(self._lm, gen_kwargs)
        except Exception as error:  # noqa: BLE001 - `generate` will say the same of such arguments
            reason = reason_of(error)
        if reason:
            self._why_not_some[reason] = None
            return None
        return greedy_settings(self._lm, gen_kwargs)

    def _scored(self, request: Request) -> Scored | None:
        """A continuation's tokens as lm-eval encodes and cuts them."""
        if not request.context or self._lm.enable_thinking:
            return None
        context, continuation = self._lm._encode_pair(request.context, request.continuation)  # noqa: SLF001 - lm-eval's own
        longest = self._lm.max_length
        if not context or not 0 < len(continuation) <= longest:
            return None
        tokens = (context + continuation)[-(longest + 1) :][:-1]
        return Scored(key=request, input=tuple(tokens), continuation=tuple(continuation))

    def _to_be_checked(self, kind: str, jobs: Mapping[Request, Job]) -> dict[Request, Job]:
        """The first few jobs of a kind, the shortest, until enough of this model's were checked in this process."""
        checked = _CHECKED.setdefault((self._facts.fingerprint, self._conditions, self.where), Counter())
        own = dict.fromkeys(job for request, job in jobs.items() if request.kind == kind)
        few = sorted(own, key=lambda job: job.length)[: _CHECKS[kind] - checked[kind]]
        checked[kind] += len(few)
        return {request: job for request, job in jobs.items() if job in few}

    def _check(self, jobs: Mapping[Request, Job], hand_on: HandOn) -> None:
        """Do jobs on both paths, and turn the engine off where it is refuted."""
        found: dict[Request, Response] = {}
        self._run(jobs, found.__setitem__)

        def ask(requests: Sequence[Request], size: int) -> dict[Request, Response]:
            answers: dict[Request, Response] = {}
            for start in range(0, len(requests), size):
                super(FastModel, self).ask(requests[start : start + size], answers.__setitem__)
            return answers

        told = checked(found, ask)
        if told.reason:
            self._turn_off(told.reason)
        for request, response in told.answers.items():
            hand_on(request, response)
