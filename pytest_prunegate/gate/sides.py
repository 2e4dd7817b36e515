"""The models of a run: what their files or servers say, or a baseline in a model's place, and what each is asked under."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_prunegate.baseline.model_description import facts_of
from pytest_prunegate.baseline.records import read_baseline
from pytest_prunegate.checkpoint.facts import has_tokenizer, read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.checkpoint.scan import ScanMemory
from pytest_prunegate.errors import InputError, Problems, PrunegateError
from pytest_prunegate.execution.conditions import conditions_of, refuse_unloadable
from pytest_prunegate.execution.devices import prepare_environment
from pytest_prunegate.execution.inspector import TorchInspector
from pytest_prunegate.execution.registry import canonical_backend
from pytest_prunegate.execution.server import with_served
from pytest_prunegate.tasks.index import default_cache_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checkpoint.location import Location
    from pytest_prunegate.input.model_argument import ModelArgument, Side
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.tasks.requests import Conditions


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The models by side, the original first, what they are asked under, and the files among them."""

    facts: dict[Side, ModelFacts]
    conditions: dict[Side, Conditions]
    files: dict[Side, Baseline]


def find_sides(pairs: Sequence[Options]) -> list[Sides]:
    """Find the models' files and read what they say. Writes nothing but downloads and a baseline's tokenizer, into the cache.

    Args:
        pairs: the options of each pair of models, all with the same original, which is read once; or of the original alone.

    Returns:
        The sides of each pair.

    Raises:
        InputError: a model cannot be found, a checkpoint or a baseline is damaged, a server does not answer, or the backend cannot
            load it; for all models at once.
    """
    prepare_environment(pairs[0].cache_dir)
    reader, problems = _Reader(pairs[0]), Problems()
    for argument in _distinct(pairs):
        with problems.collected():
            reader.read(argument)
    for options in pairs:
        with problems.collected():
            reader.ask_servers(options)
    problems.raise_any()
    return [reader.sides(options) for options in pairs]


def _distinct(pairs: Sequence[Options]) -> list[ModelArgument]:
    """The original, and each candidate with the model whose zeros its own are compared with."""
    return [
        pairs[0].original,
        *(one for options in pairs for one in (options.pruned, options.mask_from) if one is not None),
    ]


class _Reader:
    """Reads each model of a run once.

    Args:
        options: of the run.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        cache = options.cache_dir or default_cache_dir()
        self._memory = ScanMemory(cache / "scans")
        self._inspector = TorchInspector(cache / "layouts")
        self._backend = canonical_backend(options.backend)
        self._facts: dict[str, ModelFacts] = {}
        self._files: dict[str, Baseline] = {}
        self._broken: set[str] = set()

    def read(self, argument: ModelArgument) -> None:
        """Read the files of a model, or the baseline in its place; a served one is asked later."""
        if argument.url is not None:
            return
        self._broken.add(argument.where)
        if argument.file is not None:
            self._files[argument.where] = read_baseline(argument.file, argument.where)
            self._facts[argument.where] = _facts_of(self._files[argument.where], argument, self._options)
        elif argument.maker is not None:
            from pytest_prunegate.execution.made_model import made_facts

            self._facts[argument.where] = made_facts(argument, self._options.cache_dir or default_cache_dir())
            refuse_unloadable(self._facts[argument.where], self._backend)
        else:
            facts = read_facts(self._location(argument), self._memory, self._inspector)
            refuse_unloadable(facts, self._backend)
            self._facts[argument.where] = facts
        self._broken.remove(argument.where)

    def _location(self, argument: ModelArgument) -> Location:
        """Where a model lies. One that is only looked at for its zeros needs no tokenizer, and borrows the original's."""
        location, original = (
            locate(argument, cache_dir=self._options.cache_dir),
            self._facts.get(self._options.original.where),
        )
        is_mask = (
            argument.flag == "--prunegate-mask-from" and original is not None and not has_tokenizer(location.folder)
        )
        return replace(location, tokenizer=original.tokenizer.folder) if is_mask and original else location

    def ask_servers(self, options: Options) -> None:
        """Ask the servers of a pair that have not told anything yet. An original that failed is not asked for each candidate."""
        models = {side: argument for side, argument in options.models.items() if argument.where not in self._broken}
        known = {side: self._facts[one.where] for side, one in models.items() if one.where in self._facts}
        if len(known) == len(models):
            return
        try:
            found = with_served(known, models, cache_dir=options.cache_dir)
        except PrunegateError:
            if "original" not in known:
                self._broken.add(options.original.where)
            raise
        self._facts |= {models[side].where: facts for side, facts in found.items()}

    def sides(self, options: Options) -> Sides:
        """The sides of a pair, all of whose models were read."""
        facts = {side: self._facts[argument.where] for side, argument in options.models.items()}
        if options.mask_from and "pruned" in facts:
            facts["pruned"] = replace(facts["pruned"], mask_from=self._facts[options.mask_from.where])
        files = {side: self._files[one.where] for side, one in options.models.items() if one.where in self._files}
        asked = {side: _as_asked(model, files[side]) if side in files else model for side, model in facts.items()}
        conditions = conditions_of(asked, dtype=options.dtype, backend=self._backend)
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
