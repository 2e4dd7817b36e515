"""Loads a task from its own file, with the settings of a run and other data where `dataset:` says so; builds all its requests in the full order.

lm-eval draws few-shot examples from one stateful generator, so that a subset built on its own would get other
prompts. Everything is built (cheap), and a part of it is executed (dear). Nothing here imports torch, but for a chat
template, which needs the tokenizer.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.guarded import HUB_REMEDY, guarded, is_of_the_hub, seeded_as_lm_eval
from pytest_prunegate.tasks.index import is_of_lm_eval
from pytest_prunegate.tasks.own_scorers import OWN_SCORERS
from pytest_prunegate.tasks.prepared import Document, PreparedTask
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, ROLLING, Request, canonical_json
from pytest_prunegate.tasks.task_info import FUNCTION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from pytest_prunegate.input.thresholds import TaskSpec
    from pytest_prunegate.tasks.chat import ChatTemplate
    from pytest_prunegate.tasks.checks import GateTask


FEWSHOT_SEED = 1234  # lm-eval's own: prompts are those of a plain lm-eval run
_STRUCTURAL_KEYS = ("class", "tag", "group", "task_list")  # for lm-eval's index, not for the task


def load_task(gate_task: GateTask) -> tuple[Any, int]:
    """The Task object and its number of examples.

    Raises:
        TaskError: it needs what a gate does not do, or lacks a metric that is asked for; and whatever the task raises.
    """
    from lm_eval.api.task import ConfigurableTask

    spec, name = gate_task.settings, gate_task.name
    if _raw_configuration(gate_task).get("unsafe_code"):  # before its Python files are imported
        _allow_unsafe_code(name, allowed=spec.unsafe_code)
    config = task_config(gate_task)
    task_class = config.pop("class", ConfigurableTask)
    config = {key: value for key, value in config.items() if key not in _STRUCTURAL_KEYS}
    _refuse_unsupported(name, config)
    num_fewshot = spec.num_fewshot if spec.num_fewshot is not None else int(config.get("num_fewshot") or 0)
    if spec.dataset is not None:
        dataset = _dataset_of(spec.dataset, config)
        task_class = with_local_data(task_class, dataset, task=name, config=config, num_fewshot=num_fewshot)
    task = task_class(config=config) if "config" in inspect.signature(task_class.__init__).parameters else task_class()
    if getattr(task, "UNSAFE_CODE", False):  # a class says it for itself
        _allow_unsafe_code(name, allowed=spec.unsafe_code)
    task.config.task = name
    task.set_config("num_fewshot", num_fewshot)
    task.set_fewshot_seed(FEWSHOT_SEED if spec.fewshot_seed is None else spec.fewshot_seed)
    if spec.repeats is not None:
        task.set_config("repeats", spec.repeats)
    _refuse_unknown_metrics(task, gate_task)
    _drop_unconditional_requests(task, gate_task)
    return task, num_fewshot


def task_config(gate_task: GateTask) -> dict[str, Any]:
    """A task's configuration: its file's, with what its group changes."""
    from lm_eval.tasks._yaml_loader import load_yaml  # TaskManager().load() would index all of its files first

    info = gate_task.info
    assert info is not None, "perplexity and sparsity have no task of lm-eval"
    config = dict(load_yaml(info.path, resolve_func=True)) if info.path else {}
    config |= _resolved(dict(info.overrides))
    metadata = config.get("metadata") or {}
    config["metadata"] = {
        **(metadata if isinstance(metadata, dict) else {"_metadata": metadata}),
        "config_source": str(info.path),
    }
    return config


def local_configuration(gate_task: GateTask) -> dict[str, Any]:
    """Where a task of the user's own says that its data comes from; its functions are not imported for it."""
    config = _raw_configuration(gate_task)
    return {key: config.get(key) for key in ("dataset_path", "dataset_name", "dataset_kwargs")}


def _raw_configuration(gate_task: GateTask) -> dict[str, Any]:
    """A task's configuration, its functions not imported."""
    from lm_eval.tasks._yaml_loader import load_yaml

    info = gate_task.info
    config = dict(load_yaml(info.path, resolve_func=False)) if info and info.path else {}
    return config | (dict(info.overrides) if info else {})


def _resolved(value: Any) -> Any:
    """Import the Python functions that a group's changes name."""
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    if isinstance(value, dict) and set(value) == {FUNCTION}:
        from pathlib import Path

        folder, name = value[FUNCTION]
        return _import_func_in_yml(name, Path(folder))
    if isinstance(value, dict):
        return {key: _resolved(inner) for key, inner in value.items()}
    return [_resolved(inner) for inner in value] if isinstance(value, list) else value


