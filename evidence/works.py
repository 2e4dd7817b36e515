"""Real requests and both paths that answer them, for what compares the default executor with lm-eval's own path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from identity import prune_by_magnitude

from pytest_prunegate.checkpoint.facts import read_facts
from pytest_prunegate.checkpoint.location import locate
from pytest_prunegate.execution.batch_runner import BatchRunner, Sizes
from pytest_prunegate.execution.conditions import conditions_of
from pytest_prunegate.execution.executor import Settings
from pytest_prunegate.execution.fast.fast_model import FastModel
from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.execution.lm_eval_model import LmEvalModel
from pytest_prunegate.input.model_argument import parse_model
from pytest_prunegate.input.thresholds import TaskOptions
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks.index import build_index, default_cache_dir, load_index
from pytest_prunegate.tasks.requests import GENERATION, LOGLIKELIHOOD, WINDOW, Request
from pytest_prunegate.tasks.task_builder import prepare_task
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.facts import ModelFacts
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
WINDOW_LENGTH = 2048


class Stock(LmEvalModel):
    """lm-eval's own path on a model that is loaded already."""

    def __init__(self, loaded: FastModel, facts: ModelFacts, batch_size: int) -> None:
        self._lm, self._facts, self._batch_size = loaded._lm, facts, str(batch_size)  # noqa: SLF001 - evidence looks inside


def both_models(models: Path) -> Iterator[tuple[ModelFacts, FastModel]]:
    """SmolLM2 and its copy with a fifth of its weights zero, which is made where it is missing."""
    if not (models / "magnitude-20").is_dir():
        prune_by_magnitude(models / "smollm2", models / "magnitude-20")
    for side, name in (("original", "smollm2"), ("pruned", "magnitude-20")):
        facts = read_facts(locate(parse_model(side, str(models / name), models), cache_dir=None))
        conditions = conditions_of({"original": facts}, dtype="float32", backend="fast")["original"]
        yield facts, FastModel(facts, conditions, Settings(batch_size="1", device="cpu"))


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


def requests_of(data: Path, folder: Path, tokenizer: Any, counts: Mapping[str, int]) -> dict[str, list[Request]]:
    """The requests of each work, for so many documents."""
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


def ask(executor: LmEvalModel, facts: ModelFacts, requests: Sequence[Request]) -> Answers:
    """Answers as the gate asks for them."""
    answers: Answers = {}
    BatchRunner(executor, facts, answers.__setitem__, frozenset(), sizes=Sizes(), stop=StopRequest()).run(requests)
    return answers


def decisions(answers: Answers) -> dict[tuple[str, str], str]:
    """Texts, and of each context the likeliest continuation, by kind and context."""
    found = {
        (GENERATION, one.context): response.text or "" for one, response in answers.items() if one.kind == GENERATION
    }
    best: dict[str, tuple[float, str]] = {}
    for one, response in answers.items():
        if one.kind == LOGLIKELIHOOD:
            this = (response.loglikelihood or 0.0, one.continuation or "")
            best[one.context] = max(best.get(one.context, this), this)
    return found | {(LOGLIKELIHOOD, context): continuation for context, (_, continuation) in best.items()}
