"""Keys and values of many sequences in slots of one size, and attention over them for tokens of several sequences at once.

A forward pass takes the new tokens of all sequences one behind the other, as one row without padding. Transformers' attention interface
calls `attend` in each layer: https://huggingface.co/docs/transformers/attention_interface.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "prunegate_packed"
# What layers hand to an attention function that changes nothing here: positions are in the keys already, and nobody trains.
_UNUSED = frozenset({
    "dropout", "position_ids", "cache_position", "is_causal", "use_cache", "output_attentions", "output_hidden_states", "return_dict",
    "logits_to_keep", "position_embeddings", "past_key_values", "output_router_logits",
})  # fmt: skip


class UnknownAttentionError(RuntimeError):
    """A layer asks for attention of a kind that is not known here."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Neighbouring tokens of a pass that are one slot's.

    `first` and `count` say which they are in the pass, `start` where they go in the slot. Each sees all that is in the slot up to itself,
    unless `visible` (count, start + count) says otherwise, and `positions` (start + count,) at which positions those are.
    """

    slot: int
    first: int
    count: int
    start: int
    visible: torch.Tensor | None = None
    positions: torch.Tensor | None = None

    @property
    def stop(self) -> int:
        """Where the slot ends after them."""
        return self.start + self.count


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a forward pass is about: `spans`, and behind them one token each at the end of the slots of `last`, by slot and position."""

    spans: Sequence[Span]
    last: Sequence[tuple[int, int]] = ()
    masks: dict[Any, torch.Tensor | None] = field(default_factory=dict)

    @property
    def spanned(self) -> int:
        """Tokens in spans."""
        return sum(span.count for span in self.spans)


