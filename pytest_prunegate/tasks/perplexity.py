"""Perplexity of a text as pruning papers compute it, as a task whose documents are windows.

The text is tokenised once, cut into windows of `seqlen` tokens that do not overlap, the rest at its end dropped; the
perplexity is exp of the mean negative log-likelihood of a token given those before it in its window. Source: GPTQ
(arXiv 2210.17323), SparseGPT (arXiv 2301.00774) and Wanda (arXiv 2306.11695), whose code does the same. A figure
depends on `seqlen` and on the number of windows, which are reported beside it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.guarded import guarded
from pytest_prunegate.tasks.prepared import Document, PreparedTask
from pytest_prunegate.tasks.requests import WINDOW, Request
from pytest_prunegate.tasks.scores import MetricScores, exact
from pytest_prunegate.tasks.tokenizers import encoding_identity, load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.thresholds import PerplexitySpec
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.tasks.requests import Conditions

VERSION = "1"  # of this definition
_USUAL_SEQLEN = 2048  # of the papers; a model that takes less gets what it takes
_ON_THE_HUB = {"wikitext2": {"path": "Salesforce/wikitext", "name": "wikitext-2-raw-v1"}}
_COLUMN = "text"
_LARGEST_LOSS = 700  # exp of more is no number


def prepare_perplexity(
    gate_task: GateTask, facts: Mapping[str, ModelFacts], conditions: Mapping[str, Conditions]
) -> PreparedTask:
    """Load a text, tokenise it, and cut it into windows.

    Raises:
        TaskError: the text cannot be loaded, is shorter than a window, a window is longer than a model takes, or the
            two models' tokenizers disagree.
        ModelError: a tokenizer cannot be loaded.
    """
    spec: Any = gate_task.spec
    text = guarded(lambda: load_text(spec), text_message(spec))
    tokens = _tokens(spec, text, facts)
    seqlen = _seqlen(spec, facts, conditions)
    total = len(tokens) // seqlen
    if total == 0:
        raise TaskError(
            f"{spec.name}: the text has {len(tokens)} tokens, fewer than one window of {seqlen}. Take a longer text, or a smaller seqlen."
        )
    count = min(spec.nsamples or total, total)
    windows = [tuple(tokens[start * seqlen : (start + 1) * seqlen]) for start in range(count)]
    requests = dict.fromkeys(Request(kind=WINDOW, tokens=window) for window in windows)
    positions = {request: position for position, request in enumerate(requests)}
    return PreparedTask(
        key=gate_task.key, name=spec.name, task=None, version=VERSION, num_fewshot=0, total_documents=total,
        data_fingerprint=xxhash.xxh3_128(text.encode()).hexdigest(), requests=tuple(requests), truncate=False, seqlen=seqlen,
        documents=tuple(
            Document(doc_id=number, content=None, instances=(), requests=((positions[Request(kind=WINDOW, tokens=window)],),))
            for number, window in enumerate(windows)
        ),
    )  # fmt: skip


def score_perplexity(prepared: PreparedTask, responses: Sequence[Response]) -> MetricScores:
    """Perplexity: exp of minus the log-likelihood of all windows over their predicted tokens.

    Raises:
        TaskError: it is not finite.
    """
    assert prepared.seqlen is not None
    total = math.fsum(responses[document.requests[0][0]].loglikelihood or 0.0 for document in prepared.documents)
    predicted = len(prepared.documents) * (prepared.seqlen - 1)
    if -total / predicted > _LARGEST_LOSS:
        raise TaskError(
            f"{prepared.name}: the perplexity overflows: mean negative log-likelihood {-total / predicted:.1f}."
        )
    perplexity = math.exp(-total / predicted)
    return MetricScores(
        by_document={}, aggregate=exact(perplexity), documents=len(prepared.documents), higher_is_better=False,
        losses={
            document.doc_id: (-(responses[document.requests[0][0]].loglikelihood or 0.0), float(prepared.seqlen - 1))
            for document in prepared.documents
        },
    )  # fmt: skip


def load_text(spec: PerplexitySpec) -> str:
    """The text: a local text file as it is, or the rows of a data set joined with two newlines.

    Raises:
        TaskError: there is no column of texts, or no single split; and whatever loading it raises.
    """
    given: dict[str, Any] = dict(spec.dataset or _ON_THE_HUB[spec.name])
    if given["path"] == "text":
        files = [file for names in given.get("data_files", {}).values() for file in names]
        if not files:
            raise TaskError(
                f"{spec.name}: name the text file: `dataset: {{path: text, data_files: {{test: my.txt}}}}`."
            )
        return "\n\n".join(Path(file).read_text(encoding="utf-8") for file in files)
    from datasets import load_dataset

    splits = load_dataset(**given)
    split = "test" if "test" in splits else next(iter(splits)) if len(splits) == 1 else None
    if split is None:
        raise TaskError(f"{spec.name}: the data set has no split test; it has {', '.join(splits)}.")
    if _COLUMN not in splits[split].column_names:
        raise TaskError(f"{spec.name}: the data set has no column {_COLUMN}; it has {', '.join(splits[split].column_names)}.")  # fmt: skip
    return "\n\n".join(splits[split][_COLUMN])


def _tokens(spec: PerplexitySpec, text: str, facts: Mapping[str, ModelFacts]) -> list[int]:
    found: dict[tuple[str, str], list[int]] = {}
    for model in facts.values():
        found.setdefault(encoding_identity(model), list(load_tokenizer(model)(text, verbose=False)["input_ids"]))
    encodings = list(found.values())
    if any(encoding != encodings[0] for encoding in encodings):
        raise TaskError(
            f"{spec.name}: the two models' tokenizers encode the text differently ({len(encodings[0])} and {len(encodings[1])} tokens), so that "
            "their perplexities could not be compared. Give both the same tokenizer: --prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL."
        )
    return encodings[0]


def _seqlen(spec: PerplexitySpec, facts: Mapping[str, ModelFacts], conditions: Mapping[str, Conditions]) -> int:
    shortest = min(conditions, key=lambda side: conditions[side].max_length)
    most = conditions[shortest].max_length
    if spec.seqlen and spec.seqlen > most:
        raise TaskError(
            f"{spec.name}: seqlen is {spec.seqlen}, and the {facts[shortest].title} takes {most} tokens. Take a smaller seqlen."
        )
    return spec.seqlen or min(_USUAL_SEQLEN, most)


def text_message(spec: PerplexitySpec) -> str:
    """What to say of a text that cannot be loaded; ``{reason}`` stands for why."""
    remedy = (
        "Check what its `dataset` names." if spec.dataset
        else "Without a network, give it a local text with `dataset: {path: text, data_files: {test: wiki.txt}}` in the thresholds file."
    )  # fmt: skip
    return f"{spec.name}: the text cannot be loaded: {{reason}}. {remedy}"
