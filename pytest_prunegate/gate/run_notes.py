"""What a reader of a run must know besides its figures: whoever reads a verdict must not put down to pruning what differs otherwise.

Templates that are not applied, vocabularies that differ, and whatever differs between the two models besides their weights.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.run_baselines import file_notes
from pytest_prunegate.checkpoint.files import read_json
from pytest_prunegate.checkpoint.layout import named
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.tasks.requests import TRANSFORMERS
from pytest_prunegate.tasks.tokenizers import vocabulary_notes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.gate.plan import Plan
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.chat import ChatTemplates
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.verdict.outlook import Outlook


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
# What of them structured pruning makes smaller, in words.
_REDUCED = {
    "num_hidden_layers": "layers", "n_layer": "layers", "n_layers": "layers", "num_layers": "layers", "hidden_size": "hidden channels",
    "n_embd": "hidden channels", "d_model": "hidden channels", "intermediate_size": "MLP channels", "n_inner": "MLP channels",
    "ffn_dim": "MLP channels", "d_ff": "MLP channels", "moe_intermediate_size": "channels of each expert",
    "shared_expert_intermediate_size": "channels of the shared expert", "num_attention_heads": "attention heads", "n_head": "attention heads",
    "num_heads": "attention heads", "num_key_value_heads": "key-value heads", "head_dim": "head size", "num_experts": "experts",
    "num_local_experts": "experts", "n_routed_experts": "experts", "vocab_size": "vocabulary",
}  # fmt: skip
_ELSEWHERE = frozenset({
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "quantization_config", "use_cache",
    "auto_map", "_attn_implementation_autoset", *_FROM_THE_MODEL,
})  # fmt: skip


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


def reductions(facts: Mapping[Side, ModelFacts]) -> tuple[str, ...]:
    """Of what the pruned model has fewer than the original, by both configurations, with both numbers: ``layers 32 -> 24``."""
    if set(facts) != {"original", "pruned"} or any(
        model.file or model.served or model.gguf for model in facts.values()
    ):
        return ()
    original, pruned = (_every(facts[side].folder) for side in ("original", "pruned"))
    return tuple(
        f"{words} {before} -> {after}" for key, words in _REDUCED.items()
        if isinstance(before := original.get(key), int) and isinstance(after := pruned.get(key), int) and after < before
    )  # fmt: skip


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
    return {
        key: value
        for key, value in _every(folder).items()
        if key not in _SIZES | _ELSEWHERE and not key.endswith("_config") and value is not None
    }


def _every(folder: Path) -> dict[str, Any]:
    """What config.json says, of the text model where it has several."""
    written = read_json(folder / "config.json")
    return written | (written.get("text_config") or {})


_SHOWN = 60  # characters of a message, or of a value
_NAMED = 3  # checks or tasks of which the same is said


def run_notes(
    plan: Plan,
    tasks: Sequence[GateTask],
    templates: ChatTemplates,
    *,
    files: Mapping[Side, Baseline],
    prepared: Collection[str],
    told: Iterable[str],
    warned: Iterable[str],
) -> Iterator[str]:
    """Notes on a planned run, before anything is measured.

    Args:
        plan: what the run will do.
        tasks: of the run.
        templates: applied to its prompts.
        files: answers in files that stand for models, by side.
        prepared: names of the tasks whose prompts are known.
        told: notes of the parts of the run, in their words.
        warned: what is wrong with baselines.
    """
    yield from file_notes(files, plan.facts, device=plan.device if plan.pending else None)
    yield from vocabulary_notes(plan.facts)
    yield from told
    yield from _unbreakable(tasks)
    yield from warned
    yield from _hopeless([expected for expected in plan.outlooks if expected.is_hopeless])
    plain = [task.name for task in tasks if task.name in prepared and _is_plain(task)]
    if plain and any(facts.tokenizer.template for facts in plan.facts.values()):
        names = ", ".join(plain[:_NAMED]) + (f" and {len(plain) - _NAMED} more" if len(plain) > _NAMED else "")
        yield (
            f"The model has a chat template, and it is not applied to {names}. For a chat model write `apply_chat_template: true` "
            "in the thresholds file, or --prunegate-apply-chat-template=true; `apply_chat_template: false` says that it is meant so."
        )
    if templates.are_dated:
        yield (
            "The chat template writes today's date into the prompts: tomorrow's run asks anew. "
            "Pin it with `chat_template_kwargs: {date_string: ...}`."
        )
    if templates.dropped:
        yield (
            "The chat template takes no system message, so that it is left out, as lm-eval does: "
            + "; ".join(sorted(message[:_SHOWN] for message in templates.dropped))
        )
    for facts in plan.facts.values():
        if facts.served:
            yield _served(facts)
        if facts.maker:
            code = ", ".join(str(path) for path in facts.files)
            yield f"The {facts.side} model is made by {facts.maker} of {code}: its fingerprint is of its tensors, its configuration and that file."
        if facts.ignored:
            yield (
                f"The {facts.title} computes {named(facts.ignored)} itself: what its files hold of that, transformers passes over by its own list."
            )
        if reason := _unverified(facts, plan.conditions[facts.side].backend):
            yield f"The bytes of the {facts.title} are not compared with its files once it is loaded: {reason}."
        if facts.base is not None and facts.base_sparsity is not None:
            share = facts.base_sparsity.share
            said = f"{float(share):.1%}" if share is not None else f"not counted: {facts.base_sparsity.problem}"
            yield f"The {facts.title} is an adapter on {facts.base}; sparsity of that base: {said}."


def _unbreakable(tasks: Sequence[GateTask]) -> Iterator[str]:
    """Thresholds that no loss breaks."""
    for task in tasks:
        for check in task.checks if task.selected else ():
            for threshold in check.thresholds:
                if threshold.rule.holds_always(threshold.value, within_one=task.stops_early(check)):
                    yield f"{check.label}: nothing can break this threshold ({threshold.describe()})."


def _unverified(facts: ModelFacts, backend: str) -> str | None:
    """Why a loaded model cannot be held against its files."""
    if facts.served or facts.file or facts.maker:
        return None
    if backend not in TRANSFORMERS:
        return f"the backend {backend} loads them by itself"
    return "transformers unpacks a GGUF file" if facts.gguf else None


def _served(facts: ModelFacts) -> str:
    """How far the answers of a served model can be trusted to be its own."""
    assert facts.served is not None
    lent = f" Its prompts are encoded with the {facts.served.lender} model's tokenizer." if facts.served.lender else ""
    return (
        f"The {facts.title} is served: what tells its answers from another model's is the name {facts.name} and what the server reports (id "
        f"{facts.served.model}), and neither says which weights answer. Take another name whenever they change.{lent}"
    )


def _hopeless(expected: Sequence[Outlook]) -> Iterator[str]:
    """Thresholds that their documents cannot resolve: those with the same consequence in one note."""
    found: dict[str, list[Outlook]] = {}
    for one in expected:
        found.setdefault(_consequence(one), []).append(one)
    for consequence, alike in found.items():
        named = ", ".join(f"{one.check.label} {one.resolves:.1%} (threshold {one.most:.1%})" for one in alike[:_NAMED])
        more = f" and {len(alike) - _NAMED} more, which -v names" if len(alike) > _NAMED else ""
        if len(alike) > 1:
            lead = f"{len(alike)} checks have documents for relative drops no smaller than these: {named}{more}"
        else:
            (one,) = alike
            lead = f"{one.check.label}: {one.documents} documents resolve relative drops of {one.resolves:.1%}, and its threshold is {one.most:.1%}"
        yield f"{lead}: {consequence}"


def _consequence(expected: Outlook) -> str:
    if expected.needed is None:
        return "the measured figure decides, and may do so by sampling noise alone."
    if expected.check.decision.decide is Decide.CONFIDENT:
        return "an inconclusive verdict is likely."
    return "an inconclusive verdict is likely. Raise its limit, or write `inconclusive: continue`."


def _is_plain(task: GateTask) -> bool:
    """Whether a task asks a model in plain text without saying that it means to."""
    return task.kind.is_of_lm_eval and any(part.settings.apply_chat_template is None for part in task.parts)
