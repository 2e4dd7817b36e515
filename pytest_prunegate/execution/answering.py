"""Responses to a task's requests: from the store where they are kept, else from the model.

Imports torch only when a request has to be executed.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from pytest_prunegate.errors import ModelError, ResponseError, StoreError
from pytest_prunegate.execution.batch_runner import in_groups, work_of
from pytest_prunegate.execution.devices import hardware_name
from pytest_prunegate.execution.models import Turns, model_key
from pytest_prunegate.resources import installed_version
from pytest_prunegate.tasks.requests import Failure, request_keys
from pytest_prunegate.tasks.tokenizers import encoding_identity, name_documents, refuse_truncation, too_long

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import Executor
    from pytest_prunegate.execution.models import Models
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.store import Response, Store
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions, Request
    from pytest_prunegate.tasks.tokenizers import Overflow


class KeptAnswers(Protocol):
    """Where the answers of a model are looked up by the keys of their requests."""

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which an answer is kept."""

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The answers that are kept, by key."""


class FileAnswers:
    """The answers of one model, in memory.

    Args:
        model: its fingerprint.
        responses: by the keys of their requests.
    """

    def __init__(self, model: str, responses: Mapping[str, Response]) -> None:
        self._model = model
        self._responses = responses

    def known(self, model: str, keys: Iterable[str]) -> set[str]:
        """Those of the keys under which an answer is kept; none of another model."""
        return {key for key in keys if key in self._responses} if model == self._model else set()

    def get(self, model: str, keys: Iterable[str]) -> dict[str, Response]:
        """The answers that are kept, by key."""
        wanted = list(keys)
        return {key: self._responses[key] for key in self.known(model, wanted)}


_HOPELESS = 10  # failures in a row: then the model is broken, and no document is to blame
_HOPELESS_FROM_THE_START = 3  # where it has answered nothing of the task
_log = logging.getLogger("pytest_prunegate")
_TIMED_GROUPS = 2  # of requests that run together, by the probe; one more before them warms up


class Answering:
    """Answers requests for the models of a run, store first.

    Args:
        store: keeps the responses.
        facts: the models by side, the original first.
        conditions: of each side.
        device: as the user wrote it, for the timings.
        batch_size: as the user wrote it, for the provenance.
        models: run requests.
        files: answers of the sides that a file takes the place of; they are never loaded.
        turns: shared with whoever else asks models in this run.
    """

    def __init__(
        self,
        store: Store,
        facts: Mapping[Side, ModelFacts],
        *,
        conditions: dict[Side, Conditions],
        device: str,
        batch_size: str,
        models: Models,
        files: Mapping[Side, KeptAnswers] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._store = store
        self._kept: dict[Side, KeptAnswers] = dict.fromkeys(facts, store) | dict(files or {})
        self.facts = facts
        self.conditions = conditions
        self._device = device
        self._batch_size = batch_size
        self._models = models
        self._probed: set[Side] = set()
        self._turns = turns or Turns()
        self._turns.fingerprints |= dict.fromkeys(model.fingerprint for model in facts.values())
        self._model_keys = {side: model_key(model, conditions[side]) for side, model in facts.items()}
        self._known_keys: dict[tuple[str, Side], dict[Request, str]] = {}
        self._measured_lengths: dict[object, dict[Request, Overflow | None]] = {}
        self._failures_in_a_row: Counter[Side] = Counter()
        self.executed: Counter[tuple[str, Side]] = Counter()
        """Requests that a model had to answer in this run, by task and side."""

    @property
    def remarks(self) -> Iterator[str]:
        """How the answers of this run were made, where that is worth a word."""
        for side, remarks in self._models.remarks.items():
            yield from (f"The {self.facts[side].title} {remark}." for remark in remarks)

    def cheapest_order(self) -> list[Side]:
        """The sides, the one whose model is in memory first."""
        sides = list(self.facts)
        return sorted(sides, key=lambda side: side != self._models.loaded_side)

    def missing(self, prepared: PreparedTask, side: Side) -> list[Request]:
        """The requests that nothing kept can answer, without those on which the model raised in this run."""
        keys, failed = self.keys(prepared, side), self._turns.failed_of(self._model_keys[side])
        known = self._kept[side].known(self.facts[side].fingerprint, keys.values())
        return [request for request in prepared.requests if keys[request] not in known and request not in failed]

    def seconds_per_work(self, task: str, side: Side) -> float | None:
        """Mean time of a unit of a task's work, by this model's earlier requests or else the run's other models'; None where none was timed."""
        own = self._store.seconds_per_work(task, self._device, (self.facts[side].fingerprint,))
        if own is not None:
            return own
        return self._store.seconds_per_work(task, self._device, tuple(self._turns.fingerprints))

    def kept(self, side: Side, keys: Iterable[str]) -> dict[str, Response]:
        """Answers of a model that are kept, by key: in the store, or in the file that takes its place."""
        return self._kept[side].get(self.facts[side].fingerprint, keys)

    def add_timing(self, task: str, side: Side, *, work: int, seconds: float) -> None:
        """Remember how long some of a task's work took."""
        self._store.add_timing(self.facts[side].fingerprint, task, self._device, work=work, seconds=seconds)

    def keys(self, prepared: PreparedTask, side: Side) -> dict[Request, str]:
        """Content addresses of a task's requests, in their order; each is computed once."""
        known = self._known_keys.setdefault((prepared.key, side), {})
        unknown = (request for request in prepared.requests if request not in known)
        known |= request_keys(unknown, self.conditions[side], task_version=prepared.own_version)
        return {request: known[request] for request in prepared.requests}

    def provenance(self, task: str, version: str, side: Side) -> dict[str, object]:
        """Where an answer of a model comes from, to be kept beside it."""
        facts = self.facts[side]
        return {
            "task": task,
            "task_version": version,
            "device": self._device,
            "hardware": "a server" if facts.served else hardware_name(self._device),
            "batch_size": self._batch_size,
            "path": facts.path,
            "revision": facts.revision,
            "libraries": {name: installed_version(name) for name in ("torch", "transformers", "tokenizers")},
        }

    def long_prompts(self, prepared: PreparedTask) -> dict[Side, frozenset[Request]]:
        """The requests whose prompt one of the models would cut, by side; nothing is executed for it.

        Raises:
            TaskError: there are some and the task does not allow it; it names the documents.
        """
        found: dict[Side, frozenset[Request]] = {}
        problems: list[str] = []
        overflows: list[Overflow] = []
        for side, facts in self.facts.items():
            missing = self.missing(prepared, side)
            own = self.conditions[side]
            key = (encoding_identity(facts), own.max_length, own.max_gen_toks, facts.served is None)
            judged = self._measured_lengths.setdefault(key, {})
            new = [
                request for request in missing if request not in judged
            ]  # the other side asks the same of the same tokenizer
            judged |= dict.fromkeys(new, None) | (too_long(facts, new, own) if new else {})
            long = {request: one for request in missing if (one := judged[request])}
            found[side] = frozenset(long)
            problems += name_documents(prepared, facts, long)
            overflows += long.values()
        if problems and not prepared.truncate:
            refuse_truncation(prepared, problems, overflows)
        return found

    def load_all(self, wanted: Callable[[Side], Request | None]) -> None:
        """Load and probe each model once before the first document, so that a broken one costs no hours of the other.

        Args:
            wanted: the first request that a side has to answer; None where it has none.

        Raises:
            ModelError: a model cannot be loaded, or gives no finite numbers; and again for every later task.
        """
        for side in reversed(self.cheapest_order()):
            first = wanted(side)
            if first is None:  # what is kept needs no model, broken or not
                continue
            if self._model_keys[side] in self._turns.broken:
                raise self._turns.broken[self._model_keys[side]]
            if side not in self._probed:
                self._load(side, first)

    def time_requests(self, prepared: PreparedTask, side: Side, long: frozenset[Request]) -> None:
        """Answer the first few requests of a task, for the sake of their time; they are kept like all others.

        Raises:
            ModelError: the model fails.
        """
        groups = in_groups(self.missing(prepared, side))
        for start, stop in ((0, 1), (1, 1 + _TIMED_GROUPS)):
            if chosen := [request for group in groups[start:stop] for request in group]:
                is_warm = start > 0 or len(groups) == 1
                self._execute(prepared, side, chosen, long, lambda _: None, timed=is_warm)

    def responses(
        self,
        prepared: PreparedTask,
        side: Side,
        *,
        long: frozenset[Request],
        progress: Callable[[Request], None],
    ) -> list[Response | Failure]:
        """One response for each of the task's requests, in their order; or why the model gave none.

        Args:
            prepared: the task.
            side: original or pruned.
            long: the requests whose prompt is cut.
            progress: is told of every request that was executed.

        Raises:
            ModelError: the model fails.
            TaskError: a kept response is of a cut prompt, and the task does not allow it.
            StoreError: what was kept is gone.
        """
        missing = self.missing(prepared, side)
        if missing:
            self._execute(prepared, side, missing, long, progress, timed=True)
        keys = self.keys(prepared, side)
        kept = self._kept[side].get(self.facts[side].fingerprint, keys.values())
        cut = {
            request: "its prompt was cut in an earlier run" for request in prepared.requests
            if keys[request] in kept and kept[keys[request]].truncated
        }  # fmt: skip
        if cut and not prepared.truncate:
            refuse_truncation(prepared, name_documents(prepared, self.facts[side], cut))
        found = [
            kept.get(keys[request]) or self._turns.failed_of(self._model_keys[side]).get(request)
            for request in prepared.requests
        ]
        if None in found:
            raise StoreError(
                f"{prepared.name}: answers that were just kept are not there any more: the store is damaged, or another process deletes from it. "
                "Run the same command again."
            )
        return [response for response in found if response is not None]

    @contextmanager
    def both(self, first: Request) -> Iterator[dict[Side, Executor]]:
        """Have all models in memory at once that no file takes the place of; afterwards none is.

        Args:
            first: what they are probed with.

        Raises:
            ModelError: one of them cannot be loaded.
        """
        loaded = [side for side in self.cheapest_order() if self.facts[side].file is None]
        try:
            for side in loaded:
                if self._model_keys[side] in self._turns.broken:
                    raise self._turns.broken[self._model_keys[side]]
                self._load(side, first, beside=True)
            yield {side: self._models.executor(side) for side in loaded}
        finally:
            self.close()

    def close(self) -> None:
        """Free the models' memory."""
        self._models.unload()

    def _load(self, side: Side, first: Request, *, beside: bool = False) -> None:
        self._turns.take(self, self.close)
        try:
            self._models.load(self.facts[side], first, beside=beside)
            self.facts[side].refuse_changed()
        except ModelError as error:
            if not beside:  # there may be room for one of them
                self._turns.broken[self._model_keys[side]] = error
            raise
        self._probed.add(side)

    def _execute(
        self,
        prepared: PreparedTask,
        side: Side,
        requests: list[Request],
        long: frozenset[Request],
        progress: Callable[[Request], None],
        *,
        timed: bool,
    ) -> None:
        facts, keys = self.facts[side], self.keys(prepared, side)
        provenance = self.provenance(prepared.name, prepared.version, side)
        self._load(side, requests[0])
        began = time.monotonic()
        answered: list[Request] = []

        def keep(request: Request, response: Response | Failure) -> None:
            if isinstance(response, Failure):
                self._refuse_hopeless(prepared, side, response)
                self._note_failure(prepared, side, request, response, provenance)
                return
            _refuse_nan(facts, prepared.name, response)
            self._store.put(facts.fingerprint, keys[request], response, provenance)
            self._failures_in_a_row[side] = 0
            answered.append(request)
            self.executed[prepared.key, side] += 1
            progress(request)

        try:
            self._models.run(facts, requests, keep, long)
        finally:
            if answered and timed:
                seconds = time.monotonic() - began
                self.add_timing(prepared.name, side, work=work_of(answered), seconds=seconds)

    def _refuse_hopeless(self, prepared: PreparedTask, side: Side, failure: Failure) -> None:
        """Where one failure follows the other, the model is broken, and no document is to blame."""
        self._failures_in_a_row[side] += 1
        failed = sum(request in self._turns.failed_of(self._model_keys[side]) for request in prepared.requests)
        has_answered = len(self.missing(prepared, side)) + failed < len(prepared.requests)
        if self._failures_in_a_row[side] >= (_HOPELESS if has_answered else _HOPELESS_FROM_THE_START):
            raise ModelError(
                f"{self.facts[side].title}: failed while it answered: {failure.reason}. What was answered is kept."
            )

    def _note_failure(
        self,
        prepared: PreparedTask,
        side: Side,
        request: Request,
        failure: Failure,
        provenance: dict[str, object],
    ) -> None:
        """Record that a model raised on a request; it is asked again by the next run."""
        facts = self.facts[side]
        self._turns.failed_of(self._model_keys[side])[request] = failure
        self._store.add_failure(
            facts.fingerprint, self.keys(prepared, side)[request], traceback=failure.traceback, provenance=provenance
        )
        for line in name_documents(prepared, facts, {request: failure.reason}):
            _log.error("%s: %s\n%s", prepared.name, line, failure.traceback)


def _refuse_nan(facts: ModelFacts, task: str, response: Response) -> None:
    if response.loglikelihood is not None and not response.loglikelihood < math.inf:  # NaN compares as false
        raise ResponseError(
            f"{facts.title}: the log-likelihood of a request of {task} is {response.loglikelihood}: its numbers overflow. "
            "It is not kept. The checkpoint is damaged, or its numbers do not fit the dtype: try --prunegate-dtype=float32."
        )
