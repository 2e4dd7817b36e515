"""Builds lm-eval's Task objects, all of their requests in the full order, and the sample that a run executes.

lm-eval draws few-shot examples from one stateful generator, so that a subset built on its own would get other
prompts. Everything is built (cheap), and a part of it is executed (dear). Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import io
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from pytest_prunegate.checks import Measure
from pytest_prunegate.errors import PrunegateError, TaskError
from pytest_prunegate.evaluation.datasets import with_local_data
from pytest_prunegate.evaluation.requests import Request, canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_prunegate.checks import GateTask
    from pytest_prunegate.thresholds import TaskSpec

_T = TypeVar("_T")
_FEWSHOT_SEED = 1234  # lm-eval's own: prompts are those of a plain lm-eval run
_STRUCTURAL_KEYS = ("class", "tag", "group", "task_list")  # for lm-eval's index, not for the task


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document that is executed: lm-eval's id, content and instances.

    `requests` has a tuple for each instance with the positions of its requests (one a repeat) in
    `PreparedTask.requests`; it is empty where no wanted metric needs the instance.
    """

    doc_id: int
    content: Any
    instances: tuple[Any, ...]
    requests: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PreparedTask:
    """A task, ready to be executed: its sample of documents in dataset order, and their distinct requests."""

    name: str
    task: Any
    version: str
    num_fewshot: int
    documents: tuple[Document, ...]
    total_documents: int
    data_fingerprint: str
    requests: tuple[Request, ...]
    truncate: bool


def prepare_task(gate_task: GateTask, *, seed: int) -> PreparedTask:
    """Load a task and its data, and build its requests.

    Args:
        gate_task: the task with its settings and checks.
        seed: of the sample of documents, where the task has a limit.

    Raises:
        TaskError: the task or its data cannot be loaded, or it needs what a gate does not do.
    """
    spec = gate_task.spec
    with _seeded_as_lm_eval():  # once for both steps: as in lm-eval, building goes on where loading left the generators
        task, num_fewshot = _guarded(lambda: _load_task(gate_task), _loading_message(spec))
        building = f"{spec.name}: lm-eval cannot build the prompts of this task with {num_fewshot} examples: {{reason}}"
        _guarded(task.build_all_requests, building)
    by_document: dict[int, list[Any]] = {}
    for instance in task.instances:
        by_document.setdefault(instance.doc_id, []).append(instance)
    fingerprint = _data_fingerprint(task.eval_docs)
    chosen = sample(len(by_document), spec.limit, f"{spec.name}:{fingerprint}:{seed}")
    documents, requests = _collect([by_document[doc_id] for doc_id in chosen], gate_task)
    return PreparedTask(
        name=spec.name, task=task, version=str(task.VERSION), num_fewshot=num_fewshot, documents=documents,
        total_documents=len(by_document), data_fingerprint=fingerprint, requests=requests, truncate=spec.truncate,
    )  # fmt: skip


def sample(total: int, limit: int | None, key: str) -> list[int]:
    """Ids of the documents to execute, ascending: the first `limit` of one permutation that the key decides.

    A larger limit contains every smaller one. Sorting by a hash gives the same order in every version of Python.
    """
    if limit is None or limit >= total:
        return list(range(total))
    ranked = sorted(
        range(total), key=lambda doc_id: hashlib.blake2b(f"{key}:{doc_id}".encode(), digest_size=16).digest()
    )
    return sorted(ranked[:limit])


def _load_task(gate_task: GateTask) -> tuple[Any, int]:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import (
        load_yaml,
    )  # TaskManager().load() would index all of its files first

    spec, info = gate_task.spec, gate_task.info
    assert info.path is not None, "groups and tags have no file, and are refused at collection"
    config = load_yaml(info.path, resolve_func=True)
    task_class = config.get("class", ConfigurableTask)
    config = {key: value for key, value in config.items() if key not in _STRUCTURAL_KEYS}
    metadata = config.get("metadata") or {}
    config["metadata"] = {
        **(metadata if isinstance(metadata, dict) else {"_metadata": metadata}),
        "config_source": str(info.path),
    }
    _refuse_unsupported(spec.name, config)
    num_fewshot = spec.num_fewshot if spec.num_fewshot is not None else int(config.get("num_fewshot") or 0)
    if spec.dataset is not None:
        task_class = with_local_data(task_class, spec.dataset, task=spec.name, config=config, num_fewshot=num_fewshot)
    task = task_class(config=config) if "config" in inspect.signature(task_class.__init__).parameters else task_class()
    task.config.task = spec.name
    task.set_config("num_fewshot", num_fewshot)
    task.set_fewshot_seed(_FEWSHOT_SEED)
    _refuse_unknown_metrics(task, gate_task)
    _drop_unconditional_requests(task, gate_task)
    return task, num_fewshot


