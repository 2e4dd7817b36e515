"""NNCF: half of the weights by magnitude; its model with masks beside the weights, and stripped of them."""

import sys
from pathlib import Path

import nncf
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])
tokenizer = AutoTokenizer.from_pretrained(base)
example = {"input_ids": torch.ones(1, 8, dtype=torch.long), "use_cache": False}
model = AutoModelForCausalLM.from_pretrained(base).eval()
pruned = nncf.prune(
    model,
    mode=nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_LOCAL,
    ratio=0.5,
    examples_inputs=example,
    ignored_scope=nncf.IgnoredScope(patterns=[".*lm_head.*", ".*embed.*"]),
)
(folder / "masks").mkdir(parents=True, exist_ok=True)
held = {name: tensor.clone().contiguous() for name, tensor in pruned.state_dict().items()}
print([name for name in held if "mask" in name][:3])
save_file(held, folder / "masks" / "model.safetensors", {"format": "pt"})
model.config.save_pretrained(folder / "masks")
tokenizer.save_pretrained(folder / "masks")
stripped = nncf.strip(pruned, do_copy=False, strip_format=nncf.StripFormat.IN_PLACE)
clean = AutoModelForCausalLM.from_pretrained(base)
clean.load_state_dict(
    {name: tensor for name, tensor in stripped.state_dict().items() if name in clean.state_dict()}, strict=True
)
clean.save_pretrained(folder / "stripped")
tokenizer.save_pretrained(folder / "stripped")
