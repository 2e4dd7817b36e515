"""llm-compressor: half of the weights by magnitude, saved as they are, and then as int8 and as fp8; 2:4 by SparseGPT, and that packed as int4."""

import sys
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import MagnitudePruningModifier, SparseGPTModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])
tokenizer = AutoTokenizer.from_pretrained(base)
# W4A16 with groups that fit this small model's rows.
GROUPS_OF_32 = {
    "targets": ["Linear"],
    "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32},
}


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


def by_sparsegpt() -> torch.nn.Module:
    """A model of which SparseGPT left two of four."""
    model = AutoModelForCausalLM.from_pretrained(base)
    texts = [f"What is the number {number}? It is so." for number in range(16)]
    rows = Dataset.from_list([dict(tokenizer(text * 4)) for text in texts])
    recipe = SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=["Linear"], ignore=["lm_head"])
    oneshot(model=model, dataset=rows, recipe=recipe, max_seq_length=64, num_calibration_samples=len(texts))
    return model


def tell(name: str, model: torch.nn.Module) -> None:
    """What torch counts in the matrices of the decoder's layers, and how many groups of four have more than two numbers."""
    held = [one.detach() for key, one in model.named_parameters() if "_proj" in key]
    zeros, numbers = sum(int((one == 0).sum()) for one in held), sum(one.numel() for one in held)
    broken = sum(int(((one.reshape(-1, 4) != 0).sum(-1) > 2).sum()) for one in held)
    print(f"{name}: {zeros} of {numbers} are zero, {broken} groups break 2:4.")


for name, make, scheme in (
    ("sparse", pruned, None), ("two-four", by_sparsegpt, None), ("int8", pruned, "W8A8"), ("fp8", pruned, "FP8_DYNAMIC"),
    ("packed", by_sparsegpt, GROUPS_OF_32),
):  # fmt: skip
    model = make()
    tell(name, model)
    if scheme:
        asked = (
            {"targets": "Linear", "scheme": scheme}
            if isinstance(scheme, str)
            else {"config_groups": {"group_0": scheme}}
        )
        oneshot(model=model, recipe=QuantizationModifier(**asked, ignore=["lm_head"]))
    model.save_pretrained(folder / name, save_compressed=True)
    tokenizer.save_pretrained(folder / name)
