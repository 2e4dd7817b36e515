"""Checkpoints and an executor for tests: the answers follow a script, so that every verdict is known beforehand.

The tasks are lm-eval's own gsm8k, squadv2 and boolq on small data; questions carry a number, and the script says
which numbers a model gets wrong, leaves empty, or has cut.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.execution.executor import Executor
from pytest_prunegate.execution.registry import EXECUTORS
from pytest_prunegate.store import Response
from pytest_prunegate.tasks import tokenizers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Bench

    from pytest_prunegate.checkpoint.facts import ModelFacts, TokenizerSource
    from pytest_prunegate.execution.executor import HandOn, Settings
    from pytest_prunegate.tasks.requests import Conditions, Request

_NUMBER = re.compile(r"number (\d+)")


def write_safetensors(
    path: Path, tensors: dict[str, list[float]], shapes: dict[str, tuple[int, ...]] | None = None
) -> None:
    """A small safetensors file of float32 vectors, or of what `shapes` says."""
    header: dict[str, Any] = {}
    blob = b""
    for name, values in tensors.items():
        data = struct.pack(f"<{len(values)}f", *values)
        shape = list((shapes or {}).get(name, (len(values),)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + blob)


def write_tokenizer(folder: Path) -> None:
    """A tokenizer that counts words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


_WIDTH, _WORDS = 6, 2
_LAYER = "model.layers.0."
# The smallest Llama: its configuration, and its parameters.
_LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": "float32", "hidden_size": _WIDTH, "intermediate_size": _WIDTH,
    "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": _WORDS, "tie_word_embeddings": False,
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (_WORDS, _WIDTH), "lm_head.weight": (_WORDS, _WIDTH), "model.norm.weight": (_WIDTH,),
    **{f"{_LAYER}{name}.weight": (_WIDTH,) for name in ("input_layernorm", "post_attention_layernorm")},
    **{f"{_LAYER}self_attn.{name}_proj.weight": (_WIDTH, _WIDTH) for name in "qkvo"},
    **{f"{_LAYER}mlp.{name}_proj.weight": (_WIDTH, _WIDTH) for name in ("gate", "up", "down")},
}  # fmt: skip


def write_weights(path: Path, *, seed: bytes = b"", **tensors: list[float]) -> None:
    """Weights of the smallest Llama, all 1 but for the embeddings, which follow from `seed`, and for `tensors`."""
    weights = {name: [1.0] * math.prod(shape) for name, shape in SHAPES.items()}
    weights["model.embed_tokens.weight"] = [float(byte) for byte in hashlib.sha256(seed).digest()[: _WORDS * _WIDTH]]
    write_safetensors(path, weights | tensors, SHAPES)


def write_checkpoint(folder: Path, *, max_length: int = 2048, **script: Any) -> Path:
    """A checkpoint whose answers follow a script (wrong, empty, cut, tied: numbers of questions; nll: of a token; flat)."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_LLAMA | {"max_position_embeddings": max_length}))
    write_tokenizer(folder)
    write_weights(folder / "model.safetensors", seed=json.dumps(script, sort_keys=True).encode())
    (folder / "script.json").write_text(json.dumps(script))
    return folder


@dataclass
class ScriptedExecutor:
    """Makes models that answer by the script in their folder, and counts their calls."""

    loads: list[str] = field(default_factory=list)
    requests: list[tuple[str, Request]] = field(default_factory=list)
    fail_after: int | None = None
    at_once: int = 64
    """Requests in a batch where the run asks for none or for 1, the default: a commit for each answer costs a third of a run."""
    is_again: bool = False
    """Whether the original is being asked a second time, for the noise floor: then it is called "again"."""

    def __call__(self, facts: ModelFacts, conditions: Conditions, settings: Settings) -> ScriptedModel:
        self.is_again = "asked again" in conditions.arguments
        self.load(facts)
        return ScriptedModel(facts, conditions, settings, self)

    def load(self, facts: ModelFacts) -> None:
        self.loads.append("again" if self.is_again else facts.side)

    def ask(self, facts: ModelFacts, batch: Sequence[Request], hand_on: HandOn) -> None:
        script = json.loads((facts.folder / "script.json").read_text())
        script |= script.get("again", {}) if self.is_again else {}  # what it answers otherwise when it is asked again
        for request in batch:
            if self.fail_after is not None and len(self.requests) >= self.fail_after:
                raise KeyboardInterrupt
            self.requests.append(("again" if self.is_again else facts.side, request))
            hand_on(request, _answer(request, script))


class RememberedTokenizer:
    """A tokenizer that encodes a text once: the runs of many tests ask for the same ones."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[object, str], list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: str | list[str], **settings: Any) -> Any:
        if isinstance(texts, str):
            return self._tokenizer(texts, **settings)
        key = tuple(sorted(settings.items()))
        if unknown := [text for text in texts if (key, text) not in self._known]:
            found = self._tokenizer(unknown, **settings)["input_ids"]
            self._known |= {(key, text): ids for text, ids in zip(unknown, found, strict=True)}
        return {"input_ids": [self._known[key, text] for text in texts]}


