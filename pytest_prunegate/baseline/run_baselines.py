"""Baselines in a run: what the store is told for later exports, what a file must be able to answer, and the file that is written."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import NAME, canonical, write_container
from pytest_prunegate.baseline.kept_facts import KeptFacts, side_key
from pytest_prunegate.baseline.model_description import asking_of, model_json, tokenizer_files
from pytest_prunegate.baseline.records import Asking, Baseline, joined_askings, read_baseline
from pytest_prunegate.errors import EvaluationError, InputError, StoreError, TaskError
from pytest_prunegate.execution.conditions import SERVED
from pytest_prunegate.execution.devices import hardware_name
from pytest_prunegate.resources import installed_version
from pytest_prunegate.tasks.index import lm_eval_version
from pytest_prunegate.tasks.requests import request_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.answering import Answering
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.side_by_side import KeptForBaseline


_SHOWN = 5  # documents named
_WIDTH = 60  # characters of a value


def refuse_unanswerable(facts: ModelFacts, baseline: Baseline, asked: Asking) -> None:
    """See that a file has the answer to every request of a task.

    Args:
        facts: of the model that the file stands for.
        baseline: the file's.
        asked: what the run asks, by keys under the file's own conditions.

    Raises:
        TaskError: it has not; the message says what differs.
    """
    lacking = [number for number, keys in asked.documents.items() if any(key not in baseline.responses for key in keys)]
    if lacking:
        refuse(asked.task, facts, _differences(baseline, asked, lacking))


def refuse(task: str, facts: ModelFacts, differences: list[str]) -> None:
    """Say what a file has and what the run asks.

    Raises:
        TaskError: always.
    """
    shown = "\n".join(f"  {line}" for line in differences)
    raise TaskError(
        f"{task}: {facts.file}, which stands for the {facts.title}, does not answer what this run asks:\n{shown}\n"
        f"Ask as the file was asked, or make a new baseline by these settings: --{facts.side} with the model itself, or "
        f"--original=MODEL --prunegate-baseline-only."
    )


def _differences(baseline: Baseline, asked: Asking, lacking: list[int]) -> list[str]:
    of_task = [asking for asking in baseline.askings if asking.task == asked.task]
    if not of_task:
        return [f"the file has no answers to {asked.task}; it holds {baseline.holds}"]
    nearest = min(of_task, key=lambda asking: len(_other_settings(asking, asked)))
    if found := _other_settings(nearest, asked):
        return found
    absent = [number for number in lacking if number not in nearest.documents]
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        there, here = (
            f"{len(nearest.documents)} of {nearest.total} ({_samples(nearest)})",
            f"{len(asked.documents)} ({_samples(asked)})",
        )
        return [
            f"documents: {', '.join(map(str, absent[:_SHOWN]))}{more} not in the file; it has {there}, this run may ask {here}"
        ]
    return [_other_request(baseline, asked, lacking)]


def _other_settings(there: Asking, asked: Asking) -> list[str]:
    """What differs between two askings of a task, in the words of thresholds.yaml."""
    found = [
        f"{name}: {_value(there.settings, name)} in the file, {_value(asked.settings, name)} asked for"
        for name in sorted({*there.settings, *asked.settings})
        if there.settings.get(name) != asked.settings.get(name)
    ]
    if there.version != asked.version:
        found.append(f"version of the task: {there.version} in the file, {asked.version} here")
    if (there.data, there.total) != (asked.data, asked.total):
        found.append(
            f"data: {there.total} documents with fingerprint {there.data[:12]} in the file, {asked.total} with {asked.data[:12]} here"
        )
    if there.template != asked.template and there.template and asked.template:
        found.append("chat template: another one in the file")
    return found


def _other_request(baseline: Baseline, asked: Asking, lacking: list[int]) -> str:
    """The settings are the same, and so are the documents: a request of one of them is not."""
    first = lacking[0]
    others = f" (and of {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    if known := sum(key in baseline.responses for key in asked.documents[first]):
        return f"document {first}{others}: the file answers {known} of its {len(asked.documents[first])} requests; a metric of this run asks for more"
    from pytest_prunegate.tasks.index import lm_eval_version

    made, now = baseline.conditions.lm_eval, lm_eval_version()
    version = f"; the file was made with lm-eval {made}, this is {now}" if made != now else ""
    return f"the prompt of document {first}{others} differs: look at what fills it in (a date, the examples, the task's own code){version}"


def _value(settings: Mapping[str, Any], name: str) -> str:
    return canonical(settings[name])[:_WIDTH] if name in settings else "not set"


def _samples(asking: Asking) -> str:
    return "; ".join(
        f"limit {sample['limit']}, seed {sample['seed']}" if sample["limit"] else f"no limit, seed {sample['seed']}"
        for sample in asking.samples
    )


_log = logging.getLogger("pytest_prunegate")
_LIBRARIES = ("torch", "transformers", "tokenizers")


class Baselines:
    """What a run has to do with baselines.

    Args:
        store: of the run.
        answering: of the run.
        files: the baselines that take the place of models, by side.
        dtype: of both models, where the user names one; otherwise auto.
    """

    def __init__(self, store: Store, answering: Answering, files: Mapping[Side, Baseline], *, dtype: str) -> None:
        self._answering = answering
        self._files = files
        self._dtype = dtype
        self._kept = KeptFacts(store)
        self._asked: dict[str, list[Asking]] = {}

    def attend(self, task: GateTask, parts: tuple[PreparedTask, ...], *, seed: int) -> None:
        """See that files answer all that a task may ask, and tell the store what the other models are asked.

        Raises:
            TaskError: a file does not answer it.
        """
        for side, facts in self._answering.facts.items():
            if side in self._files:
                self._refuse_other_loading(task, side)
            for own, part in zip(task.parts, parts, strict=True):
                template = self._answering.facts["original"].tokenizer.template
                asked = asking_of(own, part, keys=self._answering.keys(part, side), template=template, seed=seed)
                if side in self._files:
                    refuse_unanswerable(facts, self._files[side], asked)
                else:
                    self._asked.setdefault(task.name, []).append(asked)
                    self._keep(side, asked)

    def attend_run(self, task: GateTask, run: KeptForBaseline) -> None:
        """See that a file has what a run needs of the original, and tell the store what an original alone is run for.

        Raises:
            TaskError: a file lacks it.
        """
        facts, conditions = self._answering.facts["original"], self._answering.conditions["original"]
        keys = request_keys(run.requests, conditions, task_version=run.version)
        asked = Asking(
            task=task.name, version=run.version, settings=run.settings, data=run.data, template=None, total=run.total,
            samples=({"seed": None, "limit": None, "documents": len(run.requests)},),
            documents={number: (keys[request],) for number, request in enumerate(run.requests)},
        )  # fmt: skip
        if "original" in self._files:
            self._refuse_other_loading(task, "original")
            refuse_unanswerable(facts, self._files["original"], asked)
        elif "pruned" not in self._answering.facts:
            self._asked.setdefault(task.name, []).append(asked)
            self._keep("original", asked)

    def environments(self, side: Side, parts: Iterable[PreparedTask]) -> list[Mapping[str, Any]]:
        """Where a model's answers to what was asked of it were computed; a file says how many only where that was one place.

        Nothing where the store cannot be read any more: that costs no report.
        """
        facts = self._answering.facts[side]
        keys = {key for part in parts for key in self._answering.keys(part, side).values()}
        if side in self._files:
            file = self._files[side]
            known = len(keys & file.responses.keys()) if len(file.environments) == 1 else None
            return [{**one, "batch_sizes": [], "answers": known} for one in file.environments]
        try:
            return [*self._kept.environments(facts.fingerprint, keys)]
        except StoreError as error:
            _log.warning("%s: where its answers were made cannot be told: %s", facts.title, error)
            return []

    def write(self, folder: Path, tasks: Iterable[str]) -> tuple[Path, list[str]]:
        """Write the original's answers to tasks that were measured, with what a file of the same model there holds already.

        Returns:
            The file, and what there is to say of it.

        Raises:
            OSError: the file cannot be written.
            EvaluationError: the store or the tokenizer cannot be read.
        """
        facts, conditions = self._answering.facts["original"], self._answering.conditions["original"]
        askings = joined_askings(asked for name in tasks for asked in self._asked.get(name, ()))
        responses, environments = self._kept.responses(
            facts.fingerprint, {key for asking in askings for key in asking.keys}
        )
        baseline = Baseline(
            model=model_json(facts), conditions=conditions, tokenizer=tokenizer_files(facts), environments=environments,
            askings=tuple(asking.only(responses) for asking in askings), responses=responses,
        )  # fmt: skip
        path = folder / NAME
        earlier, said = _earlier(path, baseline)
        joined = baseline.joined(earlier) if earlier else baseline
        write_container(path, joined.as_json())
        return path, [*said, f"Baseline: {path} ({path.stat().st_size / 1e3:,.0f} kB) holds {joined.holds}."]

    def _keep(self, side: Side, asked: Asking) -> None:
        facts, conditions = self._answering.facts[side], self._answering.conditions[side]
        key = side_key(facts.fingerprint, conditions)
        try:
            if not self._kept.has_side(key):
                self._kept.keep_side(key, model_json(facts), conditions, tokenizer_files(facts))
        except (EvaluationError, OSError) as error:
            _log.warning("%s: cannot be exported from the store later: %s", facts.title, error)
            return
        self._kept.keep_asking(key, asked)

    def _refuse_other_loading(self, task: GateTask, side: Side) -> None:
        """A dtype or backend of this run that is not the file's, where neither is meant to have its own."""
        facts, conditions = self._answering.facts, self._answering.conditions
        if any(found.backend == SERVED for found in conditions.values()):  # a server has what it has
            return
        own, found = conditions[side], []
        is_free = any(model.arguments.get("dtype") or (model.quantised and not model.gguf) for model in facts.values())
        asked = next((conditions[other].dtype for other in conditions if other != side), own.dtype)
        if self._dtype not in {"auto", own.dtype}:
            asked = self._dtype
        if asked != own.dtype and not is_free and task.parts:
            found.append(f"dtype: {own.dtype} in the file, {asked} asked for")
        backends = {conditions[other].backend for other in conditions} - {own.backend}
        if backends and task.parts:
            found.append(f"backend: {own.backend} in the file, {', '.join(backends)} asked for")
        if found:
            refuse(task.name, facts[side], found)


