"""A scorer that the package does not know is a class and an entry in the registry: its metrics are found, judged and reported in parts."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from support.families import write_task

from pytest_prunegate.tasks.own_scorers import OWN_SCORERS
from pytest_prunegate.tasks.prepared import OwnScorer
from pytest_prunegate.tasks.scores import MetricScores, mean_scores
from pytest_prunegate.tasks.task_info import MetricInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest
    from conftest import Bench

    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.scores import DocumentKey


class Contains(OwnScorer):
    """Whether the output contains the answer; of long questions, `long_contains`."""

    metrics = (
        MetricInfo(name="contains", higher_is_better=True, is_mean=True),
        MetricInfo(name="long_contains", higher_is_better=True, is_mean=True),
    )
    output_type = "generate_until"

    def score(self, prepared: PreparedTask, metric: str, responses: Sequence[Response]) -> MetricScores:
        found: dict[DocumentKey, Fraction] = {
            document.doc_id: Fraction(document.content["answer"] in (responses[document.requests[0][0]].text or ""))
            for document in prepared.documents
            if self.has_metric(document.content, metric)
        }
        return mean_scores(found, higher_is_better=True)

    def right_answers(self, content: Any) -> Sequence[str]:
        return [f"contains {content['answer']}"]

    def has_metric(self, content: Any, metric: str) -> bool:
        return metric == "contains" or content["is_long"]

    def parts(self, metric: str) -> Mapping[str, Callable[[Any], str]]:
        return {"length": lambda content: "long" if content["is_long"] else "short"} if metric == "contains" else {}


def test_it_is_judged_and_reported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OWN_SCORERS, "mine", Contains())
    rows = [
        {"text": f"Question: What is the number {number}?\nAnswer:", "answer": str(number), "is_long": number % 2 == 0}
        for number in range(10)
    ]
    write_task(
        bench.path / "own", "mine", rows, output_type="generate_until", doc_to_text="{{text}}", doc_to_target="{{answer}}",
        generation_kwargs={"until": ["\n\n"]}, metric_list=[{"metric": "exact_match"}],
    )  # fmt: skip
    bench.models(pruned={"wrong": [2, 4]})
    bench.thresholds("tasks:\n  mine:\n    metrics: {contains: 20%, long_contains: 20%}\n")
    result = bench.run(f"--prunegate-include-path={bench.path / 'own'}")
    result.assert_outcomes(passed=1, failed=1)
    checks = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    found = {check["name"]: (check["original"], check["pruned"], check["documents"]) for check in checks}
    assert found == {"contains": (1.0, 0.8, 10), "long_contains": (1.0, 0.6, 5)}
    parts = [(part["by"], part["name"], part["pruned"]) for part in checks[0]["parts"]]
    assert parts == [("length", "long", 0.6), ("length", "short", 1.0)]
    changed = [json.loads(line) for line in (bench.results / "changed.jsonl").read_text().splitlines()]
    assert {line["gold"] for line in changed if "gold" in line} == {"contains 2", "contains 4"}
