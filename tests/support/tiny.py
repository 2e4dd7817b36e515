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
        broken: whether weights are so large that the logits are infinite.
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
            model.model.layers[1].mlp.up_proj.weight[:] = 3e38
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(
    folder: Path, base: Path, *, seed: int = 0, recorded: str | None = None, embeddings: bool = False
) -> Path:
    """A LoRA adapter on a model, with random weights, so that it changes every answer.

    Args:
        folder: takes the adapter.
        base: the model's directory.
        seed: of the weights.
        recorded: what the adapter calls its base; None for the base's directory.
        embeddings: whether the base's embeddings are saved with it, as for added tokens.
    """
    import json

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)
    model.save_pretrained(folder, save_embedding_layers=embeddings)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": recorded or str(base)}
    path.write_text(json.dumps(config))
    return folder


def write_merged(folder: Path, base: Path, adapter: Path) -> Path:
    """The whole model that an adapter on its base comes to."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload().save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def write_gguf(path: Path, source: Path, *, zeros: int = 0, quantised: bool = False) -> Path:
    """A tiny llama as one GGUF file with its tokenizer in it.

    Args:
        path: the file.
        source: a directory of `write_tiny_llama`.
        zeros: how many weights of the first layer's gate_proj are set to zero.
        quantised: whether the gate_proj of all layers are packed as Q8_0.
    """
    import json

    from gguf import GGMLQuantizationType, GGUFWriter, quantize
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text())
    tokenizer = json.loads((source / "tokenizer.json").read_text())["model"]
    weights = load_file(source / "model.safetensors")
    weights["model.layers.0.mlp.gate_proj.weight"].reshape(-1)[:zeros] = 0
    path.parent.mkdir(exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(tokenizer["vocab"], key=tokenizer["vocab"].get))
    writer.add_token_types([3] + [1] * (config["vocab_size"] - 1))  # the first is a control token
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(value=False)
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, stored in weights.items():
        tensor, kind = stored, name.split(".")[-2]
        if kind in heads:  # llama.cpp interleaves the halves that rotate together
            tensor = tensor.reshape(heads[kind], 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        if quantised and kind == "gate_proj":
            packed = GGMLQuantizationType.Q8_0
            writer.add_tensor(_gguf_name(name), quantize(tensor, packed), raw_dtype=packed)
        else:
            writer.add_tensor(_gguf_name(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    for theirs, ours in (
        ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"), ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
    ):  # fmt: skip
        name = name.replace(theirs, ours)
    return name


TEXT = "What is the number? It is so. Question: 1 2 3 passage\n\nand even and odd, true False yes no 4567. " * 40
