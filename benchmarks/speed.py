"""The default executor against lm-eval's transformers backend at batch sizes 1 and 8, on a real model and real data.

    python benchmarks/speed.py DATA_DIR MODELS_DIR [--share S] [--pairs N] [--works WORK ...]

DATA_DIR holds gsm8k/, squad_v2/ and wikitext2/, MODELS_DIR `smollm2` (see demo/models.py) and `magnitude-20` (made where it is missing). Both
answer the same requests in one process and one thread, in turn, and CPU seconds are compared; the better batch size counts for lm-eval, and what
`simple_evaluate` does around its model counts for nothing, which favours it. Pairs are asked of the original and the pruned model by turns.
`ratio` is without what the executor's self-check spends on lm-eval's path, once in a process for a model; `ratio_with_check` is with it.
`--share` takes a part of the documents. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253 - a script of its own
from transformers import AutoTokenizer  # noqa: TID253

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evidence"))
from works import Stock, ask, both_models, decisions, requests_of

from pytest_prunegate.execution.fast import fast_model
from pytest_prunegate.execution.lm_eval_model import LmEvalModel
from pytest_prunegate.tasks.requests import WINDOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from works import Answers

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.fast.fast_model import FastModel
    from pytest_prunegate.tasks.requests import Request

DOCUMENTS = {"gsm8k": 24, "gsm8k_cot": 24, "squadv2": 100, "squadv2_both": 100, "four_choices": 100, "wikitext2": 4}
BATCH_SIZES = (1, 8)


@dataclass(kw_only=True)
class Passes:
    """What an engine's forward passes took."""

    count: int = 0
    tokens: int = 0
    texts: int = 0

    def watch(self, engine: Any) -> None:
        """Count in front of an engine's pass."""
        forward = type(engine)._forward.__get__(engine)  # noqa: SLF001 - a benchmark looks inside

        def counted(planned: Any, packed: Any) -> Any:
            self.count += 1
            self.tokens += len(planned.tokens)
            self.texts += len(packed.last)
            return forward(planned, packed)

        engine._forward = counted  # noqa: SLF001


@dataclass(frozen=True, kw_only=True)
class Taken:
    """CPU and wall seconds, and what they were taken for."""

    cpu: float
    wall: float
    answers: Answers


class Checking:
    """CPU seconds that the executor spends on lm-eval's path to check itself."""

    def __init__(self) -> None:
        self.seconds = 0.0
        usual = LmEvalModel.ask

        def ask_timed(executor: LmEvalModel, batch: Sequence[Request], hand_on: Any) -> None:
            began = time.process_time()
            usual(executor, batch, hand_on)
            if isinstance(executor, fast_model.FastModel) and batch[0].kind != WINDOW:
                self.seconds += time.process_time() - began

        LmEvalModel.ask = ask_timed  # type: ignore[method-assign]


def timed(executor: LmEvalModel, facts: ModelFacts, requests: Sequence[Request]) -> Taken:
    """Ask, and look at the clocks."""
    began, wall = time.process_time(), time.perf_counter()
    answers = ask(executor, facts, requests)
    return Taken(cpu=time.process_time() - began, wall=time.perf_counter() - wall, answers=answers)


def measure(
    requests: Sequence[Request], sides: Sequence[tuple[ModelFacts, FastModel]], pairs: int, checking: Checking
) -> dict[str, Any]:
    """One work: ratios of CPU seconds, the better batch size of lm-eval's over ours, and how many answers are alike."""
    found: list[tuple[Taken, Taken]] = []
    checks: list[float] = []
    passes, alike = Passes(), Counter[str]()
    best = 1
    for pair in range(pairs):
        facts, fast = sides[pair % len(sides)]
        fast_model._KNOWN.clear()  # noqa: SLF001 - each time as in a new process
        fast._engine.free()  # type: ignore[union-attr]  # noqa: SLF001 - nor has it read anything
        passes = Passes()
        passes.watch(fast._engine)  # noqa: SLF001
        checking.seconds = 0.0
        ours = timed(fast, facts, requests)
        checks.append(checking.seconds)
        sizes = BATCH_SIZES if pair == 0 and requests[0].kind != WINDOW else (best,)
        theirs = {size: timed(Stock(fast, facts, size), facts, requests) for size in sizes}
        best = min(theirs, key=lambda size: theirs[size].cpu)
        found.append((ours, theirs[best]))
        usual = decisions(theirs[best].answers)
        alike["answers"] += len(usual)
        alike["alike"] += sum(one == usual[key] for key, one in decisions(ours.answers).items())
    ratios = [theirs.cpu / (ours.cpu - check) for (ours, theirs), check in zip(found, checks, strict=True)]
    with_check = [theirs.cpu / ours.cpu for ours, theirs in found]
    return {
        "ratio": round(statistics.median(ratios), 2), "ratios": [round(one, 2) for one in ratios],
        "ratio_with_check": round(statistics.median(with_check), 2), "check_cpu_seconds": [round(one, 1) for one in checks],
        "wall_ratios": [round(theirs.wall / ours.wall, 2) for ours, theirs in found],
        "cpu_seconds": [[round(ours.cpu, 1), round(theirs.cpu, 1)] for ours, theirs in found], "requests": len(requests),
        "lm_eval_batch_size": best, **alike, "passes": passes.count, "tokens_a_pass": round(passes.tokens / max(1, passes.count), 1),
        "texts_a_pass": round(passes.texts / max(1, passes.count), 1),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("models", type=Path)
    arguments.add_argument("--share", type=float, default=1.0)
    arguments.add_argument("--pairs", type=int, default=4)
    arguments.add_argument("--works", nargs="+", default=list(DOCUMENTS))
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    models = given.models.resolve()
    counts = {name: max(1, round(given.share * count)) for name, count in DOCUMENTS.items()}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(models / "smollm2")
        works = requests_of(given.data.resolve(), Path(folder), tokenizer, counts)
    sides = list(both_models(models))
    results: dict[str, Any] = {}
    checking = Checking()
    for work in given.works:
        results[work] = measure(works[work], sides, given.pairs, checking)
        print(json.dumps({work: results[work]}), flush=True)
    print(json.dumps({
        "ratios": {work: result["ratio"] for work, result in results.items()}, "share": given.share, "works": results,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
