"""How texts end and what is made of their tokens, as lm-eval's transformers backend does both (HFLM.generate_until)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BACK = 2  # tokens more than a stop sequence has: it may have been written with others (MultiTokenEOSCriteria)


class Stops:
    """The ends of a text: an end token, or one of several sequences among the last tokens.

    Args:
        tokenizer: of the model.
        sequences: at which lm-eval stops.
        ends: tokens at which transformers' ``generate`` stops.
    """

    def __init__(self, tokenizer: Any, sequences: Sequence[str], ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._ends = ends
        self._by_length: dict[int, list[str]] = {}
        for sequence in sequences:
            length = len(tokenizer.encode(sequence, add_special_tokens=False)) + _BACK
            self._by_length.setdefault(length, []).append(sequence)

    def are_met(self, generated: Sequence[int]) -> bool:
        """Whether a text ends with the last of its tokens."""
        if generated[-1] in self._ends:
            return True
        for length, sequences in self._by_length.items():
            text = self._tokenizer.decode(generated[-length:])
            if any(sequence in text for sequence in sequences):
                return True
        return False


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Greedy generation with a task's arguments: tokens at most, and where texts end."""

    most: int
    until: tuple[str, ...]
    stops: Stops

    def response(self, lm: Any, generated: Sequence[int]) -> Response:
        """The text of generated tokens, and whether it was cut."""
        tokens, until = list(generated), list(self.until)
        text = postprocess_generated_text(generation=lm.tok_decode(tokens), stop=until, think_end_token=None)
        return Response(text=text, cut=lm.is_cut(tokens, self.most, until))


def greedy_settings(lm: Any, gen_kwargs: Mapping[str, Any]) -> Greedy:
    """Settings from generation arguments.

    Args:
        lm: lm-eval's model object.
        gen_kwargs: of a task.
    """
    kwargs = normalize_gen_kwargs(dict(gen_kwargs), lm.max_gen_toks)
    eos = lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    until = handle_stop_sequences(kwargs["until"], eos=eos)
    ends = lm.model.generation_config.eos_token_id
    held = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
    return Greedy(most=kwargs["max_gen_toks"], until=tuple(until), stops=Stops(lm.tokenizer, until, held))
