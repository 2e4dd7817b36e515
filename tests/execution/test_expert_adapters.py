"""An adapter on a stack of experts is not counted, and it is said: its base's zeros would be told as its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft import LoraConfig, get_peft_model
from support.scripted import write_tokenizer
from transformers import GptOssConfig, GptOssForCausalLM

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.inspector import TorchInspector
from pytest_prunegate.input.model_argument import parse_model

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_said_that_it_is_not_counted(tmp_path: Path) -> None:
    config = GptOssConfig(
        vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        num_local_experts=4, num_experts_per_tok=2, pad_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GptOssForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    write_tokenizer(tmp_path / "base")
    changes = LoraConfig(
        r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj"], init_lora_weights=False
    )
    get_peft_model(model, changes).save_pretrained(tmp_path / "adapter")
    argument = parse_model("pruned", str(tmp_path / "adapter"), tmp_path, peft_base=str(tmp_path / "base"))
    found = read_facts(locate(argument, cache_dir=None), inspector=TorchInspector(tmp_path / "layouts")).sparsity
    assert found.share is None
    assert "experts is changed otherwise than by one matrix" in str(found.problem)
