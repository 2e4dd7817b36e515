"""torch-pruning: a quarter of the MLP's rows taken out of one layer; saved with the sizes in the configuration, and with the old ones."""

import json
import sys
from pathlib import Path

import torch
import torch_pruning as tp
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = (Path(argument) for argument in sys.argv[1:3])


def save(name: str, layers: list[int]) -> Path:
    """Take rows out of some layers, and save."""
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = torch.ones(1, 8, dtype=torch.long)
    graph = tp.DependencyGraph().build_dependency(model, example_inputs={"input_ids": ids, "use_cache": False})
    for layer in layers:
        mlp = model.model.layers[layer].mlp
        group = graph.get_pruning_group(mlp.gate_proj, tp.prune_linear_out_channels, idxs=list(range(16)))
        group.prune()
    model.save_pretrained(folder / name)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / name)
    return folder / name


corrected = save("corrected", [0, 1])
config = json.loads((corrected / "config.json").read_text())
config["intermediate_size"] -= 16
(corrected / "config.json").write_text(json.dumps(config))
save("old-config", [1])
