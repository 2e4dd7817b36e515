"""What is looked at before the first model loads, so that a run that cannot go through is told at once, with all reasons.

Two looks: one that writes nothing and needs no store (models, folders, downloads, weights), and one at the opened plan
(tasks, data, metrics, encodings, disk). What ends a run are its models and folders; a task that cannot be evaluated is
said, fails when it is measured, and leaves the others alone, unless nothing but a preflight was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.errors import Problems
from pytest_prunegate.execution.devices import free_memory, resolve_device
from pytest_prunegate.gate.estimates import (
    Estimate,
    cache_estimate,
    download_estimate,
    free_disk,
    is_knowable,
    kept_estimate,
    refuse_full_disk,
    refuse_unwritable,
    weights_estimate,
)
from pytest_prunegate.plain import size_text
from pytest_prunegate.store.database_file import FILE as STORE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.gate.candidate_gates import CandidateGates, Needed
    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.gate.pair import Pair
    from pytest_prunegate.gate.plan import RunPlan
    from pytest_prunegate.gate.sides import Sides
    from pytest_prunegate.input.model_argument import ModelArgument, Side
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.tasks.requests import Conditions, Request

_TIGHT = 0.9  # of the free memory: what a forward pass takes besides is not estimated


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a model takes of its device at most, and what is free there. `label` is its side, or its name among several candidates."""

    label: str
    title: str
    weights: Estimate
    cache: Estimate | None
    free: int
    basis: str

    @property
    def size(self) -> int:
        """Weights and the cache of keys and values, where that is known."""
        return self.weights.size + (self.cache.size if self.cache else 0)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found at the opened plan: `problems` end the run, `unloadable` models what needs them, `notes` nothing; `estimates` are lines."""

    problems: tuple[str, ...]
    unloadable: tuple[str, ...]
    notes: tuple[str, ...]
    estimates: tuple[str, ...]


def look_before_opening(gates: CandidateGates, needed: Needed) -> None:
    """Find the models, and see that they fit and that what the run writes can be written. Leaves nothing behind.

    Args:
        gates: of the run.
        needed: the names of the tasks that will be measured, by candidate.

    Raises:
        InputError: with every problem.
    """
    options, problems = gates.options, Problems()
    chosen = [pair for pair in gates.pairs if needed.get(pair.candidate)]
    with problems.collected():
        refuse_unwritable(options.cache_dir, "--prunegate-cache-dir", "downloads")
        _refuse_large_downloads(chosen)
    if not problems.found or not _hub_models(chosen):  # a download that has no place to go is not begun
        with problems.collected():
            gates.find_models(needed)
    for flag, folder, what in (
        ("--prunegate-output", options.output, "results"),
        ("--prunegate-store", options.store, "answers"),
    ):
        with problems.collected():
            refuse_unwritable(folder, flag, what)
    for pair in chosen:
        sides = gates.sides.get(pair.candidate)
        if sides and _asks_for_certain(pair, needed[pair.candidate]):
            with problems.collected():
                _refuse_large_weights(list(_local(sides, set(sides.facts))), pair.options.device)
    if problems.found:
        problems.found += unreachable(gates, needed)
    problems.raise_any()


def look_at_plan(gates: CandidateGates, plan: RunPlan) -> Findings:
    """Estimate what an opened run takes, and see whether that is there. Where the store answers everything, nothing is taken."""
    if not plan.pending:
        return Findings(problems=(), unloadable=(), notes=(), estimates=())
    problems, options = Problems(), gates.options
    for gate in gates.opened:
        with problems.collected():
            _refuse_missing_backend(gate)
        with problems.collected():
            _refuse_large_weights(list(_local(gate, _asked_sides(gate))), options.device)
    kept = kept_estimate(asked for gate in gates.opened for asked in _asked(gate))
    for flag, folder in (("--prunegate-store", options.store), ("--prunegate-output", options.output)):
        with problems.collected():
            refuse_full_disk(folder, kept, f"{flag}={folder}")
    memory = {one.label: one for gate in gates.opened for one in _memory(gate, plan.device)}.values()
    return Findings(
        problems=tuple(dict.fromkeys(problems.found)),
        unloadable=tuple(dict.fromkeys(line for gate in gates.opened for line in _unloadable(gate))),
        notes=tuple(_tight(one) for one in memory if one.weights.size <= one.free < one.size / _TIGHT),
        estimates=(*(_memory_line(one) for one in memory), *_disk_lines(options, kept)),
    )


def unreachable(gates: CandidateGates, needed: Needed) -> list[str]:
    """Tasks that cannot be loaded, by name; nothing is built."""
    problems, names = Problems(), {name for own in needed.values() for name in own}
    for task in gates.tasks:
        for part in task.parts if task.name in names else ():
            with problems.collected():
                part.asking_kind.load_data(part)
    return problems.found


def _hub_models(pairs: Sequence[Pair]) -> list[ModelArgument]:
    models = {argument.where: argument for pair in pairs for argument in pair.options.models.values()}
    arguments = (
        argument
        for argument in models.values()
        if argument.url is None and argument.file is None and argument.maker is None
    )
    return [argument for argument in arguments if (argument.base or argument).folder is None]


def _refuse_large_downloads(pairs: Sequence[Pair]) -> None:
    from pytest_prunegate.checkpoint.location import hub_cache

    if models := _hub_models(pairs):
        cache_dir = pairs[0].options.cache_dir
        refuse_full_disk(hub_cache(cache_dir), download_estimate(models, cache_dir), "--prunegate-cache-dir")


def _asks_for_certain(pair: Pair, names: Sequence[str]) -> bool:
    """Whether a model has to answer something, whatever the tasks turn out to be: there is no store yet."""
    asked = any(task.name in names and task.asks_models for task in pair.tasks)
    return asked and not (pair.options.store / STORE_FILE).exists()


def _refuse_large_weights(models: Sequence[tuple[ModelFacts, Conditions]], asked_device: str) -> None:
    if not models:  # torch is not imported to look at a device that nothing is put on
        return
    device = resolve_device(asked_device)
    found = free_memory(device)
    if found is None:
        return
    problems = Problems()
    for facts, conditions in models:
        weights = weights_estimate(facts, conditions)
        if is_knowable(facts, conditions) and weights.size > found[0]:
            problems.found.append(
                f"{facts.title}: its weights alone take about {size_text(weights.size)} ({weights.basis}), and {size_text(found[0])} are free on "
                f"{device} ({found[1]}). Take another --prunegate-device, a smaller --prunegate-dtype, or spread or quantise it by its arguments: "
                f"--prunegate-{facts.side}-args=device_map=auto."
            )
    problems.raise_any()


def _refuse_missing_backend(gate: Gate) -> None:
    from pytest_prunegate.execution.registry import refuse_missing

    for backend in {gate.conditions[side].backend for side in _asked_sides(gate)}:
        refuse_missing(backend)


def _unloadable(gate: Gate) -> Iterator[str]:
    from pytest_prunegate.execution.registry import missing_package

    for facts, conditions in _local(gate, _asked_sides(gate)):
        if missing := missing_package(facts, conditions.backend):
            yield f"{facts.title}: cannot be loaded here: {missing}"


def _local(sides: Sides | Gate, asked: set[Side]) -> Iterator[tuple[ModelFacts, Conditions]]:
    """The models of some sides that are loaded here."""
    return (
        (facts, sides.conditions[side]) for side, facts in sides.facts.items()
        if facts.served is None and facts.file is None and side in asked
    )  # fmt: skip


def _asked_sides(gate: Gate) -> set[Side]:
    """The sides that have something to answer."""
    again: set[Side] = {"original"} if gate.options.noise_floor else set()
    return again | {side for task in gate.plan.tasks for side, missing in task.missing.items() if missing}


def _memory(gate: Gate, device: str) -> Iterator[Memory]:
    """Of each side; one of them is in memory at a time."""
    found = free_memory(device)
    parts = [part for parts in gate.prepared.values() for part in parts]
    for facts, conditions in _local(gate, _asked_sides(gate)) if found else ():
        if found and is_knowable(facts, conditions):
            cache = cache_estimate(facts, conditions, parts, gate.options.batch_size)
            weights = weights_estimate(facts, conditions)
            label = gate.candidate if gate.candidate and facts.side == "pruned" else facts.side
            yield Memory(
                label=label, title=facts.title, weights=weights, cache=cache, free=found[0], basis=f"{device}, {found[1]}"
            )  # fmt: skip


def _memory_line(memory: Memory) -> str:
    weights, cache = memory.weights, memory.cache
    more = (
        f" + at most {size_text(cache.size)} of keys and values ({cache.basis})"
        if cache
        else ", keys and values not counted"
    )
    return f"{memory.label}: {size_text(weights.size)} of weights ({weights.basis}){more}; {size_text(memory.free)} free ({memory.basis})"


def _tight(memory: Memory) -> str:
    return f"Memory is tight for the {memory.title}: {_memory_line(memory)}. Take a smaller --prunegate-batch-size if it runs out."


def _disk_lines(options: Options, kept: Estimate) -> Iterator[str]:
    for folder, what in ((options.store, "answers"), (options.output, "reports")):
        yield f"{what}: about {size_text(kept.size)} in {folder} ({kept.basis}); {size_text(free_disk(folder))} free"


def _asked(gate: Gate) -> Iterator[tuple[Request, Conditions]]:
    """What models have to answer at most; how much of each task, the plan says."""
    for task in gate.plan.tasks:
        requests = [request for part in gate.prepared.get(task.name, ()) for request in part.requests]
        for side, missing in task.missing.items():
            yield from ((request, gate.conditions[side]) for request in requests[:missing])
