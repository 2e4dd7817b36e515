"""The default executor on a graphics card: how fast it is beside lm-eval's path and the card's own limits, and that it survives full memory.

    python evidence/gpu.py OUTPUT.json [--small]

Llamas of 1 and 7 billion weights in bfloat16, random, made on the card from a configuration: nothing is downloaded. For each: texts a second and
choices a second of the engine and of lm-eval's transformers backend at its best batch size; the card's measured memory and matrix
speed, and the share of them that decoding reaches; memory that is too small by far at three lengths of prompts; and how many texts
are those of lm-eval's path. It ends within 8 minutes. `--small` runs all of it on tiny models, on a CPU where there is no card; memory then runs out
by injection. Exits with 1 where an answer is missing.
"""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pytest_prunegate.execution.fast import fast_model
from pytest_prunegate.execution.fast.key_values import KeyValues
from pytest_prunegate.execution.gate_lm import GateLM
from pytest_prunegate.execution.lm_eval_model import LmEvalModel
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, Conditions, Request, canonical_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.tiny import write_tiny_llama

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.store import Response

    Answers = dict[Request, Response]

VOCABULARY = 32_000
CONDITIONS = Conditions(backend="fast", dtype="bfloat16", max_length=4096, max_gen_toks=256, lm_eval="any")
WORDS = (
    "What",
    "is",
    "the",
    "number",
    "1",
    "2",
    "3",
    "It",
    "so.",
    "Question:",
    "Answer:",
    "yes",
    "no",
    "True",
    "False",
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model, and what it is asked: texts of `generated` tokens behind prompts of about `prompt` words, and questions of four choices."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    texts: int = 192
    questions: int = 96
    prompt: int = 300
    generated: int = 96
    batch_sizes: tuple[int, ...] = (16, 64, 128)
    lengths: tuple[int, ...] = (100, 300, 900)


CARD = (
    Size(name="1B", hidden=2048, inner=5632, layers=22, heads=32, key_heads=4),
    Size(name="7B", hidden=4096, inner=14336, layers=32, heads=32, key_heads=8),
)
SMALL = tuple(
    Size(
        name=name, hidden=hidden, inner=2 * hidden, layers=2, heads=4, key_heads=2, texts=12, questions=6, prompt=20, generated=8,
        batch_sizes=(1, 4), lengths=(5, 20, 60),
    )
    for name, hidden in (("tiny", 32), ("small", 64))
)  # fmt: skip


class Loaded(fast_model.FastModel):
    """The default executor on a model that is in memory already."""

    def __init__(self, lm: GateLM, name: str) -> None:
        self._lm, self._batch_size, self.measures_memory, self.where = lm, "1", False, str(lm.device)
        self._facts = SimpleNamespace(title=name, side="original", fingerprint=name, quantised=None, gguf=None)  # type: ignore[assignment]
        self._begin(CONDITIONS)


class Stock(LmEvalModel):
    """lm-eval's path on the same model."""

    def __init__(self, lm: GateLM) -> None:
        self._lm = lm


def made(size: Size, device: str, folder: Path) -> GateLM:
    """A model of random weights on the card, as lm-eval holds it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=size.hidden, intermediate_size=size.inner, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.key_heads, max_position_embeddings=CONDITIONS.max_length,
        dtype=torch.bfloat16, eos_token_id=None, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(usual)
    return GateLM(
        pretrained=model, tokenizer=AutoTokenizer.from_pretrained(folder), weights=(), device=device, dtype="bfloat16", batch_size=1,
        max_length=CONDITIONS.max_length,
    )  # fmt: skip


def texts(size: Size, count: int, words: int) -> list[Request]:
    """Requests for texts, each behind a prompt of its own."""
    drawn = random.Random(words)  # noqa: S311 - a script of its own
    arguments = canonical_json({"until": ["never"], "max_gen_toks": size.generated})
    return [
        Request(kind=GENERATION, context=" ".join(drawn.choices(WORDS, k=words)), gen_kwargs=arguments)
        for _ in range(count)
    ]


def questions(size: Size) -> list[Request]:
    """Requests for four choices behind prompts that begin alike."""
    drawn = random.Random(0)  # noqa: S311
    examples = " ".join(drawn.choices(WORDS, k=size.prompt))
    contexts = [f"{examples} {' '.join(drawn.choices(WORDS, k=size.prompt // 5))}" for _ in range(size.questions)]
    return [
        Request(kind=LOGLIKELIHOOD, context=context, continuation=f" {choice}")
        for context in contexts
        for choice in (" ".join(drawn.choices(WORDS, k=6)) for _ in range(4))
    ]


def timed(executor: LmEvalModel, requests: Sequence[Request], size: int | None = None) -> tuple[float, Answers]:
    """Seconds that requests take, in batches of a size or all at once; the card's work included."""
    answers: Answers = {}
    _wait()
    began = time.perf_counter()
    for start in range(0, len(requests), size or len(requests)):
        executor.ask(requests[start : start + (size or len(requests))], answers.__setitem__)
    _wait()
    return time.perf_counter() - began, answers


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def limits(device: str, *, small: bool) -> dict[str, float]:
    """Bytes a second that memory copies, counted both ways, and bfloat16 operations a second of a product of matrices."""
    side = 512 if small else 8192
    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    store = torch.empty(side * side * 16, device=device, dtype=torch.uint8)
    copy, product = (_fastest(work) for work in (store.clone, lambda: one @ one))
    return {"bytes_per_second": 2 * store.nbytes / copy, "operations_per_second": 2 * side**3 / product}


def _fastest(work: Any) -> float:
    taken = []
    for _ in range(8):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        taken.append(time.perf_counter() - began)
    return min(taken)


def at_best(lm: GateLM, requests: Sequence[Request], batch_sizes: Sequence[int]) -> tuple[int, float]:
    """lm-eval's best batch size and its requests a second there; a size that does not fit is passed over."""
    found: dict[int, float] = {}
    for size in batch_sizes:
        some = requests[: 2 * size]
        lm.batch_size_per_gpu = size
        try:
            found[size] = len(some) / timed(Stock(lm), some, size)[0]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    best = max(found, key=lambda size: found[size])
    return best, found[best]


@contextmanager
def without_room(executor: Loaded, *, small: bool) -> Iterator[None]:
    """Have the engine lay out four times the memory that is free; on a CPU, where that would end the process, refuse more than two slots."""
    usual, of_layer = executor._memory, KeyValues._of_layer  # noqa: SLF001 - evidence looks inside

    def refused(kept: KeyValues, *given: Any) -> Any:
        if kept.slots > 2:
            raise torch.OutOfMemoryError("out of memory (injected)")
        return of_layer(kept, *given)

    if small:
        KeyValues._of_layer = refused  # type: ignore[method-assign]  # noqa: SLF001
    else:
        executor._engine._room = fast_model.Room(slots=1 << 14, tokens=8192, together=True)  # type: ignore[union-attr]  # noqa: SLF001
        executor._memory = lambda: 4 * usual()  # type: ignore[method-assign]  # noqa: SLF001
        executor._engine._memory = executor._memory  # type: ignore[union-attr]  # noqa: SLF001
    try:
        yield
    finally:
        KeyValues._of_layer = of_layer  # type: ignore[method-assign]  # noqa: SLF001


def survived(lm: GateLM, size: Size, *, small: bool) -> list[dict[str, Any]]:
    """For each length of prompts: texts that came, of how many, and the slots that were left."""
    found = []
    for words in size.lengths:
        executor = Loaded(lm, f"{size.name} {words}")
        asked = texts(size, size.texts // 2, words)
        fast_model._KNOWN.clear()  # noqa: SLF001
        executor.ask(asked[:2], lambda *_: None)  # the trial and the check
        before = executor._engine._room.slots  # type: ignore[union-attr]  # noqa: SLF001
        with without_room(executor, small=small):
            _, answers = timed(executor, asked)
        left = executor._engine._room.slots  # type: ignore[union-attr]  # noqa: SLF001
        found.append(
            {"words": words, "texts": len(answers), "asked": len(asked), "slots_before": before, "slots_left": left}
        )
        executor.free_memory()
    return found


def evidence_of(size: Size, device: str, folder: Path, *, small: bool) -> dict[str, Any]:
    """All figures of a model."""
    lm = made(size, device, folder)
    executor, asked, chosen = Loaded(lm, size.name), texts(size, size.texts, size.prompt), questions(size)
    executor.ask([asked[0], *chosen[:4]], lambda *_: None)  # trial, check, and kernels that load on first use
    seconds, answers = timed(executor, asked)
    choice_seconds, choice_answers = timed(executor, chosen)
    best, rate = at_best(lm, asked, size.batch_sizes)
    choice_best, choice_rate = at_best(lm, chosen, size.batch_sizes)
    lm.batch_size_per_gpu = 1
    usual = timed(Stock(lm), asked[:8], 1)[1]
    card = limits(device, small=small)
    weights = sum(parameter.nbytes for parameter in lm.model.parameters())
    tokens = size.generated * len(asked) / seconds
    executor.free_memory()
    result = {
        "model": asdict(size), "parameters": lm.model.num_parameters(), "answered": [len(answers), len(choice_answers)],
        "engine": {
            "texts_per_second": len(asked) / seconds, "choices_per_second": len(chosen) / choice_seconds, "tokens_per_second": tokens,
        },
        "lm_eval": {
            "texts_per_second": rate, "batch_size": best, "choices_per_second": choice_rate, "batch_size_of_choices": choice_best,
        },
        "ratios": {"texts": len(asked) / seconds / rate, "choices": len(chosen) / choice_seconds / choice_rate},
        "limits": card,
        "share_of_memory_speed": tokens / 128 * weights / card["bytes_per_second"],  # at most 128 texts a pass read the weights once
        "texts_of_lm_eval": [sum(answers[request].text == response.text for request, response in usual.items()), len(usual)],
        "remarks": list(executor.remarks), "without_room": survived(lm, size, small=small),
    }  # fmt: skip
    del lm, executor
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return result


def main(output: Path, *, small: bool) -> int:
    """Measure, and write the figures as JSON."""
    logging.disable(logging.WARNING)
    began = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not small:
        sys.exit("There is no graphics card here. --small runs tiny models on the CPU.")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_tiny_llama(Path(folder) / "tokenizer")
        found = [evidence_of(size, device, tokenizer, small=small) for size in (SMALL if small else CARD)]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    complete = all(
        one["answered"] == [one["model"]["texts"], 4 * one["model"]["questions"]]
        and all(part["texts"] == part["asked"] for part in one["without_room"])
        for one in found
    )
    evidence = {
        "commit": commit, "met": complete, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "torch": torch.__version__,
        "seconds": round(time.monotonic() - began), "models": found,
    }  # fmt: skip
    output.write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(evidence))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), small="--small" in sys.argv[2:]))