def _refuse_unknown_metrics(task: Any, gate_task: GateTask) -> None:
    """The index knows no metrics of tasks written in Python; they are known once the task is loaded."""
    known = sorted(task.aggregation())
    for check in gate_task.checks:
        if gate_task.info.kind == "class" and check.measure is Measure.METRIC and check.metric not in known:
            raise TaskError(
                f"{check.location}: {check.label}: {check.task} has no metric of this name. It has: {', '.join(known)}."
            )


def _refuse_unsupported(name: str, config: dict[str, Any]) -> None:
    if config.get("unsafe_code"):
        raise TaskError(
            f"{name}: lm-eval marks this task as unsafe: it runs code that the model writes. The gate does not run it."
        )
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise TaskError(f"{name}: this task needs images or sound; the gate evaluates text models.")


def _drop_unconditional_requests(task: Any, gate_task: GateTask) -> None:
    """Mutual information doubles the requests of a multiple-choice task; without a check on it they are not built."""
    metrics = getattr(task, "_metric_fn_list", {})
    if not any(check.metric == "acc_mutual_info" for check in gate_task.checks):
        metrics.pop("acc_mutual_info", None)


def _collect(groups: Iterable[list[Any]], gate_task: GateTask) -> tuple[tuple[Document, ...], tuple[Request, ...]]:
    positions: dict[Request, int] = {}
    documents = []
    for instances in groups:
        places = []
        for instance in instances:
            wanted = _is_needed(instance, gate_task)
            requests = _requests_of(instance, gate_task.spec) if wanted else ()
            places.append(tuple(positions.setdefault(request, len(positions)) for request in requests))
        first = instances[0]
        documents.append(
            Document(doc_id=first.doc_id, content=first.doc, instances=tuple(instances), requests=tuple(places))
        )
    return tuple(documents), tuple(positions)


def _is_needed(instance: Any, gate_task: GateTask) -> bool:
    """squadv2's log-likelihood of "unanswerable" serves its best_* metrics alone."""
    if gate_task.spec.name != "squadv2" or instance.request_type != "loglikelihood":
        return True
    return any(check.metric.startswith("best_") for check in gate_task.checks)


def _requests_of(instance: Any, spec: TaskSpec) -> tuple[Request, ...]:
    context, argument = instance.args
    if instance.request_type == "loglikelihood":
        return tuple(
            Request(kind="loglikelihood", context=context, continuation=argument, repeat=repeat)
            for repeat in range(instance.repeats or 1)
        )
    gen_kwargs = {**argument, **spec.gen_kwargs}
    if spec.max_gen_toks is not None:
        gen_kwargs["max_gen_toks"] = spec.max_gen_toks
    return tuple(
        Request(kind="generate_until", context=context, gen_kwargs=canonical_json(gen_kwargs), repeat=repeat)
        for repeat in range(instance.repeats or 1)
    )


def _data_fingerprint(documents: Iterable[Any]) -> str:
    digest = xxhash.xxh3_128()
    for document in documents:
        digest.update(json.dumps(document, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _guarded(step: Callable[[], _T], message: str) -> _T:
    """Run foreign code quietly; what it raises becomes a message with its reason."""
    try:
        with _quiet(), _compiled_templates_kept():
            return step()
    except PrunegateError:
        raise
    except Exception as error:  # tasks are foreign code, and hub errors share no base
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
        raise TaskError(message.replace("{reason}", reason)) from error


def _loading_message(spec: TaskSpec) -> str:
    remedy = (
        "Check the files that its `dataset` names." if spec.dataset
        else "Without a network, give it local data with `dataset: {path: json, data_files: {...}}` in the thresholds file."
    )  # fmt: skip
    return f"{spec.name}: the task or its data cannot be loaded: {{reason}}. {remedy}"


@contextlib.contextmanager
def _seeded_as_lm_eval() -> Iterator[None]:
    """Some tasks shuffle with the global generators, which lm-eval seeds; the generators go on as they were afterwards."""
    import numpy as np

    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator is what tasks use
    random.seed(0)
    np.random.seed(1234)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars of libraries off the screen; their log records still reach the log."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


@contextlib.contextmanager
def _compiled_templates_kept() -> Iterator[None]:
    """Let lm-eval's Jinja environment compile a template once; it would compile it anew for each document and example."""
    from lm_eval import utils

    utils.env.from_string = functools.lru_cache(maxsize=256)(utils.env.from_string)
    try:
        yield
    finally:
        del utils.env.from_string
