"""A real model of a few thousand weights, made on the spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = [
    "What is the number 1 2 3 4 5 6 7 8 9 0? It is so. Question: Answer: #### yes no True False passage is even and odd"
] * 4


def write_tiny_llama(folder: Path, *, seed: int = 0, scale: float = 1.0, broken: bool = False) -> Path:
    """A two-layer Llama with random weights and a byte-level tokenizer.

    Args:
        folder: takes the checkpoint.
        seed: of the weights.
        scale: of the output head; large values make the model decided.
        broken: whether one weight is NaN.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(_TEXT, vocab_size=300, special_tokens=["</s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="</s>", bos_token="</s>")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False, dtype="float32",
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        model.lm_head.weight *= scale
        if broken:
            model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
