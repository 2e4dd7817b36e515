"""modelopt: half of the weights by magnitude; its model with masks beside the weights, and after its export."""

import sys
from pathlib import Path

import modelopt.torch.sparsity as mts
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])
tokenizer = AutoTokenizer.from_pretrained(base)
model = mts.sparsify(AutoModelForCausalLM.from_pretrained(base), mode="sparse_magnitude")
(folder / "masks").mkdir(parents=True, exist_ok=True)
held = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
print(sorted({name.rpartition(".")[2] for name in held}))
dense = AutoModelForCausalLM.from_pretrained(base).state_dict()
save_file(
    held | {name: tensor for name, tensor in dense.items() if name in held},
    folder / "masks" / "model.safetensors",
    {"format": "pt"},
)
model.config.save_pretrained(folder / "masks")
tokenizer.save_pretrained(folder / "masks")
mts.export(model).save_pretrained(folder / "exported")
tokenizer.save_pretrained(folder / "exported")
