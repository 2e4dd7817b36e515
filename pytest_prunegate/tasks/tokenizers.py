"""The models' tokenizers: loaded once, encoding as lm-eval's backend does, compared where they differ; and which prompts do not fit a model."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import ModelError, TaskError
from pytest_prunegate.tasks.guarded import needs_trust, reason_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts, TokenizerSource
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Conditions, Request


_BATCH = 512  # texts encoded at once: bounds the memory of their ids
_SHOWN = 40  # characters of a text around the place where two encodings part


def load_tokenizer(facts: ModelFacts) -> Any:
    """The side's tokenizer.

    Raises:
        ModelError: it cannot be loaded.
    """
    source = facts.tokenizer
    taken = ("add_bos_token",) if facts.file else ("add_bos_token", "trust_remote_code")  # a file is not trusted
    settings = {key: facts.arguments[key] for key in taken if key in facts.arguments}
    try:
        return _load(source, tuple(sorted(settings.items())))
    except Exception as error:  # transformers raises what the files happen to raise
        reason = needs_trust(facts.side, error) or reason_of(error)
        raise ModelError(f"{facts.title}: its tokenizer cannot be loaded: {reason}") from error


@functools.lru_cache(maxsize=4)
def _load(source: TokenizerSource, settings: tuple[tuple[str, Any], ...]) -> Any:
    from transformers import AutoTokenizer

    arguments = {"trust_remote_code": False} | dict(settings) | ({"gguf_file": source.gguf} if source.gguf else {})
    return AutoTokenizer.from_pretrained(str(source.folder), **arguments)


def encodings(facts: ModelFacts, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of prompts in their order, as lm-eval encodes them: no second BOS where a chat template has written one."""
    tokenizer = load_tokenizer(facts)
    usual: dict[str, bool] = {}
    if facts.arguments.get("add_bos_token") is not None:
        usual["add_special_tokens"] = bool(facts.arguments["add_bos_token"])
    first = tokenizer.bos_token or tokenizer.eos_token
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        begun = {text for text in batch if first and text.startswith(first)}
        found: dict[str, list[int]] = {}
        for chosen, settings in ((begun, {"add_special_tokens": False}), (set(batch) - begun, usual)):
            if chosen:
                ordered = list(chosen)
                # verbose=False: transformers would warn of lengths, which are measured elsewhere
                encoded = tokenizer(ordered, verbose=False, return_attention_mask=False, **settings)
                found |= zip(ordered, encoded["input_ids"], strict=True)
        yield from (found[text] for text in batch)


def encoding_identity(facts: ModelFacts) -> tuple[str, str]:
    """What decides a side's encodings; two sides that share it encode alike."""
    return facts.tokenizer.digest, str(facts.arguments.get("add_bos_token"))


def vocabulary_notes(facts: Mapping[Side, ModelFacts]) -> list[str]:
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


def refuse_other_encoding(prepared: PreparedTask, facts: Mapping[Side, ModelFacts]) -> None:
    """See that both models are asked the same tokens, where their tokenizers' files differ.

    Raises:
        TaskError: a prompt encodes differently; it names the document and the place.
    """
    if len({encoding_identity(side) for side in facts.values()}) == 1:
        return
    texts = [request.context + (request.continuation or "") for request in prepared.requests]
    both = zip(encodings(facts["original"], texts), encodings(facts["pruned"], texts), strict=True)
    for position, (original, pruned) in enumerate(both):
        if original != pruned:
            document = next(
                document.doc_id for document in prepared.documents if any(position in places for places in document.requests)
            )  # fmt: skip
            raise TaskError(
                f"{prepared.name}: document {document}: the two models' tokenizers encode its prompt differently "
                f"({_difference(facts['original'], original, pruned)}), so that they would not be asked the same. "
                "Give both the same tokenizer: --prunegate-pruned-args=tokenizer=DIRECTORY_OF_THE_ORIGINAL."
            )


