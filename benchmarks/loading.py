"""What the second opinion on a loaded model costs: loading with it over loading without it.

    python benchmarks/loading.py [CHECKPOINT] [DEVICE]

Without a checkpoint, a Llama of the shape of Llama 3.2 1B is made (1.0 billion bf16 weights, 2.1 GB). It is loaded by the gate's class
with and without the comparison, in turn, many times, from files that the system has in memory, which is when the share is largest. The
ratio is the median over pairs; times depend on the machine and decide nothing. The last line is one JSON object.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - a script of its own
import transformers  # noqa: TID253

from pytest_prunegate.checkpoint.files import weight_files
from pytest_prunegate.execution import gate_lm

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 30


class Nothing:
    """Stands in the place of the sample, and compares nothing."""

    def compare(self, *_: Any) -> int:
        """Nothing is left unverified."""
        return 0


@contextlib.contextmanager
def unheard(_: Any) -> Iterator[None]:
    """Listens to nothing."""
    yield


def write_model(folder: Path) -> Path:
    """A Llama of the usual shape, with random weights and a tokenizer of a few words."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=32_000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8,
        dtype="bfloat16",
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="[UNK]").save_pretrained(folder)
    return folder


def seconds(folder: Path, device: str) -> float:
    """Time of one load, until its last byte is there."""
    gc.collect()
    began = time.perf_counter()
    lm = gate_lm.GateLM(
        pretrained=str(folder), weights=weight_files(folder, {}), device=device, dtype="auto", batch_size=1
    )
    for parameter in lm.model.parameters():  # a mapped file is not read before it is asked for
        parameter.sum()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main(folder: Path, device: str) -> None:
    """Measure and print."""
    real = gate_lm.heard, gate_lm.LoadedSample
    times: dict[str, list[float]] = {"with": [], "without": []}
    seconds(folder, device)
    for number in range(ROUNDS):
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            gate_lm.heard, gate_lm.LoadedSample = real if kind == "with" else (unheard, Nothing)
            times[kind].append(seconds(folder, device))
    pairs = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    result = {
        "with_over_without": round(statistics.median(pairs), 4), "with_s": round(statistics.median(times["with"]), 4),
        "without_s": round(statistics.median(times["without"]), 4), "rounds": ROUNDS, "device": device,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    transformers.logging.disable_progress_bar()
    place = sys.argv[2] if len(sys.argv) > 2 else "cpu"  # noqa: PLR2004
    if len(sys.argv) > 1 and sys.argv[1] != "-":
        main(Path(sys.argv[1]), place)
    else:
        with tempfile.TemporaryDirectory() as name:
            main(write_model(Path(name)), place)