_TOKENIZERS: dict[object, RememberedTokenizer] = {}
_load_tokenizer = tokenizers._load.__wrapped__


def remembered_tokenizer(source: TokenizerSource, settings: tuple[tuple[str, Any], ...]) -> RememberedTokenizer:
    """The tokenizer with these contents, wherever it was loaded from first."""
    key = (source.digest, source.template, source.gguf, settings)
    if key not in _TOKENIZERS:
        _TOKENIZERS[key] = RememberedTokenizer(_load_tokenizer(source, settings))
    return _TOKENIZERS[key]


def answer_by_script(executor: ScriptedExecutor) -> None:
    """Have a process of its own answer by the script, without what takes seconds to import: torch, model classes, plots."""
    from transformers import PreTrainedTokenizerFast

    from pytest_prunegate.report.page import renderer as rendering

    @functools.lru_cache
    def load(source: Any, _settings: Any) -> Any:
        return PreTrainedTokenizerFast.from_pretrained(str(source.folder))

    EXECUTORS["fast"] = executor
    tokenizers._load = load
    rendering._drawn = lambda summary: {"plots": {}, "plots_problem": None}


class ScriptedModel(Executor):
    """One of its models."""

    def __init__(self, facts: ModelFacts, conditions: Conditions, settings: Settings, script: ScriptedExecutor) -> None:
        self._facts, self._settings, self._script = facts, settings, script
        self._again = script.is_again

    def at_once(self, kind: str) -> int:
        asked = self._settings.batch_size
        return int(asked) if asked.isdecimal() and asked != "1" else self._script.at_once

    def ask(self, batch: Sequence[Request], hand_on: HandOn) -> None:
        self._script.is_again = self._again
        self._script.ask(self._facts, batch, hand_on)


def _answer(request: Request, script: dict[str, Any]) -> Response:
    if request.tokens is not None:
        return Response(loglikelihood=-script.get("nll", 2.0) * (len(request.tokens) - 1))
    if request.kind == "loglikelihood_rolling":
        return Response(loglikelihood=-script.get("nll", 2.0) * len(request.context))
    number = int(_NUMBER.findall(request.context)[-1])
    wrong, empty, cut = (number in script.get(key, ()) for key in ("wrong", "empty", "cut"))
    if request.continuation is not None:
        if "flat" in script:  # "all", or choices that are told apart alone
            return Response(
                loglikelihood=-1.0 if script["flat"] == "all" else -float(len(request.continuation)), greedy=False
            )
        if number in script.get("tied", ()):
            return Response(loglikelihood=-1.0, greedy=False)
        says_yes = (number % 2 == 0) != wrong
        likely = request.continuation.strip() == ("yes" if says_yes else "no")
        of_prompt = (
            len(request.context) * 1e-4 - sum(request.context.encode()) * 1e-7
        )  # a model that reads has other numbers for others
        if request.continuation.strip() not in {"yes", "no"}:
            of_prompt += len(request.continuation) * 1e-4 - sum(request.continuation.encode()) * 1e-7
        return Response(loglikelihood=(-1.0 if likely else -2.0) - of_prompt, greedy=likely)
    right = f" The total is {number}.\n#### {number}" if "Background:" not in request.context else f" word{number}"
    text = "" if empty else " 99999" if wrong else right
    return Response(text=text, cut=cut)


