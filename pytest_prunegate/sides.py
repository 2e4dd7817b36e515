"""The models of a run: what their files or servers say, and what each is asked under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.checkpoint.scan_memory import ScanMemory
from pytest_prunegate.errors import Problems
from pytest_prunegate.evaluation.backends import canonical_backend, refuse_unloadable
from pytest_prunegate.evaluation.conditions import conditions_of
from pytest_prunegate.evaluation.environment import prepare_environment
from pytest_prunegate.evaluation.index import default_cache_dir
from pytest_prunegate.serving.report import with_served

if TYPE_CHECKING:
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.evaluation.requests import Conditions
    from pytest_prunegate.options import Options


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The models by side, the original first, and what they are asked under."""

    facts: dict[str, ModelFacts]
    conditions: dict[str, Conditions]


def find_sides(options: Options) -> Sides:
    """Find the models' files and read what they say. Writes nothing but downloads, into the cache.

    Raises:
        InputError: a model cannot be found, a checkpoint is damaged, a server does not answer, or the backend cannot load it; for
            all models at once.
    """
    prepare_environment(options.cache_dir)
    memory = ScanMemory((options.cache_dir or default_cache_dir()) / "scans")
    backend, problems = canonical_backend(options.backend), Problems()
    facts: dict[str, ModelFacts] = {}
    for side, argument in options.models.items():
        if argument.url is None:
            with problems.collected():
                facts[side] = read_facts(locate(argument, cache_dir=options.cache_dir), memory)
                refuse_unloadable(facts[side], backend)
    with problems.collected():
        facts = with_served(facts, options.models, cache_dir=options.cache_dir)
    problems.raise_any()
    return Sides(facts=facts, conditions=conditions_of(facts, dtype=options.dtype, backend=backend))