def _dataset_of(dataset: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A folder in place of a hub data set holds the same configurations, unless one is named."""
    if "data_files" in dataset or "name" in dataset or dataset["path"] in {"json", "csv", "parquet", "text"}:
        return dataset
    return {**dataset, "name": config.get("dataset_name")}


def _refuse_unknown_metrics(task: Any, gate_task: GateTask) -> None:
    """The index knows no metrics of tasks written in Python; they are known once the task is loaded."""
    known = sorted(task.aggregation())
    for check in gate_task.checks:
        is_python = gate_task.info is not None and gate_task.info.kind == "class"
        if is_python and not check.is_share and check.metric not in known:
            raise TaskError(
                f"{check.location}: {check.label}: {check.task} has no metric of this name. It has: {', '.join(known)}."
            )


def _allow_unsafe_code(name: str, *, allowed: bool) -> None:
    if not allowed:
        raise TaskError(
            f"{name}: lm-eval marks this task as unsafe: it runs code that the model writes, with your rights. In a container that may "
            "be lost, add --prunegate-trust=unsafe-tasks."
        )
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"  # what the package evaluate asks for before it runs such code


def _refuse_unsupported(name: str, config: dict[str, Any]) -> None:
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise TaskError(f"{name}: this task needs images or sound; the gate evaluates text models.")


def _drop_unconditional_requests(task: Any, gate_task: GateTask) -> None:
    """Mutual information doubles the requests of a multiple-choice task; without a check on it they are not built."""
    metrics = getattr(task, "_metric_fn_list", {})
    if not any(check.metric == "acc_mutual_info" for check in gate_task.checks):
        metrics.pop("acc_mutual_info", None)


class _Splits(dict[str, Any]):
    """A data set's splits. A split that is only for examples may be missing where no example is drawn."""

    def __init__(
        self, splits: Mapping[str, Any], *, task: str, example_splits: Collection[str], num_fewshot: int
    ) -> None:
        super().__init__(splits)
        self._task = task
        self._example_splits = example_splits
        self._num_fewshot = num_fewshot

    def __missing__(self, split: str) -> Any:
        if split in self._example_splits and self._num_fewshot == 0:
            return next(iter(self.values()))  # lm-eval looks at it, and draws nothing from it
        purpose = f" for its {self._num_fewshot} examples" if split in self._example_splits else ""
        raise TaskError(
            f"{self._task}: the task needs the split {split!r}{purpose}; "
            f"its `dataset` in the thresholds file has {', '.join(self)}. Add {split} to data_files."
        )


def with_local_data(
    task_class: type[Any],
    dataset: Mapping[str, Any],
    *,
    task: str,
    config: Mapping[str, Any],
    num_fewshot: int,
) -> type[Any]:
    """The task class with another download.

    A subclass serves tasks from YAML and tasks written in Python alike; the latter ignore a changed configuration.

    Args:
        task_class: lm-eval's class of the task.
        dataset: arguments of ``datasets.load_dataset``.
        task: its name, for messages.
        config: the task's YAML, for the names of its splits.
        num_fewshot: how many examples a prompt will have.

    Raises:
        TaskError: from the class's construction: a split that is needed is missing.
    """
    evaluated = {config.get("test_split") or config.get("validation_split")}
    named = {"train", config.get("training_split"), config.get("fewshot_split")} - evaluated
    examples = {str(split) for split in named if split}

    class LocalData(task_class):  # type: ignore[misc]  # the base is known at run time only
        def download(self, *_args: Any, **_kwargs: Any) -> None:
            from datasets import load_dataset

            loaded = load_dataset(**dataset)
            self.dataset = _Splits(loaded, task=task, example_splits=examples, num_fewshot=num_fewshot)

    return LocalData


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
        task, num_fewshot = load_guarded(gate_task)
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


def load_guarded(gate_task: GateTask) -> tuple[Any, int]:
    """The task with its data, and the number of its examples.

    Raises:
        TaskError: it cannot be loaded, why, and what helps.
    """
    name = gate_task.settings.name
    message = f"{name}: the task or its data cannot be loaded: {{reason}}."
    return guarded(lambda: load_task(gate_task), message, lambda error: _remedy(gate_task, error))


def _remedy(gate_task: GateTask, error: Exception) -> str:
    if gate_task.settings.dataset:
        return "Check the files that its `dataset` names."
    if not is_of_the_hub(error):
        path = gate_task.info.path if gate_task.info else None
        return f"Check {path}, and the data that it names." if path and not is_of_lm_eval(path) else ""
    if gate_task.parent:
        return f"Without a network, give {gate_task.parent} a folder that holds the data set: `dataset: {{path: DIR}}`."
    return HUB_REMEDY