def write_data(folder: Path, documents: int = 20) -> None:
    """Data in the shape of gsm8k, squadv2 (every fourth question unanswerable) and boolq."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(documents)
    _jsonl(
        folder / "gsm8k.jsonl",
        [{"question": f"What is the number {n}?", "answer": f"It is {n}.\n#### {n}"} for n in numbers],
    )
    _jsonl(
        folder / "boolq.jsonl",
        [
            {"question": f"is number {n} even", "passage": "Numbers.", "idx": n, "label": int(n % 2 == 0)}
            for n in numbers
        ],
    )
    _jsonl(folder / "squad.jsonl", [_squad_row(n) for n in numbers])


def _squad_row(number: int) -> dict[str, Any]:
    answers: dict[str, list[Any]] = (
        {"text": [f"word{number}"], "answer_start": [0]} if number % 4 else {"text": [], "answer_start": []}
    )
    return {
        "id": str(number),
        "title": "T",
        "context": f"word{number} is here",
        "question": f"Which word has number {number}?",
        "answers": answers,
    }


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


GSM8K = "dataset: {path: json, data_files: {train: data/gsm8k.jsonl, test: data/gsm8k.jsonl}}"
SQUAD = "dataset: {path: json, data_files: {validation: data/squad.jsonl}}"
BOOLQ = "dataset: {path: json, data_files: {validation: data/boolq.jsonl}}"
_BOOLQ_PASSES = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: 50%}}
"""
TWO_TASKS = f"""{_BOOLQ_PASSES}  squadv2:
    {SQUAD}
    metrics: {{f1: 50%}}
"""
THREE_TASKS = f"""{_BOOLQ_PASSES}  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{"exact_match,strict-match": 1%}}
  squadv2:
    {SQUAD}
    metrics: {{f1: 50%}}
"""
"""Of which gsm8k breaks its threshold where the pruned model answers one question wrongly."""
OF_EVERY_KIND = f"""{_BOOLQ_PASSES}  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{"exact_match,strict-match": {{max_relative_drop: 1%, max_absolute_drop: 0.5}}}}
  squadv2:
    {SQUAD}
    metrics: {{f1: {{max_relative_drop: 15%, decide: confident}}, NoAns_f1: 5%}}
  gsm8k_cot:
    dataset: {{path: json, data_files: {{dev: data/gsm8k.jsonl}}}}
    metrics: {{"exact_match,strict-match": 5%}}
"""
"""Of which, with `project_of_every_kind`, one passes, one fails, one is inconclusive and two are errors."""
BOOLQ_AND_GSM8K = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: {{max_absolute_drop: 1}}}}
  gsm8k:
    {GSM8K}
    num_fewshot: 1
    max_gen_toks: 12
    metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}}}
"""


CONFTEST = f"""
import os, signal, sys
from pathlib import Path

sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.scripted import ScriptedExecutor, answer_by_script


class Recording(ScriptedExecutor):
    def load(self, facts):
        super().load(facts)
        self._note("loads", facts.side)

    def ask(self, facts, batch, hand_on):
        def noted(request, response):
            hand_on(request, response)
            self._note("asked", facts.side)
            if os.environ.get("KILL_AFTER") == str(len(Path("asked").read_text().splitlines())):
                os.kill(os.getpid(), signal.SIGKILL)
        super().ask(facts, batch, noted)

    def _note(self, name, side):
        with open(name, "a") as file:
            file.write(f"{{os.getpid()}} {{side}}\\n")


if "PYTEST_XDIST_WORKER" in os.environ:
    answer_by_script(Recording())
"""


def project_of_every_kind(bench: Bench) -> None:
    """A project whose checks end in every way that there is."""
    bench.models(original={"wrong": [0, 4, 8, 12, 16]}, pruned={"wrong": [0, 3, 4, 7, 8, 12, 16]})
    bench.thresholds(OF_EVERY_KIND)
    (bench.path / "conftest.py").write_text(CONFTEST)
