"""llm-compressor: half of the weights by magnitude, saved as they are, and then as int8 and as fp8."""

import sys
from pathlib import Path

import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import MagnitudePruningModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])
tokenizer = AutoTokenizer.from_pretrained(base)


def pruned() -> torch.nn.Module:
    """A model half of whose linear weights are zero."""
    model = AutoModelForCausalLM.from_pretrained(base)
    recipe = MagnitudePruningModifier(
        init_sparsity=0.5,
        final_sparsity=0.5,
        start=0.0,
        end=1.0,
        targets=["re:.*_proj.weight"],
        mask_structure="unstructured",
    )
    try:
        oneshot(model=model, recipe=recipe)
    except Exception as error:  # noqa: BLE001 - a one-shot run of this modifier wants more than it documents
        print(f"MagnitudePruningModifier: {type(error).__name__}: {error}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_proj" in name and not (parameter == 0).any():
                parameter.view(-1)[parameter.abs().view(-1).argsort()[: parameter.numel() // 2]] = 0
    return model


for name, scheme in (("sparse", None), ("int8", "W8A8"), ("fp8", "FP8_DYNAMIC")):
    model = pruned()
    if scheme:
        oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]))
    model.save_pretrained(folder / name, save_compressed=True)
    tokenizer.save_pretrained(folder / name)
