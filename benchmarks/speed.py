"""The default executor against lm-eval's transformers backend at batch sizes 1 and 8, on a real model and real data.

    python benchmarks/speed.py DATA_DIR MODELS_DIR [--share S] [--pairs N] [--works WORK ...]

DATA_DIR holds gsm8k/, squad_v2/ and wikitext2/, MODELS_DIR `smollm2` (see demo/models.py) and `magnitude-20` (made where it is missing). Both
answer the same requests in one process and one thread, in turn, and CPU seconds are compared; the better batch size counts for lm-eval, and what
`simple_evaluate` does around its model counts for nothing, which favours it. Pairs are asked of the original and the pruned model by turns.
What the executor spends on its self-check counts. `--share` takes a part of the documents. The last line is one JSON object.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evidence"))
from identity import prune_by_magnitude

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.batch_runner import BatchRunner, Sizes
from pytest_prunegate.execution.conditions import conditions_of
from pytest_prunegate.execution.executor import Settings
from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.input.thresholds import TaskOptions
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks.index import build_index, default_cache_dir, load_index
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, WINDOW, Request
from pytest_prunegate.tasks.task_builder import prepare_task
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.store import Response

    Answers = dict[Request, Response]

THRESHOLDS = """
tasks:
  gsm8k: {{limit: {gsm8k}, num_fewshot: 5, metrics: {{"exact_match,strict-match": 5%}}, dataset: {gsm8k_data}}}
  gsm8k_cot: {{limit: {gsm8k_cot}, metrics: {{"exact_match,strict-match": 5%}}, dataset: {gsm8k_data}}}
  squadv2:
    limit: {squadv2}
    dataset: {{path: json, data_files: {{validation: {data}/squad_v2/validation.jsonl}}}}
    metrics: {{f1: 5%, best_f1: 5%}}
  four_choices: {{limit: {four_choices}, metrics: {{acc: 5%}}}}
