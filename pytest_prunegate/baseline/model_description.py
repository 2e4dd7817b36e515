"""What a baseline says of a model and of what it was asked, from the model's facts and a prepared task; and the facts back."""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_prunegate.baseline.records import Asking
from pytest_prunegate.baseline.tokenizer_files import collect
from pytest_prunegate.checkpoint.facts import ModelFacts, TokenizerSource
from pytest_prunegate.checkpoint.fingerprint import template_digest, tokenizer_digest
from pytest_prunegate.checkpoint.overview import BINS, Overview
from pytest_prunegate.checkpoint.sparsity import LayerZeros, Sparsity
from pytest_prunegate.input.task_reader import settings_words
from pytest_prunegate.tasks.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.baseline.tokenizer_files import TokenizerFiles
    from pytest_prunegate.input.model_argument import ModelArgument
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Request


_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")  # a name becomes a part of file names
_TEXT, _TEXT_OR_NONE, _COUNT, _COUNT_OR_NONE = (str,), (str, NoneType), (int,), (int, NoneType)
_PLAIN = {
    "name": _TEXT_OR_NONE, "path": _TEXT, "revision": _TEXT_OR_NONE, "fingerprint": _TEXT, "architecture": _TEXT_OR_NONE, "dtype": _TEXT,
    "max_length": _COUNT, "parameters": _COUNT_OR_NONE, "size": _COUNT_OR_NONE, "vocab_size": _COUNT_OR_NONE, "quantised": _TEXT_OR_NONE,
    "gguf": _TEXT_OR_NONE, "base": _TEXT_OR_NONE,
}  # fmt: skip
_SPARSITY = {
    "zeros": _COUNT_OR_NONE, "elements": _COUNT_OR_NONE, "problem": _TEXT_OR_NONE, "router_zeros": _COUNT, "router_elements": _COUNT,
}  # fmt: skip
_LAYER = {"layer": _COUNT, "zeros": _COUNT, "elements": _COUNT}
# Of a task's settings, those that change no prompt, and the draw of documents, which is told apart.
_NOT_SETTINGS = (
    "limit",
    "nsamples",
    "dataset",
    "marks",
    "cluster_by",
    "slice_by",
    "truncate",
    "num_fewshot",
    "fewshot_seed",
)


def model_json(facts: ModelFacts) -> dict[str, Any]:
    """A model's facts without its folders and its tokenizer."""
    sparsities = {name: getattr(facts, name) for name in ("sparsity", "base_sparsity")}
    return {
        **{name: getattr(facts, name) for name in _PLAIN},
        **{name: None if found is None else _described(found) for name, found in sparsities.items()},
        "arguments": dict(facts.arguments),
    }


def _described(sparsity: Sparsity) -> dict[str, Any]:
    """Without the single tensors, which no figure of a comparison needs."""
    return {name: value for name, value in asdict(replace(sparsity, tensors=())).items() if name != "tensors"}


def tokenizer_files(facts: ModelFacts) -> TokenizerFiles:
    """The files of a model's tokenizer; of one inside a GGUF file, those that transformers makes of it.

    Raises:
        ModelError: the tokenizer cannot be loaded.
        OSError: a file cannot be read.
    """
    source = facts.tokenizer
    if source.gguf is None:
        return collect(source.folder)
    with tempfile.TemporaryDirectory() as folder:
        load_tokenizer(facts).save_pretrained(folder)
        return collect(Path(folder))


def facts_of(baseline: Baseline, argument: ModelArgument, cache_dir: Path) -> ModelFacts:
    """The facts of a model that a file stands for; its tokenizer's files are put into the cache.

    Raises:
        InputError: the cache cannot be written.
        TypeError, ValueError, KeyError, AttributeError: the file says something else of a model than it should.
    """
    model = baseline.model
    folder = baseline.tokenizer.put_into(cache_dir)
    plain, base = _checked(model, _PLAIN), model["base_sparsity"]
    if plain["name"] is not None and not _NAMES.fullmatch(plain["name"]):
        raise ValueError(f"its name is {plain['name']!r}")
    facts = ModelFacts(
        side=argument.side, folder=folder, file=argument.file, arguments=dict(model["arguments"]),
        sparsity=_sparsity(model["sparsity"]), base_sparsity=None if base is None else _sparsity(base),
        tokenizer=TokenizerSource(folder=folder, gguf=None, digest=tokenizer_digest(folder), template=template_digest(folder)),
        **plain,
    )  # fmt: skip
    return replace(facts, name=argument.name) if argument.name else facts


def _sparsity(found: Mapping[str, Any]) -> Sparsity:
    """Files of before layers were told apart hold none."""
    layers = tuple(LayerZeros(**_checked(layer, _LAYER)) for layer in found.get("layers", ()))
    if any(not 0 <= layer.zeros <= layer.elements or not layer.elements for layer in layers):
        raise ValueError("a layer has more zeros than weights, or no weights")
    return Sparsity(**_checked(found, _SPARSITY), layers=layers, overview=_overview(found["overview"]))


def _overview(found: Any) -> Overview:
    try:
        overview = msgspec.convert(found, Overview)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    is_whole = all(0 <= part.zeros <= part.weights and part.weights for part in overview.parts)
    names = [*(pattern.name for pattern in overview.patterns), *(part.part for part in overview.parts)]
    if (
        not is_whole
        or len(overview.blocks) not in {0, BINS}
        or min((*overview.blocks, 0)) < 0
        or not all(map(str.isprintable, names))
    ):
        raise ValueError("what it says of the structure of its zeros is no such thing")
    return overview


def _checked(found: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """What a file says, where it is of the right kind; text goes to the screen, and must not steer it."""
    for name, kind in kinds.items():
        value = found[name]
        if type(value) not in kind or (isinstance(value, str) and not value.isprintable()):
            raise TypeError(f"{name} is {value!r}")
    return {name: found[name] for name in kinds}


def asking_of(
    task: GateTask,
    prepared: PreparedTask,
    *,
    keys: Mapping[Request, str],
    template: str | None,
    seed: int,
) -> Asking:
    """What is asked of a task, or of a member of a group.

    Args:
        task: with its settings.
        prepared: the documents that may be asked.
        keys: of their requests.
        template: digest of the chat template.
        seed: that they were drawn with.
    """
    places = [keys[request] for request in prepared.requests]
    limit = task.spec.sample_limit
    words = settings_words(task.spec)
    return Asking(
        task=prepared.key, version=prepared.version, settings=_settings(task, prepared), data=prepared.data_fingerprint,
        template=template if words.get("apply_chat_template") else None, total=prepared.total_documents,
        samples=({"seed": seed, "limit": None if limit is None else str(limit), "documents": len(prepared.documents)},),
        documents={
            document.doc_id: tuple(places[position] for positions in document.requests for position in positions)
            for document in prepared.documents
        },
    )  # fmt: skip


def _settings(task: GateTask, prepared: PreparedTask) -> dict[str, Any]:
    """The settings that decide prompts and answers, as they came out."""
    found = {name: value for name, value in settings_words(task.spec).items() if name not in _NOT_SETTINGS and value is not False}  # fmt: skip
    return found | task.asking_kind.settled_settings(task, prepared)
