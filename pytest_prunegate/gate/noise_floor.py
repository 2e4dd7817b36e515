"""Asks the original a second time, in other batches, so that the noise floor of its checks is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_prunegate.errors import EvaluationError
from pytest_prunegate.execution.answering import Answering
from pytest_prunegate.execution.executor import Settings
from pytest_prunegate.execution.models import Models
from pytest_prunegate.gate.progress import DocumentCounter
from pytest_prunegate.tasks.requests import Conditions, canonical_json
from pytest_prunegate.tasks.scorer import Scorer
from pytest_prunegate.verdict.noise import Noise, noise_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.batch_runner import Keep
    from pytest_prunegate.execution.interruption import StopRequest
    from pytest_prunegate.execution.models import Turns
    from pytest_prunegate.gate.progress import Progress
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.requests import Request
    from pytest_prunegate.verdict.check_scores import Measurement


def other_batch_size(batch_size: str) -> str:
    """A batch size that composes batches otherwise."""
    if not batch_size.isdecimal():
        return "8"
    return "4" if batch_size == "1" else str(int(batch_size) // 2)


class SecondAsking:
    """Asks the original once more, in other company and in batches of another size; its answers are kept apart.

    Args:
        store: keeps the responses.
        original: the model.
        conditions: the original's.
        device: as the user wrote it.
        batch_size: of the first asking.
        stop: asked between two batches.
        progress: is told how it goes on.
        turns: shared with the first asking.
    """

    def __init__(
        self,
        store: Store,
        original: ModelFacts,
        *,
        conditions: Conditions,
        device: str,
        batch_size: str,
        stop: StopRequest,
        progress: Progress,
        turns: Turns,
    ) -> None:
        self.batch_size = other_batch_size(batch_size)
        said = canonical_json(
            {"arguments": conditions.arguments, "asked again": f"batch size {self.batch_size}, regrouped"}
        )
        self._progress = progress
        own: dict[Side, Conditions] = {"original": replace(conditions, arguments=said)}
        self._answering = Answering(
            store, {"original": original}, conditions=own, device=device, batch_size=self.batch_size,
            models=_Regrouped(own, Settings(batch_size=self.batch_size, device=device), stop), turns=turns,
        )  # fmt: skip

    def ask(self, measured: Sequence[Measurement]) -> tuple[Measurement, ...]:
        """Ask for what was measured once more.

        Returns:
            The same parts, with the second answers in the pruned model's place.

        Raises:
            EvaluationError: the model fails.
        """
        try:
            return tuple(self._again(part) for part in measured)
        finally:
            self._answering.close()  # the other model needs the memory

    def _again(self, first: Measurement) -> Measurement:
        prepared = first.prepared
        missing = self._answering.missing(prepared, "original")
        long = self._answering.long_prompts(prepared)["original"] if missing else frozenset()
        counter = DocumentCounter(prepared, missing, self._progress)
        documents = len(prepared.documents)
        if missing:
            self._progress.start(
                prepared.name, "original again", documents=documents, done=documents - counter.waiting, work=counter.work,
                later=None, unit=prepared.unit
            )  # fmt: skip
        try:
            responses = self._answering.responses(prepared, "original", long=long, progress=counter.answered)
        finally:
            self._progress.finish()
        scorer = Scorer(prepared, responses, model=self._answering.facts["original"].title)
        return replace(
            first,
            scorers={"original": first.scorers["original"], "pruned": scorer},
            shares={"original": first.shares["original"], "pruned": scorer.shares()},
        )


class NoiseFloor:
    """The noise floor of a run's checks; a task's answers are asked for again once.

    Args:
        second: asks.
    """

    def __init__(self, second: SecondAsking) -> None:
        self._second = second
        self._asked: dict[str, tuple[Measurement, ...]] = {}
        self.problems: dict[str, str] = {}
        """Why it could not be measured, by task; the verdicts stand without it."""

    def of(self, task: GateTask, check: Check, measured: Sequence[Measurement]) -> Noise | None:
        """What moved on a check; None where it could not be measured."""
        if task.name in self.problems:
            return None
        try:
            if task.name not in self._asked:
                self._asked[task.name] = self._second.ask(measured)
            return noise_of(task, check, self._asked[task.name], self._second.batch_size)
        except EvaluationError as error:
            self.problems[task.name] = f"{task.name}: the noise floor could not be measured: {error}"
            return None


class _Regrouped(Models):
    """Models that are asked from the other end and in two halves: what shared a batch is apart."""

    def run(self, facts: ModelFacts, requests: Sequence[Request], keep: Keep, long: frozenset[Request]) -> None:
        other_end = requests[::-1]
        for half in (other_end[::2], other_end[1::2]):
            super().run(facts, half, keep, long)