def _earlier(path: Path, baseline: Baseline) -> tuple[Baseline | None, list[str]]:
    """The baseline of the same model that is there already; one of something else is moved away, and that is said."""
    if not path.is_file():
        return None, []
    try:
        found = read_baseline(path, path.name)
    except InputError as error:
        return None, [f"{error} It is now {_moved(path)}."]
    if found.is_of_same_model(baseline):
        return found, []
    what = (
        "another model"
        if found.model["fingerprint"] != baseline.model["fingerprint"]
        else "this model, loaded otherwise"
    )
    return None, [f"The baseline that was there is of {what} ({found.model['path']}); it is now {_moved(path)}."]


def _moved(path: Path) -> Path:
    archive = path.parent / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    number = 1
    while (target := archive / f"{number}-{path.name}").exists():
        number += 1
    return path.rename(target)


def file_notes(
    files: Mapping[Side, Baseline], facts: Mapping[Side, ModelFacts], *, device: str | None
) -> Iterator[str]:
    """Notes on the sides that files take the place of.

    Args:
        files: the baselines by side.
        facts: the models by side.
        device: where this run computes; None where it computes nothing.
    """
    here = None if len(files) > 1 or not files else _today(device)
    for side, baseline in files.items():
        yield f"The {facts[side].title} is not loaded: its answers are those of {facts[side].file}{_since(baseline)}."
        if here is not None:
            there = (*baseline.environments, {"libraries": {"lm-eval": baseline.conditions.lm_eval}})
            yield from _warning(_differing(there, here), f"{facts[side].file}", "here")
    if len(files) > 1:
        original, pruned = files["original"], files["pruned"]
        there = (*original.environments, {"libraries": {"lm-eval": original.conditions.lm_eval}})
        for environment in (*pruned.environments, {"libraries": {"lm-eval": pruned.conditions.lm_eval}}):
            yield from _warning(_differing(there, environment), f"{facts['original'].file}", f"{facts['pruned'].file}")


