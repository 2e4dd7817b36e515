"""Whether the weights that are counted are those that models multiply with, for architectures of transformers built tiny.

Each is saved with zeros among its weights. The gate reads the files; torch counts over the loaded model, among the parameters that were
seen as operands of matrix products and convolutions in a forward pass, which shares nothing with the package's own rules.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.inspector import TorchInspector
from pytest_prunegate.input.model_argument import parse_model

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST = 57
VOCABULARY, TOKENS, SEED = 64, 48, 0
SPARED = ("norm", "embed", "router", "gate.weight", "lm_head")  # of what is pruned here; the counts do not depend on it
# Of every configuration that has such a key.
TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "d_model": 32, "n_embd": 32, "dim": 32, "intermediate_size": 48, "ffn_dim": 48,
    "d_ff": 48, "ffn_hidden_size": 48, "n_inner": 48, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_hidden_layers": 2,
    "num_layers": 2, "n_layer": 2, "n_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_decoder_layers": 2,
    "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "n_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_key_value_heads": 2, "multi_query_group_num": 2, "head_dim": 8, "d_kv": 8, "rotary_dim": 4, "max_position_embeddings": 64,
    "n_positions": 64, "max_seq_len": 64, "seq_length": 64, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2,
    "moe_k": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "state_size": 8, "mamba_d_state": 8, "mamba_d_head": 8, "mamba_n_heads": 8, "mamba_n_groups": 1,
    "first_k_dense_replace": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "num_codebooks": 1, "lru_width": 32, "attention_window_size": 16,
    "sliding_window": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": VOCABULARY, "dropout": 0.0,
}  # fmt: skip
# What one architecture needs besides.
OWN: dict[str, dict[str, Any]] = {
    "codegen": {"n_ctx": 64},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
    },
    "dots1": {"n_shared_experts": 1},
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_d_head": 8, "mamba_n_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "gptj": {"n_ctx": 64},
    "jamba": {
        "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False,
    },
    "lfm2_moe": {"num_dense_layers": 1, "layer_types": ["full_attention", "conv"]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "opt": {"word_embed_proj_dim": 24},
    "phimoe": {"rope_scaling": None},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 3, "attn_layer_offset": 2, "layers_block_type": None},
}  # fmt: skip
MODEL_TYPES = (
    "apertus", "arcee", "bamba", "bart", "bigbird_pegasus", "biogpt", "bitnet", "blenderbot", "blenderbot-small", "bloom", "codegen", "cohere",
    "cohere2", "ctrl", "dbrx", "deepseek_v2", "deepseek_v3", "diffllama", "doge", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "falcon",
    "falcon_h1", "falcon_mamba", "flex_olmo", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "glm4_moe", "gpt2", "gpt_bigcode", "gpt_neo",
    "gpt_neox", "gpt_neox_japanese", "gpt_oss", "gptj", "granite", "granitemoe", "granitemoehybrid", "granitemoeshared", "helium",
    "hunyuan_v1_dense", "hunyuan_v1_moe", "jamba", "jetmoe", "led", "lfm2", "lfm2_moe", "llama", "llama4_text", "longt5", "m2m_100", "mamba",
    "mamba2", "marian", "mbart", "minimax", "ministral", "mistral", "mixtral", "mpt", "mt5", "mvp", "nemotron", "olmo", "olmo2", "olmo3", "olmoe",
    "opt", "pegasus", "pegasus_x", "persimmon", "phi", "phi3", "phimoe", "plbart", "prophetnet", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    "qwen3_next", "recurrent_gemma", "rwkv", "seed_oss", "smollm3", "stablelm", "starcoder2", "switch_transformers", "t5", "umt5", "vaultgemma",
    "xglm", "xlstm", "zamba", "zamba2",
)  # fmt: skip
_PRODUCTS = frozenset({
    "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "matmul", "linear", "_grouped_mm", "_scaled_mm", "convolution", "einsum",
})  # fmt: skip
_COPIES = ("clone", "_to_copy")
_WITH_BIAS = ("addmm", "baddbmm", "addmv")  # whose first operand is only added
_GLOBAL = ("led",)  # which have matrices for tokens that attend to all
_ROUTER = (
    "router",
    "gating",
    ".gate.",
    "shared_expert_gate",
    "block_sparse_moe.gate",
)  # in the names of parameters, for this table alone


class Operands(TorchDispatchMode):
    """Notes the memory of whatever is multiplied as a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()
        self._copies: list[torch.Tensor] = []  # kept, so that no other tensor gets their memory
        self._copied: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in _PRODUCTS and not (
            name == "convolution" and args[8] > 1 and args[8] == args[0].shape[1]
        ):  # one filter a channel
            multiplied = args[1:] if name in _WITH_BIAS else args
            self.seen |= {self._memory(one) for one in _tensors(multiplied)}
        result = func(*args, **(kwargs or {}))
        if name in _COPIES:
            self._copies.append(result)
            self._copied[result.untyped_storage().data_ptr()] = self._memory(args[0])
        return result

    def _memory(self, tensor: torch.Tensor) -> int:
        """Where a tensor's numbers are, or those that it is a copy of."""
        place = tensor.untyped_storage().data_ptr()
        return self._copied.get(place, place)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def tiny_config(model_type: str) -> Any:
    """A configuration of a few thousand weights."""
    usual = AutoConfig.for_model(model_type)
    taken = {key: value for key, value in TINY.items() if key in usual.to_dict()}
    return AutoConfig.for_model(model_type, **taken | OWN.get(model_type, {}))


