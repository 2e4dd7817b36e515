"""Evidence that the gate measures what lm-eval measures: prompts, texts and per-document scores, on a real model.

    python evidence/identity.py DATA_DIR MODELS_DIR OUTPUT.json [SQUAD_DOCUMENTS GSM8K_DOCUMENTS]

DATA_DIR holds gsm8k/ and squad_v2/, MODELS_DIR a checkpoint `smollm2` (see demo/models.py). A 20% magnitude-pruned copy
is made beside it. The gate's own answers are compared with those that lm-eval's evaluator gives on the same documents,
in the same process, from a task object of its own. SQuAD's scores are compared with an independent implementation of
the official definition, out of an old release of transformers.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.gate.candidate_gates import CandidateGates
from pytest_prunegate.input.model_argument import SIDES, parse_model
from pytest_prunegate.input.options import Options, Require
from pytest_prunegate.input.thresholds import TaskOptions
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks.index import build_index, default_cache_dir, load_index
from pytest_prunegate.tasks.squad import exact_match, f1
from pytest_prunegate.tasks.task_builder import with_local_data
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.verdict.check_scores import Measurement

SPARSITY = 0.2
DOCUMENTS = (60, 20)  # of squadv2 and gsm8k
THRESHOLDS = """
tasks:
  squadv2:
    limit: {squad}
    dataset: {{path: json, data_files: {{validation: {data}/squad_v2/validation.jsonl}}}}
    metrics: {{f1: 5%, exact_match: 5%}}
  gsm8k:
    limit: {gsm8k}
    num_fewshot: 5
    dataset: {{path: json, data_files: {{train: {data}/gsm8k/train.jsonl, test: {data}/gsm8k/test.jsonl}}}}
    metrics: {{"exact_match,strict-match": 5%, "exact_match,flexible-extract": 5%}}
"""


class Silent:
    """A progress that goes to the standard error, a line a model."""

    def start(self, task: str, side: str, *, documents: int, **_: object) -> None:
        print(f"{task}, {side}: {documents} documents", file=sys.stderr, flush=True)

    def advance(self, documents: int, work: int) -> None:
        """Nothing is shown for single documents."""

    def finish(self) -> None:
        """Nothing is shown at the end."""


def prune_by_magnitude(source: Path, target: Path) -> None:
    """A copy whose decoder's linear layers lost the smallest weights of each row."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    for module in model.model.layers.modules():
        if isinstance(module, torch.nn.Linear):
            lowest = module.weight.abs().argsort(dim=1)[:, : int(module.weight.shape[1] * SPARSITY)]
            module.weight.data.scatter_(1, lowest, 0.0)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)


def make_gates(data: Path, models: Path, work: Path, documents: tuple[int, int]) -> CandidateGates:
    """A gate on both tasks, with a store of its own."""
    path = work / "thresholds.yaml"
    path.write_text(THRESHOLDS.format(data=data, squad=documents[0], gsm8k=documents[1]), encoding="utf-8")
    file, mistakes = load_thresholds(path, display=str(path))
    built_in, _ = load_thresholds(resource_path("thresholds.yaml"), display="thresholds.yaml", built_in=True)
    cache = default_cache_dir()
    index = load_index(cache) or build_index(cache)
    tasks = resolve_tasks(file, index, mistakes, only=(), options=TaskOptions(), built_in=built_in)
    assert not mistakes.found, mistakes.render()
    pruned = parse_model("pruned", str(models / "magnitude-20"), work)
    options = Options(
        original=parse_model("original", str(models / "smollm2"), work), pruned=pruned, candidates=(pruned,), masks=(), require=Require.ALL,
        thresholds=path, tasks=(), include_path=None, for_tasks=TaskOptions(), seed=1234, batch_size="1", device="cpu", dtype="float32",
        backend="hf", cache_dir=None, output=work / "results", store=work / "store", record=False, noise_floor=False, preflight=False,
        time_budget=None, answers=False, templates=(), given=(),
    )  # fmt: skip
    return CandidateGates(options=options, tasks=tasks, progress=Silent())


