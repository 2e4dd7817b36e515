"""What the models answered, and which answers changed, of whole runs with scripted models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scripted import BOOLQ, GSM8K, SQUAD

from pytest_prunegate.answers import ChangedDocument, changed_documents
from pytest_prunegate.gate import Gate

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.sides import Sides


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> list[Gate]:
    """The gates of inner runs."""
    found: list[Gate] = []
    adopt = Gate.adopt

    def spy(self: Gate, sides: Sides) -> None:
        found.append(self)
        adopt(self, sides)

    monkeypatch.setattr(Gate, "adopt", spy)
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
