"""Builds all requests of a task in the full order.

lm-eval draws few-shot examples from one stateful generator, so that a subset built on its own would get other
prompts. Everything is built (cheap), and a part of it is executed (dear). Nothing here imports torch, but for a chat
template, which needs the tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.guarded import guarded, seeded_as_lm_eval
from pytest_prunegate.tasks.index import is_of_lm_eval
from pytest_prunegate.tasks.own_scorers import OWN_SCORERS
from pytest_prunegate.tasks.prepared import Document, PreparedTask
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, ROLLING, Request, canonical_json
from pytest_prunegate.tasks.task_loading import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_prunegate.input.thresholds import TaskSpec
    from pytest_prunegate.tasks.chat import ChatTemplate
    from pytest_prunegate.tasks.checks import GateTask


def prepare_task(gate_task: GateTask, *, chat_template: Callable[[TaskSpec], ChatTemplate]) -> PreparedTask:
    """Load a task and its data, and build its requests.

    Args:
        gate_task: the task with its settings and checks.
        chat_template: makes the one that a task's settings ask for.

    Raises:
        TaskError: the task or its data cannot be loaded, it needs what a gate does not do, or its documents lack a field
            that they are sliced by.
    """
    spec = gate_task.settings
    with seeded_as_lm_eval():  # once for both steps: as in lm-eval, building goes on where loading left the generators
        task, num_fewshot = guarded(lambda: load_task(gate_task), loading_message(gate_task))
        building = f"{spec.name}: lm-eval cannot build the prompts of this task with {num_fewshot} examples: {{reason}}"
        chat = _chat_arguments(spec, chat_template)
        guarded(lambda: task.build_all_requests(system_instruction=spec.system_instruction, **chat), building)
    by_document: dict[int, list[Any]] = {}
    for instance in task.instances:
        by_document.setdefault(instance.doc_id, []).append(instance)
    _refuse_missing_fields(spec, [instances[0].doc for instances in by_document.values()])
    documents, requests = _collect([by_document[doc_id] for doc_id in sorted(by_document)], gate_task)
    return PreparedTask(
        key=gate_task.key, name=spec.name, task=task, version=str(task.VERSION), num_fewshot=num_fewshot, documents=documents,
        total_documents=len(by_document), data_fingerprint=_data_fingerprint(task.eval_docs), requests=requests, truncate=spec.truncate,
        own_version=_own_version(task, gate_task), own=OWN_SCORERS.get(spec.name),
    )  # fmt: skip


def _refuse_missing_fields(spec: TaskSpec, documents: Iterable[Any]) -> None:
    """What reports cannot be sliced by is told before hours of work."""
    for document in documents:
        known = list(document) if isinstance(document, Mapping) else []
        if lacking := [name for name in spec.slice_by if name not in known]:
            has = f"It has: {', '.join(map(str, known))}." if known else "It has no fields."
            raise TaskError(f"{spec.name}: slice_by: a document has no field {lacking[0]}. {has}")


def _own_version(task: Any, gate_task: GateTask) -> str | None:
    path = gate_task.info.path if gate_task.info else None
    return None if path is None or is_of_lm_eval(path) else str(task.VERSION)


def _chat_arguments(spec: TaskSpec, chat_template: Callable[[TaskSpec], ChatTemplate]) -> dict[str, Any]:
    """What lm-eval needs to render prompts as a conversation; as with its own command, examples are then turns of their own."""
    if not spec.apply_chat_template:
        return {"fewshot_as_multiturn": bool(spec.fewshot_as_multiturn)}
    multiturn = True if spec.fewshot_as_multiturn is None else spec.fewshot_as_multiturn
    render = chat_template(spec).render
    return {"apply_chat_template": True, "chat_template": render, "fewshot_as_multiturn": multiturn}


def _collect(groups: Iterable[list[Any]], gate_task: GateTask) -> tuple[tuple[Document, ...], tuple[Request, ...]]:
    positions: dict[Request, int] = {}
    documents = []
    for instances in groups:
        places = []
        for instance in instances:
            wanted = _is_needed(instance, gate_task)
            requests = _requests_of(instance, gate_task.settings) if wanted else ()
            places.append(tuple(positions.setdefault(request, len(positions)) for request in requests))
        first = instances[0]
        documents.append(
            Document(doc_id=first.doc_id, content=first.doc, instances=tuple(instances), requests=tuple(places))
        )
    return tuple(documents), tuple(positions)


def _is_needed(instance: Any, gate_task: GateTask) -> bool:
    own = OWN_SCORERS.get(gate_task.name)
    return own is None or own.needs(instance.request_type, [check.metric for check in gate_task.checks])


def _requests_of(instance: Any, spec: TaskSpec) -> tuple[Request, ...]:
    repeats = range(instance.repeats or 1)
    if instance.request_type == ROLLING:
        return tuple(Request(kind=ROLLING, context=instance.args[0], repeat=repeat) for repeat in repeats)
    context, argument = instance.args
    if instance.request_type == LOGLIKELIHOOD:
        return tuple(
            Request(kind=LOGLIKELIHOOD, context=context, continuation=argument, repeat=repeat) for repeat in repeats
        )
    gen_kwargs = {**argument, **spec.gen_kwargs}
    if spec.max_gen_toks is not None:
        gen_kwargs["max_gen_toks"] = spec.max_gen_toks
    return tuple(
        Request(kind=GENERATION, context=context, gen_kwargs=canonical_json(gen_kwargs), repeat=repeat)
        for repeat in repeats
    )


def _data_fingerprint(documents: Iterable[Any]) -> str:
    digest = xxhash.xxh3_128()
    for document in documents:
        digest.update(json.dumps(document, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def loading_message(gate_task: GateTask) -> str:
    """What to say of a task that cannot be loaded; ``{reason}`` stands for why."""
    spec = gate_task.settings
    remedy = (
        "Check the files that its `dataset` names." if spec.dataset
        else f"Without a network, give {gate_task.parent} a folder that holds the data set: `dataset: {{path: DIR}}`." if gate_task.parent
        else "Without a network, give it local data with `dataset: {path: json, data_files: {...}}` in the thresholds file."
    )  # fmt: skip
    return f"{spec.name}: the task or its data cannot be loaded: {{reason}}. {remedy}"
