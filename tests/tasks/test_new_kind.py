"""A kind of check that the package does not know is a class and an entry in the registry: read, collected, judged and reported like its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.input.rule import OfPruned
from pytest_prunegate.input.rules import RULES
from pytest_prunegate.input.threshold_values import read_decision, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.checks import AskingKind, Check, CountingKind, Figure, FigureMetric, GateTask, Measure
from pytest_prunegate.tasks.kinds import KINDS
from pytest_prunegate.tasks.prepared import Document, OwnScorer, PreparedTask
from pytest_prunegate.tasks.requests import Request
from pytest_prunegate.tasks.scores import MetricScores, mean_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from conftest import Bench

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.checks import Preparation, Resolution
    from pytest_prunegate.tasks.scores import DocumentKey


class MaxDensity(OfPruned):
    """The most that the share of weights other than zero may be."""

    key = "most"
    figure = "density"
    is_of_metrics = False


@dataclass(frozen=True, kw_only=True)
class DensitySpec(Spec):
    """How dense the pruned model may be."""

    section = "density"


def task_of(kind: CountingKind | AskingKind, spec: Spec, display: str) -> GateTask:
    """A task with one check."""
    check = Check(
        task=spec.name, name=kind.key, measure=Measure.METRIC, metric=kind.key, filter="none", thresholds=spec.thresholds, file=display,
        line=spec.line, decision=spec.decision.settled(),
    )  # fmt: skip
    return GateTask(kind=kind, spec=spec, checks=(check,), selected=True)


class Density(CountingKind):
    """The opposite of sparsity, counted in files."""

    key = section = "density"
    metrics = (FigureMetric(key="density", unit="numbers", what="not zero"),)

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        thresholds = read_thresholds(node, rules=(RULES["most"],))
        return (DensitySpec(name=self.key, line=node.line, thresholds=thresholds),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        return [task_of(self, spec, resolution.file.display) for spec in specs]

    def marks(self, task: GateTask) -> list[str]:
        return ["checkpoint"]

    def count(self, check: Check, spec: Spec, facts: Mapping[Side, ModelFacts]) -> Figure:
        shares = [1 - (facts[side].sparsity.share or Fraction()) for side in ("original", "pruned")]
        return Figure(
            metric=self.metrics[0], original=shares[0], pruned=shares[1], of=facts["pruned"].sparsity.elements or 0
        )


@dataclass(frozen=True, kw_only=True)
class QuizSpec(Spec):
    """Numbers that a model is asked for."""

    section = "quiz"
    numbers: tuple[int, ...] = ()


class QuizScorer(OwnScorer):
    """Whether the output holds the number."""

    def score(self, prepared: PreparedTask, metric: str, responses: Sequence[Response]) -> MetricScores:
        found: dict[DocumentKey, Fraction] = {
            document.doc_id: Fraction(f"#### {document.content}" in (responses[document.requests[0][0]].text or ""))
            for document in prepared.documents
        }
        return mean_scores(found, higher_is_better=True)

    def right_answers(self, content: Any) -> Sequence[str]:
        return [f"number {content}"]


class Quiz(AskingKind):
    """Questions that stand in the thresholds file itself."""

    key = section = "quiz"
    names_are_free = True

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        return tuple(self._read(name, value, around) for name, value in node.entries(what="quizzes"))

    def _read(self, name: str, node: Node, around: Surroundings) -> Spec:
        asked = next(value for key, value in node.entries(what="numbers and thresholds") if key == "numbers")
        numbers = tuple(int(value.text) for value in asked.items(what="numbers"))
        return QuizSpec(
            name=name, line=node.line, numbers=numbers, thresholds=read_thresholds(node, extra=("numbers", "decide")),
            decision=read_decision(node).under(around.decision),
        )  # fmt: skip

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        return [task_of(self, spec, resolution.file.display) for spec in specs]

    def marks(self, task: GateTask) -> list[str]:
        return ["generation"]

    def prepare(self, part: GateTask, preparation: Preparation) -> PreparedTask:
        assert isinstance(part.spec, QuizSpec)
        requests = [
            Request(kind="generate_until", context=f"What is the number {number}?", gen_kwargs="{}")
            for number in part.spec.numbers
        ]
        documents = tuple(
            Document(doc_id=place, content=number, instances=(), requests=((place,),))
            for place, number in enumerate(part.spec.numbers)
        )
        return PreparedTask(
            key=part.key, name=part.name, task=None, version="1", num_fewshot=0, documents=documents, total_documents=len(documents),
            data_fingerprint=str(part.spec.numbers), requests=tuple(requests), truncate=False, own=QuizScorer(),
        )  # fmt: skip

    def depends_on_models(self, part: GateTask) -> bool:
        return False

    def load_data(self, part: GateTask) -> int | None:
        return None

    def settled_settings(self, part: GateTask, prepared: PreparedTask) -> dict[str, Any]:
        return {}


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "most", MaxDensity())
    for kind in (Density(), Quiz()):
        monkeypatch.setitem(KINDS, kind.key, kind)


THRESHOLDS = """
density: {{most: {most}}}
quiz:
  easy: {{numbers: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], max_relative_drop: 10%}}
  hard: {{numbers: [11, 12, 13, 14, 15, 16, 17, 18, 19, 20], max_relative_drop: 10%}}
