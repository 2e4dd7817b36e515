"""The default executor: lm-eval's model, prompts and post-processing, with this package's engine in place of its batches where that is sure."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from pytest_prunegate.execution.batch_runner import groups_of
from pytest_prunegate.execution.devices import available_memory
from pytest_prunegate.execution.executor import EVERY_KIND
from pytest_prunegate.execution.fast.encoding import Encoding
from pytest_prunegate.execution.fast.engine import Engine, Finished, Room
from pytest_prunegate.execution.fast.self_check import refuted
from pytest_prunegate.execution.fast.suitable import why_not_model
from pytest_prunegate.execution.fast.trial import trial
from pytest_prunegate.execution.lm_eval_model import LmEvalModel
from pytest_prunegate.tasks.guarded import reason_of
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, Conditions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.execution.fast.jobs import Job
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.requests import Request

_log = logging.getLogger("pytest_prunegate")
_AT_ONCE = 256  # prompts that the engine is given at once: what is left of them at their end fills fewer slots
_CPU = Room(slots=32, tokens=512)
_GPU = Room(slots=128, tokens=8192, together=True)
_SHARE = 0.6  # of the free memory for keys and values; a pass takes some, too
_CHECKS = {GENERATION: 2, LOGLIKELIHOOD: 2}  # prompts that are asked on both paths


@dataclass
class _Known:
    """What this process found out of a model: how many prompts of each kind were checked, and why the engine is off; None where it is not."""

    checked: Counter[str] = field(default_factory=Counter)
    refuted: str | None = None


_KNOWN: dict[tuple[str, Conditions, str], _Known] = {}


class EngineError(Exception):
    """The engine raised `cause`, and not for lack of memory."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


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
        self._known = _KNOWN.setdefault((self._facts.fingerprint, conditions, self.where), _Known())
        self._encoding = Encoding(self._lm)
        self._engine: Engine | None = None
        self._is_tried = False
        self._why_not = self._known.refuted or why_not_model(self._lm, self._facts)
        if self._why_not is None:
            room = _GPU if torch.device(self._lm.device).type == "cuda" else _CPU
            self._engine = Engine(self._lm.model, room, self._memory, precision=self._lm.softmax_dtype)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Why answers came on lm-eval's own path."""
        whole = f"ran on lm-eval's own path: {self._why_not}" if self._why_not else None
        parts = (f"answered on lm-eval's own path where {reason}" for reason in self._encoding.refused)
        return (whole,) if whole else tuple(parts)

    def at_once(self, kind: str) -> int:
        """For the engine, so many that slots that become free are filled again."""
        return _AT_ONCE if kind == EVERY_KIND else super().at_once(kind)

    def taken_continuously(self, requests: Sequence[Request]) -> list[Request]:
        """Greedy texts and log-likelihoods, once the engine was tried."""
        ours = [request for request in requests if self._encoding.is_job(request)] if self._engine else []
        if ours and not self._is_tried:
            self._try()
        return ours if self._engine and self._is_tried else []

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        """Texts and log-likelihoods through the engine, the rest on lm-eval's path, as all that it does not answer."""
        if not self.taken_continuously(batch[:1]):
            if self._engine:
                self._engine.free()
            super().ask(batch, hand_on)
            return
        answered: set[Request] = set()

        def answer(request: Request, response: Response) -> None:
            answered.add(request)
            hand_on(request, response)

        try:
            self._ask_engine(self._encoding.jobs(batch), answer)
        except EngineError as error:
            if len({request.context for request in batch}) > 1:
                raise error.cause from error  # each is then asked alone
            self._turn_off(f"the engine failed: {reason_of(error.cause)}")
        for group in groups_of(request for request in batch if request not in answered):
            super().ask(group, hand_on)

    def free_memory(self) -> None:
        """Keys and values, too."""
        if self._engine:
            self._engine.free()
        super().free_memory()

    def close(self) -> None:
        """Free the model's memory, which nothing here may hold any more."""
        self._engine, self._encoding = None, Encoding(None)
        super().close()

    def _try(self) -> None:
        """See that the engine says of a few tokens what the model says. Where memory runs out, nothing is known yet."""
        assert self._engine is not None
        try:
            off = trial(self._engine, self._lm.model)
        except Exception as error:  # noqa: BLE001 - an architecture's code may raise anything where it is called in another way
            if self.is_out_of_memory(error):
                self.free_memory()
                self._encoding.refused["no memory was left for the engine"] = None
                return
            off = reason_of(error)
        self._engine.free()
        self._is_tried = True
        if off:
            self._turn_off(f"a first trial failed: {off}")

    def _turn_off(self, reason: str) -> None:
        """Leave the model to lm-eval's path, whenever it is loaded in this process."""
        _log.warning("%s: runs on lm-eval's own path: %s", self._facts.title, reason)
        self._why_not = self._known.refuted = reason
        self._engine = None

    def _memory(self) -> int:
        """Bytes for keys and values."""
        device = torch.device(self._lm.device)
        if device.type != "cuda":
            return int(_SHARE * available_memory())
        torch.cuda.empty_cache()  # what torch keeps for itself does not count as free
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])

    def _ask_engine(self, jobs: Mapping[Request, Job], answer: HandOn) -> None:
        for kind in _CHECKS:
            if self._engine and (chosen := self._to_be_checked(kind, jobs)):
                self._check(chosen, answer)
                self._known.checked[kind] += len(set(chosen.values()))
                jobs = {request: job for request, job in jobs.items() if request not in chosen}
        for finished in self._finished(jobs) if self._engine else ():
            for request, response in self._encoding.responses(finished):
                answer(request, response)

    def _finished(self, jobs: Mapping[Request, Job]) -> Iterator[Finished]:
        """Do jobs, with half of the room where memory runs out.

        Raises:
            EngineError: the engine raised.
        """
        left = dict.fromkeys(jobs.values())
        while left:
            assert self._engine is not None
            try:
                for finished in self._engine.run(list(left)):
                    del left[finished.job]
                    yield finished
            except Exception as error:
                if not self.is_out_of_memory(error):
                    raise EngineError(error) from error
                if not self._engine.shrink():
                    raise
                self.free_memory()
                _log.warning("%s: out of memory; going on with fewer documents at once", self._facts.title)

    def _to_be_checked(self, kind: str, jobs: Mapping[Request, Job]) -> dict[Request, Job]:
        """The first few jobs of a kind, the shortest, until enough of this model's were checked in this process."""
        own = dict.fromkeys(job for request, job in jobs.items() if request.kind == kind)
        few = sorted(own, key=lambda job: job.length)[: _CHECKS[kind] - self._known.checked[kind]]
        return {request: job for request, job in jobs.items() if job in few}

    def _check(self, jobs: Mapping[Request, Job], answer: HandOn) -> None:
        """Do jobs on both paths, and turn the engine off where it is refuted."""
        done = list(self._finished(jobs))
        usual: dict[Request, Response] = {}
        for group in groups_of(jobs):
            super().ask(group, usual.__setitem__)
        ours = {request: response for one in done for request, response in self._encoding.responses(one)}
        reason = next(filter(None, (refuted(self._lm.model, one, ours, usual) for one in done)), None)
        if reason:
            self._turn_off(reason)
        for request, response in (usual if reason else ours).items():
            answer(request, response)