def _difference(facts: ModelFacts, original: list[int], pruned: list[int]) -> str:
    first = next(
        (place for place, (one, other) in enumerate(zip(original, pruned, strict=False)) if one != other),
        min(len(original), len(pruned)),
    )
    text = load_tokenizer(facts).decode(original[max(0, first - 8) : first + 1])[-_SHOWN:]
    return f"{len(original)} and {len(pruned)} tokens, the first difference at token {first}, behind {text!r}"


_NAMED_DOCUMENTS = 5
_BOUNDED = ("generate_until", "loglikelihood")  # rolling requests and windows are cut to length on purpose


@dataclass(frozen=True)
class Overflow:
    """What a request needs, in tokens of its prompt and of what is generated, and what the model takes."""

    prompt: int
    generated: int
    most: int

    def __str__(self) -> str:
        parts = f" ({self.prompt} of prompt and {self.generated} to generate)" if self.generated else ""
        return f"{self.prompt + self.generated} tokens{parts}, the model takes {self.most}"


def too_long(facts: ModelFacts, requests: Sequence[Request], conditions: Conditions) -> dict[Request, Overflow]:
    """Requests that lm-eval would cut from the left, each with what it needs and what there is.

    A generation needs room for its prompt and all of its new tokens; a log-likelihood needs room for the prompt and
    all but the last token of the continuation, or for all of it where a server generates a token behind it.

    Raises:
        ModelError: the tokenizer cannot be loaded.
        TaskError: lm-eval does not take a request's generation arguments.
    """
    bounded = [request for request in requests if request.kind in _BOUNDED]
    texts = [request.context + (request.continuation or "") for request in bounded]
    found = {}
    for request, length in zip(bounded, map(len, encodings(facts, texts)), strict=True):
        new_tokens = 0 if request.gen_kwargs is None else _new_tokens(request, conditions)
        unread = 1 if request.gen_kwargs is None and not facts.served else 0
        if length - unread + new_tokens > conditions.max_length:
            found[request] = Overflow(prompt=length - unread, generated=new_tokens, most=conditions.max_length)
    return found


def _new_tokens(request: Request, conditions: Conditions) -> int:
    from lm_eval.models.utils import normalize_gen_kwargs

    arguments = request.arguments[1]
    try:
        return int(normalize_gen_kwargs(arguments, conditions.max_gen_toks)["max_gen_toks"])
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"lm-eval does not take these generation arguments: {arguments}: {error} Look at gen_kwargs."
        ) from error


def name_documents(prepared: PreparedTask, facts: ModelFacts, reasons: Mapping[Request, object]) -> list[str]:
    """A line for each document that one of these requests belongs to."""
    if not reasons:
        return []
    affected = {position: reasons[request] for position, request in enumerate(prepared.requests) if request in reasons}
    lines = []
    for document in prepared.documents:
        hits = [affected[position] for positions in document.requests for position in positions if position in affected]
        if hits:
            lines.append(f"document {document.doc_id}, {facts.title}: {hits[0]}")
    return lines


def refuse_truncation(prepared: PreparedTask, problems: list[str], found: Collection[Overflow] = ()) -> None:
    """Refuse prompts that would lose their beginning, with the setting that makes room.

    Raises:
        TaskError: always; it names the first documents.
    """
    shown = "\n".join(f"  {problem}" for problem in problems[:_NAMED_DOCUMENTS])
    more = f"\n  and {len(problems) - _NAMED_DOCUMENTS} more" if len(problems) > _NAMED_DOCUMENTS else ""
    room = min((one.most - one.prompt for one in found), default=0)
    ways = [f"generate less (max_gen_toks: {room})"] if room > 0 and any(one.generated for one in found) else []
    ways += ["use fewer examples (num_fewshot)"] if prepared.num_fewshot else []
    ways += ["allow it with `truncate: allow` in the thresholds file"]
    advice = f"{', or '.join(ways)}."
    raise TaskError(
        f"{prepared.name}: prompts do not fit, and would lose their beginning:\n{shown}{more}\n{advice[0].upper()}{advice[1:]}"
    )
