"""What the engine does not run: models and requests that stay on lm-eval's own path, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lm_eval.models.utils import normalize_gen_kwargs
from transformers.generation import GenerationMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts

_LAYERS = frozenset({"full_attention", "sliding_attention"})
_MOVING = frozenset({"dynamic", "longrope"})  # rotary positions that change with the longest sequence of a pass
# Of a generation configuration: they end a text in their own way, or keep its memory in another.
_SETTINGS = ("max_new_tokens", "min_new_tokens", "min_length", "max_time", "stop_strings", "cache_implementation")


def why_not_model(lm: Any, facts: ModelFacts) -> str | None:
    """Why a model that lm-eval loaded is not the engine's; None where nothing speaks against it.

    Args:
        lm: lm-eval's model object.
        facts: of the model.
    """
    model = lm.model
    config = model.config.get_text_config()
    devices = {parameter.device for parameter in model.parameters()}
    ropes = _rope_types(config)
    adapters = getattr(model, "peft_config", {}).values()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    checks = {
        "it is not a decoder alone": lm.backend != "causal" or model.config.is_encoder_decoder,
        "its weights are quantised": bool(facts.quantised) and not facts.gguf,
        "it lies on several devices": len(devices) != 1,
        "it runs in mixed precision": lm.mixed_precision_dtype is not None,
        "its code is its own": not type(inner).__module__.startswith("transformers."),
        f"{type(inner).__name__} does not take transformers' attention interface": not inner._supports_attention_backend,  # noqa: SLF001
        "it has layers that are no attention": bool(set(getattr(config, "layer_types", None) or ()) - _LAYERS),
        "its adapter waits for a word": any(getattr(one, "alora_invocation_tokens", None) for one in adapters),
        "its positions depend on the longest sequence": bool(ropes & _MOVING),
    }
    return next((reason for reason, is_so in checks.items() if is_so), None)


def _rope_types(config: Any) -> set[str]:
    told = getattr(config, "rope_parameters", None) or {}
    kinds = [told, *(one for one in told.values() if isinstance(one, dict))]
    return {str(one.get("rope_type")) for one in kinds}


def why_not_generation(lm: Any, gen_kwargs: Mapping[str, Any]) -> str | None:
    """Why texts with these generation arguments are not the engine's; None where they are generated greedily and by nothing else.

    Args:
        lm: lm-eval's model object.
        gen_kwargs: as a task has them.
    """
    if getattr(lm, "think_end_token", None) is not None:
        return "what the model thinks is cut off"
    kwargs = normalize_gen_kwargs(dict(gen_kwargs), lm.max_gen_toks)
    for ours in ("until", "max_gen_toks"):
        kwargs.pop(ours, None)
    if not kwargs.get("do_sample") and kwargs.get("temperature") == 0.0:
        kwargs.pop("temperature")
    if named := sorted({"max_length", "eos_token_id"} & kwargs.keys()):
        return f"a task generates with {', '.join(named)}"
    config, unknown = lm.model._prepare_generation_config(None, **kwargs)  # noqa: SLF001 - as `generate` does
    own = [name for name in _SETTINGS if getattr(config, name, None)]
    processors = lm.model._get_logits_processor(config, 1, device="cpu")  # noqa: SLF001
    checks = {
        f"a task generates with {', '.join(sorted(unknown))}": bool(unknown),
        "a task does not generate greedily": config.get_generation_mode() is not GenerationMode.GREEDY_SEARCH,
        f"the model's generation settings have {', '.join(own)}": bool(own),
        "the model's generation settings change what it says": bool(processors),
    }
    return next((reason for reason, is_so in checks.items() if is_so), None)