def build(model_type: str, folder: Path) -> Any:
    """Save a tiny model with zeros, and load it."""
    torch.manual_seed(SEED)
    config = tiny_config(model_type)
    is_seq2seq = model_type in transformers.models.auto.modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    auto = AutoModelForSeq2SeqLM if is_seq2seq else AutoModelForCausalLM
    model = auto.from_config(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.1)
            if parameter.ndim > 1 and not any(part in name for part in SPARED):
                parameter[torch.rand_like(parameter) < 0.4] = 0
    model.save_pretrained(folder)
    write_tokenizer(folder)
    loaded, told = auto.from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
    )
    assert not told["missing_keys"], told["missing_keys"]
    return loaded.eval()


def write_tokenizer(folder: Path) -> None:
    """Any tokenizer: the gate reads no model without one."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def multiplied(model: Any) -> dict[str, dict[str, int]]:
    """Zeros and elements of what a forward pass multiplies with, without the head: of matrices, and of routers."""
    torch.manual_seed(SEED)
    ids = torch.randint(3, VOCABULARY, (2, TOKENS))
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    if model.config.model_type in _GLOBAL:
        inputs["global_attention_mask"] = torch.ones_like(ids)
    with Operands() as operands, torch.no_grad():
        model(**inputs, use_cache=False)
    ends = {
        id(module.weight)
        for module in (model.get_output_embeddings(), model.get_input_embeddings())
        if module is not None
    }
    found = {kind: {"zeros": 0, "elements": 0} for kind in ("matrices", "routers")}
    for name, parameter in model.named_parameters():
        if id(parameter) not in ends and parameter.ndim > 1 and parameter.untyped_storage().data_ptr() in operands.seen:
            kind = "routers" if any(part in f".{name}" for part in _ROUTER) else "matrices"
            found[kind]["zeros"] += int((parameter == 0).sum())
            found[kind]["elements"] += parameter.numel()
    return found


def counted(folder: Path, cache: Path) -> dict[str, Any]:
    """What the gate counts in the files."""
    sparsity = read_facts(
        locate(parse_model("pruned", str(folder), folder), cache_dir=None), inspector=TorchInspector(cache)
    ).sparsity
    if sparsity.problem:
        return {"problem": sparsity.problem}
    return {
        "matrices": {"zeros": sparsity.zeros, "elements": sparsity.elements},
        "routers": {"zeros": sparsity.router_zeros, "elements": sparsity.router_elements},
    }


def compared(model_type: str, folder: Path) -> dict[str, Any]:
    """Both counts of one architecture; or why it cannot be built."""
    try:
        model = build(model_type, folder / "model")
        expected = multiplied(model)
    except Exception as error:  # noqa: BLE001 - an architecture that cannot be built so is no evidence either way
        return {
            "type": model_type,
            "not_built": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200],
        }
    found = counted(folder / "model", folder / "cache")
    return {
        "type": model_type,
        "class": type(model).__name__,
        "torch": expected,
        "gate": found,
        "equal": found == expected,
    }


def main(output: Path, only: tuple[str, ...]) -> int:
    """Compare all, and write the evidence."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    results = []
    for model_type in only or MODEL_TYPES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                results.append(compared(model_type, Path(folder)))
            except Exception as error:  # noqa: BLE001 - the gate's own error is a finding
                traceback.print_exc()
                results.append(
                    {"type": model_type, "gate": {"problem": f"{type(error).__name__}: {error}"}, "equal": False}
                )
        print(json.dumps(results[-1]), flush=True)
    built = [result for result in results if "equal" in result]
    different = [result["type"] for result in built if not result["equal"]]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    evidence = {
        "commit": commit, "libraries": {name: version(name) for name in ("torch", "transformers")}, "built": len(built),
        "equal": len(built) - len(different), "different": different, "architectures": results,
    }  # fmt: skip
    output.write_text(json.dumps(evidence, indent=1) + "\n")
    print(f"{len(built)} architectures, {len(different)} different")
    return 1 if different or (len(built) < LEAST and not only) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), tuple(sys.argv[2:])))