class KeyValues:
    """The slots.

    Args:
        slots: how many.
        capacity: tokens in each.
        together: whether single tokens of several slots are looked after in one call, padded to the longest, as a graphics card wants it;
            a CPU takes them one after the other.
    """

    def __init__(self, slots: int, capacity: int, *, together: bool) -> None:
        self.slots = slots
        self.capacity = capacity
        self._together = together
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._pass = Pass(spans=())

    @property
    def bytes_per_token(self) -> int:
        """Of all layers, as far as one pass has shown them."""
        sizes = (keys[0, :, 0].nbytes + values[0, :, 0].nbytes for keys, values in self._layers.values())
        return sum(sizes)

    def copy(self, source: int, target: int, count: int) -> None:
        """Have the first tokens of a slot in another one, too."""
        with torch.inference_mode():
            for held in self._layers.values():
                for tensor in held:
                    tensor[target, :, :count] = tensor[source, :, :count]

    @contextlib.contextmanager
    def taking(self, packed: Pass) -> Iterator[None]:
        """Have attention work on a pass."""
        global _current  # noqa: PLW0603 - transformers calls a function by its name
        self._pass, before = packed, _current
        _current = self
        try:
            yield
        finally:
            _current = before

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, asked: dict[str, Any]
    ) -> torch.Tensor:
        """Keep the pass's keys and values of a layer, and let each of its tokens look at those before it.

        Args:
            layer: its number.
            query: (heads, tokens, size).
            key: (heads of keys, tokens, size).
            value: (heads of keys, tokens, size of values).
            asked: what the layer hands over besides.

        Returns:
            (tokens, heads, size of values).
        """
        keys, values = self._of_layer(layer, key, value)
        weigh = _Weigh(asked)
        out = query.new_empty(query.shape[1], query.shape[0], value.shape[-1])
        for span in self._pass.spans:
            rows = slice(span.first, span.first + span.count)
            keys[span.slot, :, span.start : span.stop] = key[:, rows]
            values[span.slot, :, span.start : span.stop] = value[:, rows]
            mask = self._mask(span, weigh.window)
            seen = keys[span.slot, None, :, : span.stop], values[span.slot, None, :, : span.stop]
            out[rows] = weigh(query[None, :, rows], *seen, mask)[0].transpose(0, 1)
        if self._pass.last:
            self._attend_last(keys, values, weigh, (query, key, value), out)
        return out

    def _of_layer(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._layers:
            made = (one.new_zeros(self.slots, one.shape[0], self.capacity, one.shape[-1]) for one in (key, value))
            keys, values = made
            self._layers[layer] = keys, values
        return self._layers[layer]

    def _attend_last(
        self, keys: torch.Tensor, values: torch.Tensor, weigh: _Weigh, new: tuple[torch.Tensor, ...], out: torch.Tensor
    ) -> None:
        """The single tokens: each slot's query heads that share keys are looked after as if they were several tokens."""
        begin = self._pass.spanned
        query, key, value = (one[:, begin:].transpose(0, 1) for one in new)  # (rows, heads, size)
        slots, positions = zip(*self._pass.last, strict=True)
        where = torch.tensor(slots, device=out.device), torch.tensor(positions, device=out.device)
        keys[where[0], :, where[1]] = key
        values[where[0], :, where[1]] = value
        grouped = query.reshape(len(slots), keys.shape[1], -1, query.shape[-1])
        if self._together:
            stop = max(positions) + 1
            seen = keys[where[0], :, :stop], values[where[0], :, :stop]
            found = weigh(grouped, *seen, self._last_mask(where[1], stop, weigh.window))
        else:
            rows = (
                weigh(grouped[row, None], *_recent(keys, values, place, weigh.window), is_causal=False)
                for row, place in enumerate(self._pass.last)
            )
            found = torch.cat(list(rows))
        out[begin:] = found.reshape(len(slots), query.shape[1], -1)

    def _mask(self, span: Span, window: int | None) -> torch.Tensor | None:
        """Which tokens of its slot each of a span sees; None for all up to itself from the slot's beginning."""
        if span.visible is None and span.start == 0 and (window is None or span.stop <= window):
            return None
        known = self._pass.masks
        if (span.first, window) not in known:
            known[span.first, window] = _visible(span, window, self._device())
        return known[span.first, window]

    def _last_mask(self, positions: torch.Tensor, stop: int, window: int | None) -> torch.Tensor:
        known = self._pass.masks
        mask = known.get(("last", window))
        if mask is None:
            behind = positions[:, None] - torch.arange(stop, device=positions.device)  # (rows, tokens)
            mask = (behind >= 0) if window is None else (behind >= 0) & (behind < window)
            mask = known["last", window] = mask[:, None, None]
        return mask

    def _device(self) -> torch.device:
        return next(iter(self._layers.values()))[0].device


def _recent(
    keys: torch.Tensor, values: torch.Tensor, place: tuple[int, int], window: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values that the token at a place of a slot sees, itself included."""
    slot, position = place
    first = 0 if window is None else max(0, position + 1 - window)
    seen = slice(first, position + 1)
    return keys[slot, None, :, seen], values[slot, None, :, seen]


def _visible(span: Span, window: int | None, device: torch.device) -> torch.Tensor:
    seen = torch.arange(span.stop, device=device) if span.positions is None else span.positions
    behind = seen[span.start :, None] - seen  # (count, stop)
    visible = behind >= 0 if span.visible is None else span.visible
    return visible if window is None else visible & (behind < window)


class _Weigh:
    """Attention as a layer asks for it: its scale, its window, and its cap on scores."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.scale = asked.pop("scaling", None)
        self.window = asked.pop("sliding_window", None)
        self.cap = asked.pop("softcap", None)
        if unknown := sorted(name for name, one in asked.items() if one is not None and name not in _UNUSED):
            raise UnknownAttentionError(f"its layers ask for attention with {', '.join(unknown)}")

    def __call__(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor | None = None,
        *,
        is_causal: bool = True,
    ) -> torch.Tensor:
        """Queries (B, heads, T, size) on keys and values (B, heads of keys, S, size), with a mask that is True for what is seen."""
        is_causal = is_causal and mask is None and query.shape[2] > 1
        if self.cap is None:
            is_grouped = query.shape[1] != keys.shape[1]
            if is_grouped and mask is not None and query.device.type != "cpu":  # the kernels with masks know no groups
                keys, values, is_grouped = *(_for_each_head(one, query.shape[1]) for one in (keys, values)), False
            return scaled_dot_product_attention(
                query, keys, values, attn_mask=mask, is_causal=is_causal, scale=self.scale, enable_gqa=is_grouped
            )
        keys, values = (_for_each_head(one, query.shape[1]) for one in (keys, values))
        scores = query @ keys.transpose(2, 3) * (self.scale or query.shape[-1] ** -0.5)
        scores = torch.tanh(scores / self.cap) * self.cap
        if is_causal:
            mask = torch.ones(query.shape[2], keys.shape[2], dtype=torch.bool, device=query.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ values


def _for_each_head(held: torch.Tensor, heads: int) -> torch.Tensor:
    return held.repeat_interleave(heads // held.shape[1], dim=1)


_current: KeyValues | None = None


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **asked: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls an attention function; (1, heads, tokens, size) each, and (1, tokens, heads, size) back."""
    if _current is None or attention_mask is not None:
        raise UnknownAttentionError("its layers make masks of their own")
    if _is_windowed(module) and not asked.get("sliding_window"):
        raise UnknownAttentionError("its layers do not tell their windows")
    return _current.attend(module.layer_idx, query[0], key[0], value[0], asked)[None], None


def _is_windowed(module: Any) -> bool:
    kinds = getattr(module.config, "layer_types", None)
    if kinds:
        return bool(kinds[module.layer_idx] == "sliding_attention")
    return bool(getattr(module.config, "sliding_window", None)) and getattr(module.config, "use_sliding_window", True)


AttentionInterface.register(NAME, _attention)


def configs_of(model: Any) -> tuple[Any, ...]:
    """The configurations in which a model's layers look up their attention."""
    found = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    return tuple(found.values())


@contextlib.contextmanager
def packed_attention(configs: Sequence[Any]) -> Iterator[None]:
    """Have the layers of a model call this module's function."""
    before = [config._attn_implementation for config in configs]  # noqa: SLF001 - what transformers reads in each layer
    for config in configs:
        config._attn_implementation = NAME  # noqa: SLF001
    try:
        yield
    finally:
        for config, usual in zip(configs, before, strict=True):
            config._attn_implementation = usual  # noqa: SLF001