"""


def test_they_are_collected_judged_and_reported(bench: Bench) -> None:
    bench.models(pruned={"wrong": [1, 11, 12]})
    bench.thresholds(THRESHOLDS.format(most="90%"))
    result = bench.run("-v")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines([
        "*thresholds.yaml::density::density FAILED*",
        "*thresholds.yaml::easy::quiz PASSED*",
        "*thresholds.yaml::hard::quiz FAILED*",
    ])  # fmt: skip
    result.stdout.fnmatch_lines(
        ["scores: *100.0% -> 100.0%", "not zero: *of * numbers", "threshold: *density at most 90%"]
    )
    found = json.loads((bench.results / "comparison_results.json").read_text())
    checks = {check["task"]: check for check in found["checks"]}
    assert {name: check["outcome"] for name, check in checks.items()} == {
        "density": "fail",
        "easy": "pass",
        "hard": "fail",
    }
    assert (checks["density"]["unit"], checks["easy"]["unit"]) == ("numbers", "documents")
    assert [checks[name]["pruned"] for name in ("easy", "hard")] == [0.9, 0.8]
    assert {name: asked["kind"] for name, asked in found["asked"].items()} == {
        "density": "density",
        "easy": "quiz",
        "hard": "quiz",
    }
    assert (
        "- **FAIL** `density::density`: density density 100.0% -> 100.0%"
        in (bench.results / "comparison_report.md").read_text()
    )
    changed = [json.loads(line) for line in (bench.results / "changed.jsonl").read_text().splitlines()]
    assert {line["gold"] for line in changed if "gold" in line} == {"number 1", "number 11", "number 12"}
    own = json.loads((bench.results / "pruned_model_results.json").read_text())
    assert own["tasks"] == {"easy": {"quiz": 0.9}, "hard": {"quiz": 0.8}}, "what is counted is no score"


def test_marks_select_them(bench: Bench) -> None:
    bench.models()
    bench.thresholds(THRESHOLDS.format(most="100%"))
    bench.run("-m", "easy").assert_outcomes(passed=1, deselected=2)
    assert {side for side, _ in bench.executor.requests} == {"original", "pruned"}
    asked = len(bench.executor.requests)
    bench.run("-m", "checkpoint or easy").assert_outcomes(passed=2, deselected=1)
    assert len(bench.executor.requests) == asked, "the store has the answers"


def test_a_proposal_names_what_it_can(bench: Bench) -> None:
    """A thresholds file of a recorded run has their sections."""
    from pytest_prunegate.__main__ import main

    bench.models(pruned={"wrong": [1]})
    bench.thresholds(THRESHOLDS.format(most="100%"))
    assert bench.run("--prunegate-record").ret == 0
    assert main(["thresholds", "--from=prunegate-results", "--output=proposed.yaml"]) == 0
    text = (bench.path / "proposed.yaml").read_text()
    assert "\nquiz:\n  easy:\n" in text
    assert "\n# density.density: no most: measured 100.00% (252 numbers)" in text


def test_an_unknown_section_is_told_with_theirs(bench: Bench) -> None:
    bench.models()
    bench.thresholds("quizz: {easy: {max_relative_drop: 1%, numbers: [1]}}\n")
    result = bench.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["*quizz: unknown key. Did you mean quiz? Known here: defaults, tasks, *, density, quiz.*"]
    )
