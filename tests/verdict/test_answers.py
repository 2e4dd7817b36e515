"""What the models answered, and which answers changed, of whole runs with scripted models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.families import write_task
from support.scripted import BOOLQ, GSM8K, SQUAD

from pytest_prunegate.gate.gate import Gate
from pytest_prunegate.verdict.answers import ChangedDocument, changed_documents, texts_of

if TYPE_CHECKING:
    from conftest import Bench


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> list[Gate]:
    """The gates of inner runs."""
    found: list[Gate] = []
    begin = Gate.__init__

    def spy(self: Gate, *given: Any, **more: Any) -> None:
        found.append(self)
        begin(self, *given, **more)

    monkeypatch.setattr(Gate, "__init__", spy)
    return found


def changed(gate: Gate, task: str, name: str, **more: Any) -> list[ChangedDocument]:
    gate_task = gate.task(task)
    check = next(check for check in gate_task.checks if check.name == name)
    return changed_documents(gate_task, check, gate.measurements[task], **more)


def test_generated_answers(bench: Bench, gates: list[Gate]) -> None:
    bench.models(original={"wrong": [3]}, pruned={"wrong": [7, 11], "empty": [12], "cut": [7]})
    bench.thresholds(f"""
        tasks:
          gsm8k:
            {GSM8K}
            num_fewshot: 1
            metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}, "exact_match,strict-match": {{max_absolute_drop: 1}}}}
            outputs: {{max_empty: 50%}}
    """)
    bench.run()
    found = changed(gates[0], "gsm8k", "exact_match,flexible-extract")
    assert [(one.doc_id, one.change, one.size) for one in found] == [
        (7, "lost", 1.0), (11, "lost", 1.0), (12, "lost", 1.0), (3, "gained", 1.0)
    ]  # fmt: skip
    texts = found[0].texts()
    assert texts.prompt.endswith("Question: What is the number 7?\nAnswer:")
    assert texts.prompt.count("Question:") == 2, "with its example"
    assert texts.gold == "It is 7.\n#### 7"
    assert texts.original.text == " The total is 7.\n#### 7"
    assert texts.original.note == "flexible-extract: 7; strict-match: 7"
    assert texts.pruned.text == " 99999"
    assert texts.pruned.note == "cut at the token limit; strict-match: [invalid]"
    assert [(one.doc_id, one.change) for one in changed(gates[0], "gsm8k", "max_empty")] == [(12, "lost")], (
        "an output that only the pruned model left empty"
    )


def test_questions_without_an_answer(bench: Bench, gates: list[Gate]) -> None:
    bench.models(original={"empty": [4]}, pruned={"wrong": [4, 5]})
    bench.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 90%, best_f1: 90%}}\n")
    bench.run()
    found = changed(gates[0], "squadv2", "f1")
    assert [(one.doc_id, one.change, one.texts().gold) for one in found] == [
        (4, "lost", "(unanswerable)"), (5, "lost", "word5")
    ]  # fmt: skip
    assert changed(gates[0], "squadv2", "best_f1") == [], "no score of a document"


def test_choices(bench: Bench, gates: list[Gate]) -> None:
    bench.models(pruned={"wrong": [5]})
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 90%}}\n")
    bench.run()
    (only,) = changed(gates[0], "boolq", "acc")
    texts = only.texts()
    assert (texts.gold, texts.original.text, texts.pruned.text) == ("no", "no", "yes")
    assert texts.pruned.note == "log-probabilities no: -2.00, yes: -1.00"


def test_a_text_that_a_model_goes_on_with_or_not(bench: Bench, gates: list[Gate]) -> None:
    rows = [{"n": n, "word": "yes" if n % 2 == 0 else "no"} for n in range(20)]
    metric = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    write_task(
        bench.path / "own", "continued", rows, output_type="loglikelihood", doc_to_text="Is number {{n}} even?", doc_to_target="word",
        metric_list=[metric],
    )  # fmt: skip
    bench.models(pruned={"wrong": [3]})
    bench.thresholds("tasks: {continued: {metrics: {acc: 50%}}}")
    bench.run("--prunegate-include-path=own")
    (only,) = changed(gates[0], "continued", "acc")
    texts = only.texts()
    assert (only.doc_id, texts.prompt, texts.gold) == (3, "Is number 3 even?", "no")
    assert (texts.original.text, texts.pruned.text) == ("no", "(something else)")
    assert texts.pruned.note == "no: log-probability -2.00"


def test_choices_in_the_middle_of_a_text(bench: Bench, gates: list[Gate]) -> None:
    """As in winogrande: the continuation is the same, what stands before it differs."""
    rows = [{"n": n, "right": n % 2, "rest": "was late."} for n in range(8)]
    write_task(
        bench.path / "own", "filled", rows, output_type="multiple_choice", doc_to_text="right", doc_to_target="rest",
        doc_to_choice="{{['At number ' + n|string + ' Ann', 'At number ' + n|string + ' Bob']}}",
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip
    bench.models()
    bench.thresholds("tasks: {filled: {metrics: {acc: 50%}}}")
    bench.run("--prunegate-include-path=own")
    texts = texts_of(gates[0].task("filled"), gates[0].measurements["filled"])(3)
    assert texts.prompt == "At number 3 Ann\n\nAt number 3 Bob"
    assert (texts.gold, texts.original.text) == ("At number 3 Bob", "At number 3 Ann")


LOWER = """
task: mine
output_type: generate_until
dataset_path: json
test_split: test
doc_to_text: '{{question}}'
doc_to_target: !function code.target
process_results: !function code.scores
metric_list: [{metric: m, aggregation: mean, higher_is_better: false}]
"""
CODE = """
SCORED = []


def target(doc):
    if SCORED and "number 7" in doc["question"]:
        raise ValueError("no target")
    return ["right", "correct", "right"]


def scores(doc, results):
    SCORED.append(doc)
    return {"m": len(results[0]) / 100}
"""


def test_lower_is_better_and_a_task_that_cannot_tell(bench: Bench, gates: list[Gate]) -> None:
    folder = bench.path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(LOWER)
    (folder / "code.py").write_text(CODE)
    bench.models(original={"wrong": [6, 7]}, pruned={"wrong": [3]})
    bench.thresholds(f"tasks:\n  mine:\n    {GSM8K}\n    repeats: 2\n    metrics: {{m: {{max_absolute_drop: 0.9}}}}\n")
    bench.run("--prunegate-include-path=own")
    found = changed(gates[0], "mine", "m")
    assert [(one.doc_id, one.change) for one in found] == [(6, "lost"), (7, "lost"), (3, "gained")], "longer is worse"
    texts = [one.texts() for one in found]
    assert [one.gold for one in texts] == ["right / correct", "", "right / correct"]
    assert texts[0].original.note == "the first of 2 answers"
    log = (bench.results / "evaluation.log").read_text()
    assert log.count("mine: the task cannot tell its right answers of a document: ValueError: no target.") >= 1
    results = json.loads((bench.results / "comparison_results.json").read_text())
    assert results["changed"]["total"] == 3, "and the report is whole"
