"""What a reader must know of answers that come from a file: since when, and what was otherwise there. No error by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.execution.devices import hardware_name
from pytest_prunegate.resources import installed_version
from pytest_prunegate.tasks.index import lm_eval_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts

_LIBRARIES = ("torch", "transformers", "tokenizers")


def file_notes(files: Mapping[str, Baseline], facts: Mapping[str, ModelFacts], *, device: str | None) -> Iterator[str]:
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