def _warning(differing: list[str], there: str, here: str) -> Iterator[str]:
    if differing:
        yield (
            f"Computed elsewhere, in {there} and {here}: {'; '.join(differing)}. Numerics may tip an answer now and then; "
            "--prunegate-noise-floor, with the model itself, tells how many."
        )


def _today(device: str | None) -> dict[str, Any]:
    libraries = {name: installed_version(name) for name in _LIBRARIES}
    found: dict[str, Any] = {"libraries": libraries | {"lm-eval": lm_eval_version()}}
    return found if device is None else found | {"hardware": hardware_name(device)}


def _differing(there: tuple[Mapping[str, Any], ...], here: Mapping[str, Any]) -> list[str]:
    """What both tell, and tell otherwise."""
    found = []
    own = here.get("hardware")
    other = sorted({one["hardware"] for one in there if "hardware" in one} - {own})
    if own and other:
        found.append(f"{', '.join(other)} there, {own} here")
    for name, version in here["libraries"].items():
        versions = sorted({one["libraries"][name] for one in there if name in one["libraries"]} - {version})
        if versions:
            found.append(f"{name} {', '.join(versions)} there, {version} here")
    return found


def _since(baseline: Baseline) -> str:
    if not baseline.environments:
        return ""
    first = min(one["first"] for one in baseline.environments)
    last = max(one["last"] for one in baseline.environments)
    hardware = sorted({one["hardware"] for one in baseline.environments})
    return f", of {first if first == last else f'{first} to {last}'} on {', '.join(hardware)}"
