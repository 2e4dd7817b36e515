"""peft: a LoRA adapter on a base half of whose weights are zero; merged into it; and a state dict of the wrapped model."""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(base)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if "_proj" in name:
            parameter.view(-1)[::2] = 0
tokenizer = AutoTokenizer.from_pretrained(base)
model.save_pretrained(folder / "sparse-base")
tokenizer.save_pretrained(folder / "sparse-base")
settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "up_proj"], init_lora_weights=False)
wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "sparse-base"), settings)
wrapped.save_pretrained(folder / "adapter")
(folder / "wrapped").mkdir(parents=True, exist_ok=True)
held = {name: tensor.clone() for name, tensor in wrapped.state_dict().items() if "lora_" not in name}
save_file(held, folder / "wrapped" / "model.safetensors", {"format": "pt"})
wrapped.get_base_model().config.save_pretrained(folder / "wrapped")
tokenizer.save_pretrained(folder / "wrapped")
wrapped.merge_and_unload().save_pretrained(folder / "merged")
tokenizer.save_pretrained(folder / "merged")
