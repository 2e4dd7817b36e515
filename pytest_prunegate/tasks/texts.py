"""Texts cut into windows of tokens: how thresholds.yaml names them, and how they are loaded.

A text is tokenised once and cut into windows that do not overlap, the rest at its end dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.task_reader import read_dataset
from pytest_prunegate.tasks.guarded import HUB_REMEDY, guarded, is_of_the_hub
from pytest_prunegate.tasks.tokenizers import encoding_identity, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.requests import Conditions

KNOWN_TEXTS = {"wikitext2": {"path": "Salesforce/wikitext", "name": "wikitext-2-raw-v1"}}
"""Data sets of texts by the names that they are known by."""
WINDOW_KEYS = ("seqlen", "nsamples", "dataset")
_SHORTEST = 2  # tokens: one to be predicted from another
_COLUMN = "text"


@dataclass(frozen=True, kw_only=True)
class Windows:
    """All windows of a text, each a tuple of token ids, and the `fingerprint` of the text."""

    windows: tuple[tuple[int, ...], ...]
    fingerprint: str


def window_readers(around: Surroundings) -> dict[str, Callable[[Node], Any]]:
    """What reads the keys of an entry that say which windows of which text."""
    return {
        "seqlen": lambda value: value.positive_integer(least=_SHORTEST, what="tokens of a window"),
        "nsamples": lambda value: value.positive_integer(least=1, what="a number of windows"),
        "dataset": lambda value: read_dataset(value, around.folder),
    }


def load_text(entry: str, dataset: Mapping[str, Any] | None, *, known: str | None = None) -> str:
    """The text: a local text file as it is, or the rows of a data set joined with two newlines.

    Args:
        entry: the name of what asks for it, for messages.
        dataset: arguments of ``datasets.load_dataset``; None for a text that is known by name.
        known: that name, where it is not the entry's.

    Raises:
        TaskError: it cannot be loaded, or there is no column of texts, or no single split.
    """

    def remedy(error: Exception) -> str:
        if dataset:
            return "Check what its `dataset` names."
        return HUB_REMEDY if is_of_the_hub(error) else ""

    given: Mapping[str, Any] = dataset or KNOWN_TEXTS[known or entry]
    return guarded(lambda: _load(entry, given), f"{entry}: the text cannot be loaded: {{reason}}.", remedy)


def _load(entry: str, given: Mapping[str, Any]) -> str:
    if given["path"] == "text":
        files = [file for names in given.get("data_files", {}).values() for file in names]
        if not files:
            raise TaskError(f"{entry}: name the text file: `dataset: {{path: text, data_files: {{test: my.txt}}}}`.")
        return "\n\n".join(Path(file).read_text(encoding="utf-8") for file in files)
    from datasets import load_dataset

    splits = load_dataset(**given)
    split = "test" if "test" in splits else next(iter(splits)) if len(splits) == 1 else None
    if split is None:
        raise TaskError(f"{entry}: the data set has no split test; it has {', '.join(splits)}.")
    if _COLUMN not in splits[split].column_names:
        raise TaskError(f"{entry}: the data set has no column {_COLUMN}; it has {', '.join(splits[split].column_names)}.")  # fmt: skip
    return "\n\n".join(splits[split][_COLUMN])


def windows_of(
    entry: str, text: str, seqlen: int, facts: Mapping[Side, ModelFacts], conditions: Mapping[Side, Conditions]
) -> Windows:
    """Tokenise a text, and cut it.

    Args:
        entry: the name of what asks for it, for messages.
        text: at least one window long.
        seqlen: tokens of a window.
        facts: of the models, by side.
        conditions: of the models, by side.

    Raises:
        TaskError: the text is shorter than a window, a window is longer than a model takes, or the two tokenizers disagree.
        ModelError: a tokenizer cannot be loaded.
    """
    shortest = min(conditions, key=lambda side: conditions[side].max_length)
    if seqlen > (most := conditions[shortest].max_length):
        raise TaskError(
            f"{entry}: seqlen is {seqlen}, and the {facts[shortest].title} takes {most} tokens. Take a smaller seqlen."
        )
    tokens = _tokens(entry, text, facts)
    total = len(tokens) // seqlen
    if total == 0:
        raise TaskError(
            f"{entry}: the text has {len(tokens)} tokens, fewer than one window of {seqlen}. Take a longer text, or a smaller seqlen."
        )
    return Windows(
        windows=tuple(tuple(tokens[start * seqlen : (start + 1) * seqlen]) for start in range(total)),
        fingerprint=xxhash.xxh3_128(text.encode()).hexdigest(),
    )


def _tokens(entry: str, text: str, facts: Mapping[Side, ModelFacts]) -> list[int]:
    found: dict[tuple[str, str], list[int]] = {}
    for model in facts.values():
        found.setdefault(encoding_identity(model), list(load_tokenizer(model)(text, verbose=False)["input_ids"]))
    encodings = list(found.values())
    if any(encoding != encodings[0] for encoding in encodings):
        raise TaskError(
            f"{entry}: the two models' tokenizers encode the text differently ({len(encodings[0])} and {len(encodings[1])} tokens), so that "
            "the two could not be compared on it. Give both the same tokenizer: --prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL."
        )
    return encodings[0]
