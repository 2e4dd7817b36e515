"""What differs between the two models besides their weights: whoever reads a verdict must not put it down to pruning alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side

# Generation settings that change what greedy decoding writes (transformers' GenerationConfig).
_DECODING = (
    "eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "repetition_penalty", "encoder_repetition_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "force_words_ids", "suppress_tokens", "begin_suppress_tokens",
    "forced_bos_token_id", "forced_eos_token_id", "sequence_bias", "guidance_scale", "exponential_decay_length_penalty", "min_length",
    "min_new_tokens", "max_length", "max_new_tokens", "max_time", "stop_strings", "num_beams", "length_penalty", "early_stopping",
    "diversity_penalty", "constraints", "watermarking_config", "token_healing", "cache_implementation", "dola_layers",
    "renormalize_logits", "remove_invalid_values",
)  # fmt: skip
_FROM_THE_MODEL = (
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
)  # where no generation_config.json says them
_TOKENIZER = (
    "tokenizer_class",
    "add_bos_token",
    "add_eos_token",
    "eos_token",
    "bos_token",
    "padding_side",
    "truncation_side",
)
# Keys of config.json that say how large a model is, who wrote it, or what stands elsewhere in a report.
_SIZES = frozenset({
    "hidden_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "num_hidden_layers", "n_layer", "n_layers",
    "num_layers", "num_attention_heads", "num_key_value_heads", "n_head", "num_heads", "head_dim", "num_experts", "num_local_experts",
    "n_routed_experts", "num_experts_per_tok", "vocab_size", "max_position_embeddings", "n_positions", "n_embd", "n_inner", "d_model", "d_ff",
    "ffn_dim", "layer_types", "max_window_layers", "pruned_heads",
})  # fmt: skip
_ELSEWHERE = frozenset({
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "quantization_config", "use_cache",
    "auto_map", "_attn_implementation_autoset", *_FROM_THE_MODEL,
})  # fmt: skip
_SHOWN = 60  # characters of a value


def differences(facts: Mapping[Side, ModelFacts]) -> tuple[str, ...]:
    """What differs between the sides, most telling first: arguments, decoding, tokenizer, configuration. Sizes are the pruner's business.

    A model that a server or a file stands for tells its arguments alone.
    """
    if set(facts) != {"original", "pruned"}:
        return ()
    original, pruned = facts["original"], facts["pruned"]
    found = [*_parted("arguments", dict(original.arguments), dict(pruned.arguments))]
    if all(model.served is None and model.file is None and model.gguf is None for model in (original, pruned)):
        one, other = original.folder, pruned.folder
        found += _parted("generation_config.json", _decoding(one), _decoding(other))
        found += _parted("tokenizer_config.json", *(_tokenizer(model.tokenizer.folder) for model in (original, pruned)))
        found += _parted("config.json", _behaviour(one), _behaviour(other))
    return tuple(found)


def _parted(where: str, original: Mapping[str, Any], pruned: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*original, *pruned]):
        before, after = original.get(key), pruned.get(key)
        if before != after:
            yield f"{key} {_shown(before)} -> {_shown(after)} ({where})"


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _decoding(folder: Path) -> dict[str, Any]:
    written, config = read_json(folder / "generation_config.json"), read_json(folder / "config.json")
    found = {key: written[key] for key in _DECODING if written.get(key) is not None}
    if written.get("do_sample"):
        found["do_sample"] = True
    return {key: config[key] for key in _FROM_THE_MODEL if config.get(key) is not None and not written} | found


def _tokenizer(folder: Path) -> dict[str, Any]:
    written = read_json(folder / "tokenizer_config.json")
    found = {key: written[key] for key in _TOKENIZER if written.get(key) is not None}
    return {key: value.get("content") if isinstance(value, dict) else value for key, value in found.items()}


def _behaviour(folder: Path) -> dict[str, Any]:
    written = read_json(folder / "config.json")
    every = written | (written.get("text_config") or {})
    return {
        key: value
        for key, value in every.items()
        if key not in _SIZES | _ELSEWHERE and not key.endswith("_config") and value is not None
    }