"""
# Which of four solutions, of this question and of the three before it in the file, is the question's; two examples before each.
FOUR_CHOICES = """
task: four_choices
dataset_path: json
dataset_kwargs: {{data_files: {{train: {folder}/examples.jsonl, test: {folder}/choices.jsonl}}}}
output_type: multiple_choice
training_split: train
test_split: test
fewshot_split: train
fewshot_config: {{sampler: first_n}}
num_fewshot: 2
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
metric_list: [{{metric: acc}}]
"""
DOCUMENTS = {"gsm8k": 24, "gsm8k_cot": 24, "squadv2": 100, "squadv2_both": 100, "four_choices": 100, "wikitext2": 4}
BATCH_SIZES = (1, 8)
WINDOW_LENGTH = 2048


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


def write_choices(data: Path, folder: Path) -> None:
    """A task of four choices out of GSM8K's questions and the first sentences of their solutions."""
    rows = [json.loads(line) for line in (data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    solutions = [" " + row["answer"].split("\n")[0] for row in rows]
    made = [
        {"question": row["question"], "choices": solutions[n - 3 : n + 1], "right": 3}
        for n, row in enumerate(rows[3:], 3)
    ]  # fmt: skip
    for name, part in (("examples", made[-2:]), ("choices", made[:-2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    (folder / "four_choices.yaml").write_text(FOUR_CHOICES.format(folder=folder), encoding="utf-8")


def requests_of(data: Path, folder: Path, tokenizer: Any, share: float) -> dict[str, list[Request]]:
    """The requests of each work."""
    counts = {name: max(1, round(share * count)) for name, count in DOCUMENTS.items()}
    write_choices(data, folder)
    gsm8k_data = f"{{path: json, data_files: {{train: {data}/gsm8k/train.jsonl, test: {data}/gsm8k/test.jsonl}}}}"
    path = folder / "thresholds.yaml"
    path.write_text(THRESHOLDS.format(data=data, gsm8k_data=gsm8k_data, **counts), encoding="utf-8")
    file, mistakes = load_thresholds(path, display=str(path))
    built_in, _ = load_thresholds(resource_path("thresholds.yaml"), display="thresholds.yaml", built_in=True)
    cache = default_cache_dir()
    index = (load_index(cache) or build_index(cache)).including(folder)
    tasks = resolve_tasks(file, index, mistakes, only=(), options=TaskOptions(), built_in=built_in)
    assert not mistakes.found, mistakes.render()
    found = {task.name: sampled(task, counts[task.name]) for task in tasks}
    found["squadv2_both"] = found["squadv2"]
    found["squadv2"] = [request for request in found["squadv2"] if request.kind == GENERATION]
    text = tokenizer((data / "wikitext2" / "test.txt").read_text(encoding="utf-8")).input_ids
    starts = range(0, counts["wikitext2"] * WINDOW_LENGTH, WINDOW_LENGTH)
    found["wikitext2"] = [Request(kind=WINDOW, tokens=tuple(text[n : n + WINDOW_LENGTH])) for n in starts]
    return found


def sampled(task: Any, count: int) -> list[Request]:
    """The requests of a task's first documents."""
    prepared = prepare_task(task, chat_template=lambda _: None)  # type: ignore[arg-type, return-value]
    return list(prepared.only({document.doc_id for document in prepared.documents[:count]}).requests)


def cpu_seconds() -> float:
    """Of this process so far."""
    return time.process_time()


def ask(executor: Any, facts: Any, requests: Sequence[Request]) -> tuple[float, float, Answers]:
    """CPU and wall seconds that requests take as the gate asks them, and their answers."""
    answers: Answers = {}
    runner = BatchRunner(executor, facts, answers.__setitem__, frozenset(), sizes=Sizes(), stop=StopRequest())
    began, wall = cpu_seconds(), time.perf_counter()
    runner.run(requests)
    return cpu_seconds() - began, time.perf_counter() - wall, answers


def decisions(answers: Answers) -> dict[str, Any]:
    """Texts, and of each context the likeliest continuation."""
    best: dict[str, Any] = {}
    for request, response in answers.items():
        if request.kind == GENERATION:
            best[request.context] = response.text
        elif request.kind == LOGLIKELIHOOD:
            key = f"{request.context}\0"
            best[key] = max(best.get(key, (-1e9, "")), (response.loglikelihood or 0.0, request.continuation or ""))
    return {key: found[1] if isinstance(found, tuple) else found for key, found in best.items()}


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
    import torch
    from transformers import AutoTokenizer

    from pytest_prunegate.execution.fast import fast_model
    from pytest_prunegate.execution.lm_eval_model import LmEvalModel

    class Stock(LmEvalModel):
        """lm-eval's own path on a model that is loaded already."""

        def __init__(self, loaded: Any, facts: Any, batch_size: str) -> None:
            self._lm, self._facts, self._batch_size = loaded._lm, facts, batch_size  # noqa: SLF001

    torch.set_num_threads(1)
    models = given.models.resolve()
    if not (models / "magnitude-20").is_dir():
        prune_by_magnitude(models / "smollm2", models / "magnitude-20")
    with tempfile.TemporaryDirectory() as folder:
        works = requests_of(
            given.data.resolve(), Path(folder), AutoTokenizer.from_pretrained(models / "smollm2"), given.share
        )
    sides = []
    for side, name in (("original", "smollm2"), ("pruned", "magnitude-20")):
        facts = read_facts(locate(parse_model(side, str(models / name), models), cache_dir=None))
        conditions = conditions_of({"original": facts}, dtype="float32", backend="fast")["original"]
        fast = fast_model.FastModel(facts, conditions, Settings(batch_size="1", device="cpu"))
        fast.probe(works["squadv2"][0])
        stock = {}
        for size in BATCH_SIZES:
            stock[size] = Stock(fast, facts, str(size))
        sides.append((facts, fast, stock))
    results: dict[str, Any] = {}
    for work in given.works:
        results[work] = measure(works[work], sides, given.pairs, fast_model)
        print(json.dumps({work: results[work]}), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({
        "ratios": {work: result["ratio"] for work, result in results.items()}, "peak_mib": peak, "share": given.share, "works": results,
        "torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability(),
    }))  # fmt: skip


def measure(requests: Sequence[Request], sides: Sequence[Any], pairs: int, module: Any) -> dict[str, Any]:
    """One work: ratios of CPU seconds, the better batch size of lm-eval's over ours, and how many answers are alike."""
    ratios, seconds, walls, alike, best = [], [], [], Counter[str](), Counter[int]()
    passes = Passes()
    for pair in range(pairs):
        facts, fast, stock = sides[pair % len(sides)]
        module._CHECKED.clear()  # noqa: SLF001 - each time as in a new process
        fast._engine.free()  # noqa: SLF001 - nor has it read anything
        passes = Passes()
        passes.watch(fast._engine)  # noqa: SLF001
        mine, wall, ours = ask(fast, facts, requests)
        sizes = BATCH_SIZES if pair == 0 and requests[0].kind != WINDOW else [best.most_common(1)[0][0] if best else 1]
        theirs = {size: ask(stock[size], facts, requests) for size in sizes}
        size = min(theirs, key=lambda one: theirs[one][0])
        best[size] += 1
        usual = decisions(theirs[size][2])
        alike["answers"] += len(usual)
        alike["alike"] += sum(found == usual[key] for key, found in decisions(ours).items())
        ratios.append(theirs[size][0] / mine)
        seconds.append(mine)
        walls.append(theirs[size][1] / wall)
    return {
        "ratio": round(statistics.median(ratios), 2), "ratios": [round(one, 2) for one in ratios], "wall_ratios": [round(one, 2) for one in walls],
        "cpu_seconds": [round(one, 1) for one in seconds], "requests": len(requests), "lm_eval_batch_size": best.most_common(1)[0][0], **alike,
        "passes": passes.count, "tokens_a_pass": round(passes.tokens / max(1, passes.count), 1),
        "texts_a_pass": round(passes.texts / max(1, passes.count), 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