def reference_task(gate_task: GateTask, doc_ids: list[int]) -> Any:
    """lm-eval's own task object, which builds all of its requests and hands over those of some documents."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks.squadv2.task import SQuAD2

    spec = gate_task.spec
    if spec.name == "squadv2":
        base, config = SQuAD2, {}
    else:
        index = TaskManager(include_defaults=False, include_path=str(gate_task.info.path.parent)).task_index
        base, config = ConfigurableTask, dict(index[spec.name].cfg)
        config.pop("tag", None)
    local = with_local_data(
        base,
        spec.dataset,
        task=spec.name,
        config=config or {"validation_split": "validation"},
        num_fewshot=spec.num_fewshot or 0,
    )

    class Subset(local):  # type: ignore[misc]
        def build_all_requests(self, **kwargs: Any) -> None:
            super().build_all_requests(**kwargs)
            wanted = set(doc_ids)
            self._instances = [instance for instance in self._instances if instance.doc_id in wanted]

        def doc_iterator(self, **kwargs: Any) -> Any:
            documents = list(super().doc_iterator(**kwargs))
            return iter(documents if self._instances is None else [documents[doc_id] for doc_id in doc_ids])

    task = Subset(config=config)
    task._instances = None  # noqa: SLF001 - the base sets it only when it builds
    task.config.task = spec.name
    task.set_config("num_fewshot", spec.num_fewshot or 0)
    task.set_fewshot_seed(1234)
    return task


def reference_samples(gate: Gate, side: str) -> dict[str, list[dict[str, Any]]]:
    """What lm-eval's evaluator logs for the gate's documents of one model."""
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks.squadv2 import task as squad_task

    squad_task._squad_agg = lambda *_: 0.0  # noqa: SLF001 - it would fetch a metric from a hub, after all inference
    lm = HFLM(pretrained=str(gate.plan.facts[side].folder), device="cpu", dtype="float32", batch_size=1)
    tasks = {}
    for gate_task in gate.tasks:
        prepared = gate.measurements[gate_task.name][0].prepared
        tasks[gate_task.spec.name] = reference_task(gate_task, [document.doc_id for document in prepared.documents])
    logged: dict[str, list[dict[str, Any]]] = evaluate(lm=lm, task_dict={"tasks": tasks}, bootstrap_iters=0)["samples"]
    return logged


def compare_side(gate: Gate, side: str, samples: dict[str, list[dict[str, Any]]]) -> dict[str, Counter[str]]:
    """Counts of what is identical and what is not, by task."""
    found = {}
    for name, (measurement,) in gate.measurements.items():
        counts: Counter[str] = Counter()
        ours = _ours(gate, measurement, side)
        for sample in samples[name]:
            prompt, text, scores = ours[sample["doc_id"]]
            counts["prompts_equal"] += prompt == sample["arguments"][0][0]
            counts["texts_equal"] += text == sample["resps"][0][0]
            counts["scores"] += 1
            counts["scores_equal"] += _score_equal(name, sample, scores)
        counts["documents"] = len(ours)
        found[name] = counts
    return found


def _ours(gate: Gate, measurement: Measurement, side: str) -> dict[int, tuple[str, str, dict[tuple[str, str], float]]]:
    answering = gate._answering  # noqa: SLF001 - evidence looks inside
    assert answering is not None
    prepared, scorer = measurement.prepared, measurement.scorers[side]
    responses = answering.responses(prepared, side, long=frozenset(), progress=lambda _: None)
    keys = [(check.metric, check.filter) for check in gate.checks if check.task == prepared.name]
    scores = {key: scorer.score(key).by_document for key in keys}
    found = {}
    for document in prepared.documents:
        position = document.requests[0][0]
        by_key = {key: float(values[document.doc_id]) for key, values in scores.items()}
        found[document.doc_id] = (prepared.requests[position].context, responses[position].text or "", by_key)
    return found


def _score_equal(name: str, sample: dict[str, Any], scores: dict[tuple[str, str], float]) -> bool:
    if name == "squadv2":
        prediction, reference = sample["exact"]
        official = OFFICIAL(prediction["prediction_text"], reference["answers"]["text"])
        return all(
            abs(ours - theirs) < 1e-12
            for ours, theirs in zip((scores["exact", "none"], scores["f1", "none"]), official, strict=True)
        )
    return bool(scores["exact_match", sample["filter"]] == sample["exact_match"])


def official_squad(work: Path) -> Any:
    """EM and F1 of the official definition, by the code that transformers shipped until 5.0."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "transformers==4.57.1", "-d", str(work)],
        check=True,
    )
    wheel = next(work.glob("transformers-4.57.1*.whl"))
    source = zipfile.ZipFile(wheel).read("transformers/data/metrics/squad_metrics.py").decode()
    source = (
        "import collections, re, string\n"
        + source[source.index("def normalize_answer") : source.index("def apply_no_ans_threshold")]
    )
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - a pinned release, read for this comparison alone

    def score(prediction: str, answers: list[str]) -> tuple[float, float]:
        gold = [answer for answer in answers if names["normalize_answer"](answer)] or [""]
        return max(names["compute_exact"](a, prediction) for a in gold), max(
            names["compute_f1"](a, prediction) for a in gold
        )

    return score


