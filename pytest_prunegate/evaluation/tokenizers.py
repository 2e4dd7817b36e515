"""The models' tokenizers: loaded once, encoding as lm-eval's backend does, and compared where they differ."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError, TaskError
from pytest_prunegate.evaluation.guarded import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts, TokenizerSource
    from pytest_prunegate.evaluation.prepared import PreparedTask

_SHOWN = 40  # characters of a text around the place where two encodings part


def load_tokenizer(facts: ModelFacts) -> Any:
    """The side's tokenizer.

    Raises:
        ModelError: it cannot be loaded.
    """
    source = facts.tokenizer
    settings = {key: facts.arguments[key] for key in ("add_bos_token", "trust_remote_code") if key in facts.arguments}
    try:
        return _load(source, tuple(sorted(settings.items())))
    except Exception as error:  # transformers raises what the files happen to raise
        raise ModelError(f"{facts.title}: its tokenizer cannot be loaded: {reason_of(error)}") from error


@functools.lru_cache(maxsize=4)
def _load(source: TokenizerSource, settings: tuple[tuple[str, Any], ...]) -> Any:
    from transformers import AutoTokenizer

    arguments = {"trust_remote_code": False} | dict(settings) | ({"gguf_file": source.gguf} if source.gguf else {})
    return AutoTokenizer.from_pretrained(str(source.folder), **arguments)


def encode(facts: ModelFacts, text: str) -> list[int]:
    """Token ids of a prompt, as lm-eval encodes it: no second BOS where a chat template has written one."""
    tokenizer = load_tokenizer(facts)
    special: dict[str, bool] = {}
    if facts.arguments.get("add_bos_token") is not None:
        special["add_special_tokens"] = bool(facts.arguments["add_bos_token"])
    first = tokenizer.bos_token or tokenizer.eos_token
    if first and text.startswith(first):
        special["add_special_tokens"] = False
    # verbose=False: transformers would warn of lengths, which are measured elsewhere
    return list(tokenizer(text, verbose=False, **special)["input_ids"])


def vocabulary_notes(facts: Mapping[str, ModelFacts]) -> list[str]:
    """What differs between the models' vocabularies and tokenizers; everyday fine-tuning, and no error by itself."""
    if set(facts) != {"original", "pruned"}:
        return []
    original, pruned = facts["original"], facts["pruned"]
    notes = []
    if original.vocab_size and pruned.vocab_size and original.vocab_size != pruned.vocab_size:
        notes.append(
            f"The vocabularies differ in size: {original.vocab_size} rows of embeddings in the original, {pruned.vocab_size} in the pruned model."
        )
    if original.tokenizer.digest != pruned.tokenizer.digest:
        notes.append("The tokenizers' files differ; every prompt of this run is compared in both encodings.")
    return notes


def refuse_other_encoding(prepared: PreparedTask, facts: Mapping[str, ModelFacts]) -> None:
    """See that both models are asked the same tokens, where their tokenizers' files differ.

    Raises:
        TaskError: a prompt encodes differently; it names the document and the place.
    """
    if len(facts) < 2 or len({_encoding_identity(side) for side in facts.values()}) == 1:  # noqa: PLR2004 - two sides
        return
    for document in prepared.documents:
        for position in (position for positions in document.requests for position in positions):
            request = prepared.requests[position]
            text = request.context + (request.continuation or "")
            original, pruned = (encode(facts[side], text) for side in ("original", "pruned"))
            if original != pruned:
                raise TaskError(
                    f"{prepared.name}: document {document.doc_id}: the two models' tokenizers encode its prompt differently "
                    f"({_difference(facts['original'], original, pruned)}), so that they would not be asked the same. "
                    "Give both the same tokenizer: --prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL."
                )


def _encoding_identity(facts: ModelFacts) -> tuple[str, str]:
    return facts.tokenizer.digest, str(facts.arguments.get("add_bos_token"))


def _difference(facts: ModelFacts, original: list[int], pruned: list[int]) -> str:
    first = next(
        (place for place, (one, other) in enumerate(zip(original, pruned, strict=False)) if one != other),
        min(len(original), len(pruned)),
    )
    text = load_tokenizer(facts).decode(original[max(0, first - 8) : first + 1])[-_SHOWN:]
    return f"{len(original)} and {len(pruned)} tokens, the first difference at token {first}, behind {text!r}"
