"""The models of a run: what their files or servers say, or a baseline in a model's place, and what each is asked under."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.baseline.describing import facts_of
from pytest_prunegate.baseline.records import read_baseline
from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.checkpoint.scan_memory import ScanMemory
from pytest_prunegate.errors import InputError, Problems
from pytest_prunegate.evaluation.backends import canonical_backend, refuse_unloadable
from pytest_prunegate.evaluation.conditions import conditions_of
from pytest_prunegate.evaluation.environment import prepare_environment
from pytest_prunegate.evaluation.index import default_cache_dir
from pytest_prunegate.serving.report import with_served

if TYPE_CHECKING:
    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.evaluation.requests import Conditions
    from pytest_prunegate.model_argument import ModelArgument
    from pytest_prunegate.options import Options


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The models by side, the original first, what they are asked under, and the files among them."""

    facts: dict[str, ModelFacts]
    conditions: dict[str, Conditions]
    files: dict[str, Baseline]


def find_sides(options: Options) -> Sides:
    """Find the models' files and read what they say. Writes nothing but downloads and a baseline's tokenizer, into the cache.

    Raises:
        InputError: a model cannot be found, a checkpoint or a baseline is damaged, a server does not answer, or the backend cannot
            load it; for all models at once.
    """
    prepare_environment(options.cache_dir)
    memory = ScanMemory((options.cache_dir or default_cache_dir()) / "scans")
    backend, problems = canonical_backend(options.backend), Problems()
    facts: dict[str, ModelFacts] = {}
    files: dict[str, Baseline] = {}
    for side, argument in options.models.items():
        with problems.collected():
            if argument.file is not None:
                files[side] = read_baseline(argument.file, argument.where)
                facts[side] = _facts_of(files[side], argument, options)
            elif argument.url is None:
                facts[side] = read_facts(locate(argument, cache_dir=options.cache_dir), memory)
                refuse_unloadable(facts[side], backend)
    with problems.collected():
        facts = with_served(facts, options.models, cache_dir=options.cache_dir)
    problems.raise_any()
    asked = {side: _as_asked(model, files[side]) if side in files else model for side, model in facts.items()}
    conditions = conditions_of(asked, dtype=options.dtype, backend=backend)
    return Sides(
        facts=facts, conditions=conditions | {side: file.conditions for side, file in files.items()}, files=files
    )


def _facts_of(baseline: Baseline, argument: ModelArgument, options: Options) -> ModelFacts:
    try:
        return facts_of(baseline, argument, options.cache_dir or default_cache_dir())
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{argument.where}: what this baseline says of its model cannot be understood: {type(error).__name__}: {error}. "
            "Make it again with this version."
        ) from error


def _as_asked(facts: ModelFacts, baseline: Baseline) -> ModelFacts:
    """The dtype that a file was asked in is the one that the other side follows; its own conditions stand in the file."""
    return replace(facts, dtype=baseline.conditions.dtype, arguments={})
