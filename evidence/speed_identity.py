"""The default executor against lm-eval's own path at batch size 1: texts and decisions, beside lm-eval's own at batch size 8.

    python evidence/speed_identity.py DATA_DIR MODELS_DIR OUTPUT.json [SHARE]

Both models of the benchmark answer the same requests of four tasks (evidence/works.py) on three paths: the engine, lm-eval at 1, lm-eval
at 8. Where a text of the engine's differs from the second's, the model itself is asked for the two likeliest tokens at the first one
that differs; where a decision does, how far the two likeliest continuations are apart. Within `NEAR` nats they are a near-tie, which the
order of sums decides. Exits with 1 where one is not. SHARE takes a part of the documents.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer
from works import Stock, ask, both_models, decisions, requests_of

from pytest_prunegate.tasks.requests import GENERATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from works import Answers

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.fast.fast_model import FastModel
    from pytest_prunegate.tasks.requests import Request

DOCUMENTS = {"gsm8k": 20, "gsm8k_cot": 20, "squadv2": 100, "four_choices": 100, "wikitext2": 1}
TASKS = ("gsm8k", "gsm8k_cot", "squadv2_both", "four_choices")
NEAR = 1e-3


def margin(fast: FastModel, answers: Answers, other: Answers, key: tuple[str, str]) -> float:
    """Nats between the two likeliest at which two answers to a context part."""
    kind, context = key
    if kind != GENERATION:
        told = sorted(
            one.loglikelihood or 0.0 for request, one in answers.items() if (request.kind, request.context) == key
        )
        return told[-1] - told[-2]
    lm = fast._lm  # noqa: SLF001 - evidence looks inside
    texts = [decisions(one)[key] for one in (answers, other)]
    ids = [lm.tok_encode(text, add_special_tokens=False) for text in texts]
    same = next((n for n, pair in enumerate(zip(*ids, strict=False)) if pair[0] != pair[1]), min(map(len, ids)))
    tokens = torch.tensor([[*lm.tok_encode(context), *ids[0][:same]]])
    with torch.inference_mode():
        best = lm.model(tokens).logits[0, -1].log_softmax(-1).topk(2).values
    return float(best[0] - best[1])


def compared(fast: FastModel, facts: ModelFacts, requests: Sequence[Request]) -> dict[str, Any]:
    """One model and task: how many texts and decisions there are, and how many differ on each path."""
    ours = ask(fast, facts, requests)
    usual, batched = (ask(Stock(fast, facts, size), facts, requests) for size in (1, 8))
    sure, counts = decisions(usual), Counter[str]()
    margins: list[float] = []
    for key, answer in decisions(ours).items():
        what = "texts" if key[0] == GENERATION else "decisions"
        counts[what] += 1
        if answer != sure[key]:
            counts[f"{what}_otherwise"] += 1
            margins.append(margin(fast, usual, ours, key))
    for key, answer in decisions(batched).items():
        what = "texts" if key[0] == GENERATION else "decisions"
        counts[f"{what}_otherwise_by_lm_eval_at_8"] += answer != sure[key]
    off = [abs((one.loglikelihood or 0) - (usual[request].loglikelihood or 0)) for request, one in ours.items()]
    return {**counts, "margins": [round(one, 6) for one in margins], "largest_difference_of_loglikelihoods": max(off)}


def main(data: Path, models: Path, output: Path, share: float) -> int:
    """Compare, and write the outcome as JSON."""
    logging.disable(logging.WARNING)
    began = time.monotonic()
    counts = {name: max(1, round(share * count)) for name, count in DOCUMENTS.items()}
    with tempfile.TemporaryDirectory() as folder:
        works = requests_of(data, Path(folder), AutoTokenizer.from_pretrained(models / "smollm2"), counts)
    found: dict[str, dict[str, Any]] = {}
    for facts, fast in both_models(models):
        found[facts.folder.name] = {task: compared(fast, facts, works[task]) for task in TASKS}
        print(json.dumps({facts.folder.name: found[facts.folder.name]}), flush=True)
    every = [one for tasks in found.values() for one in tasks.values()]
    unexplained = sum(margin > NEAR for one in every for margin in one["margins"])
    totals = Counter[str]()
    for one in every:
        totals.update({key: value for key, value in one.items() if isinstance(value, int)})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    evidence = {
        "commit": commit, "met": unexplained == 0, "unexplained": unexplained, "near": NEAR, **totals, "share": share,
        "torch": torch.__version__, "seconds": round(time.monotonic() - began), "models": found,
    }  # fmt: skip
    output.write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in evidence.items() if key != "models"}))
    return 0 if unexplained == 0 else 1


if __name__ == "__main__":
    given = [Path(argument).resolve() for argument in sys.argv[1:4]]
    sys.exit(main(*given, float(sys.argv[4]) if sys.argv[4:] else 1.0))