def squad_pairs(data: Path, texts: list[str]) -> list[tuple[str, list[str]]]:
    """Prediction pairs: a model's own outputs, and odd changes of gold answers, on every question."""
    rows = [
        json.loads(line) for line in (data / "squad_v2" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    changes = (
        lambda gold: gold, lambda gold: f"  The {gold.upper()}!!", lambda gold: gold[: len(gold) // 2], lambda gold: f"{gold} {gold}",
        lambda _: "", lambda _: " \t ", lambda _: "the", lambda _: "unanswerable", lambda gold: gold.replace(" ", "\u00a0"),
        lambda gold: f"«{gold}» — naïve \u2019s", lambda _: "!?.", lambda gold: " ".join(reversed(gold.split())),
    )  # fmt: skip
    pairs = []
    for position, row in enumerate(rows):
        answers = row["answers"]["text"]
        gold = answers[0] if answers else "no such thing"
        pairs += [(change(gold), answers) for change in changes]
        pairs += [(texts[position % len(texts)], answers), (gold, ["the", ".", gold]), (gold, [""])]
    return pairs


def main() -> None:
    """Measure, and write the outcome as JSON; the last line of the output says it too."""
    global OFFICIAL  # noqa: PLW0603 - a script
    logging.disable(logging.WARNING)
    data, models, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    documents = (int(sys.argv[4]), int(sys.argv[5])) if sys.argv[4:] else DOCUMENTS
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        OFFICIAL = official_squad(work)
        if not (models / "magnitude-20").is_dir():
            prune_by_magnitude(models / "smollm2", models / "magnitude-20")
        gates = make_gates(data, models, work, documents)
        needed = {None: [task.name for task in gates.tasks]}
        gates.find_models(needed)
        gates.open(needed, gates.options.store)
        (gate,) = gates.opened
        for task in gate.tasks:
            gate.measure(task.name)
        assert gate._answering is not None  # noqa: SLF001
        gate._answering.close()  # noqa: SLF001 - one model in memory at a time
        sides = {side: compare_side(gate, side, reference_samples(gate, side)) for side in SIDES}
        texts = [text for _, text, _ in _ours(gate, gate.measurements["squadv2"][0], "pruned").values()]
        pairs = squad_pairs(data, texts)
        wrong = [pair for pair in pairs if not _pair_equal(*pair)]
        gates.close()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    result = {
        "commit": commit, "documents_and_equal": sides, "squad_pairs": len(pairs), "squad_pairs_different": len(wrong),
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))
    identical = all(
        counts["prompts_equal"] == counts["texts_equal"] == counts["scores"] == counts["scores_equal"]
        for tasks in sides.values() for counts in tasks.values()
    )  # fmt: skip
    sys.exit(0 if identical and not wrong else 1)


def _pair_equal(prediction: str, answers: list[str]) -> bool:
    ours = float(exact_match(prediction, answers)), float(f1(prediction, answers))
    return all(abs(a - b) < 1e-12 for a, b in zip(ours, OFFICIAL(prediction, answers), strict=True))


OFFICIAL: Any = None

if __name__ == "__main__":
    main()
