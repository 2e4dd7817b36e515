"""The JSON Schemas that ship: they and the records agree field by field, and every kind of run writes what they describe."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from jsonschema.exceptions import best_match
from support.families import write_group, write_task
from support.made_summary import made_summary
from support.scripted import BOOLQ, GSM8K, SQUAD, write_checkpoint, write_data

from pytest_prunegate.report.files.report_files import model_results
from pytest_prunegate.report.history.records import HISTORY_FILE, append_run
from pytest_prunegate.report.summary.values import json_values
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

NAMES = ("results", "model_results", "history", "changed")  # that of the overview has its own tests
SCHEMAS: dict[str, dict[str, Any]] = {
    name: json.loads(resource_path(f"{name}.schema.json").read_text(encoding="utf-8")) for name in NAMES
}


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_that_describes_every_field(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    records = [schema, *(node for node in schema["$defs"].values() if "properties" in node)]
    assert [node for node in records if not node["description"] or node["additionalProperties"]] == []
    assert [found for node in records for found in node["properties"].values() if not found["description"]] == []


def refuse(name: str, found: dict[str, Any]) -> None:
    """Fail where what was written is not what its schema says."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    error = best_match(jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=checker).iter_errors(found))
    assert error is None, f"{error.json_path}: {error.message}"


def test_a_made_up_summary(tmp_path: Path) -> None:
    summary = made_summary()
    refuse("results", json.loads(json.dumps(summary.as_json())))
    refuse("model_results", json_values(model_results(summary, "pruned")))
    refuse("history", json.loads(append_run(summary, tmp_path).read_text()))


def test_a_field_that_nobody_described_is_refused() -> None:
    found = json.loads(json.dumps(made_summary().as_json()))
    found["checks"][0]["surprise"] = 1
    with pytest.raises(AssertionError, match=r"checks\[0\].*surprise"):
        refuse("results", found)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A kind of run: its thresholds, both models' scripts, and what is asked for."""

    thresholds: str
    arguments: tuple[str, ...] = ()
    original: dict[str, Any] = dataclasses.field(default_factory=dict)
    pruned: dict[str, Any] = dataclasses.field(default_factory=lambda: {"wrong": [19]})
    documents: int = 20
    outcomes: frozenset[str] = frozenset({"pass"})


PLAIN = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"
FULL = f"""
sparsity: {{min: 0%}}
perplexity:
  wikitext2: {{max_relative_increase: 10%, seqlen: 8, dataset: {{path: text, data_files: {{test: data/text.txt}}}}}}
tasks:
  squadv2:
    {SQUAD}
    metrics: {{f1: 50%, HasAns_f1: {{max_absolute_drop: 0.01}}}}
    outputs: {{max_empty: 10%}}
  gsm8k:
    {GSM8K}
    num_fewshot: 2
    metrics: {{"exact_match,flexible-extract": 50%}}
"""
GROUP = "tasks:\n  pair: {metrics: {acc: 50%}}\n"
KINDS = {
    "full": Run(thresholds=FULL, pruned={"wrong": [7], "nll": 2.1}),
    "early": Run(thresholds=PLAIN, arguments=("--prunegate-decide=early",), pruned={"wrong": list(range(0, 200, 2))}, documents=200, outcomes=frozenset({"pass", "fail"})),
    "sample": Run(thresholds=PLAIN.replace("50%", "6%"), arguments=("--prunegate-limit=50",), pruned={"wrong": list(range(0, 200, 16))}, documents=200, outcomes=frozenset({"inconclusive"})),
    "confident": Run(thresholds=PLAIN.replace("50%", "{max_relative_drop: 50%, decide: confident}"), outcomes=frozenset({"pass"})),
    "recorded": Run(thresholds=PLAIN, arguments=("--prunegate-record",), outcomes=frozenset({"recorded"})),
    "noise": Run(thresholds=PLAIN, arguments=("--prunegate-noise-floor",), original={"again": {"wrong": [3]}}),
    "errors only": Run(thresholds=PLAIN, original={"wrong": list(range(20))}, outcomes=frozenset({"error"})),
    "incomplete": Run(thresholds=PLAIN + f"  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%}}\n", arguments=("-m", "boolq"), outcomes=frozenset({"pass", "not run"})),
    "group": Run(thresholds=GROUP, arguments=("--prunegate-include-path=tasks",)),
}  # fmt: skip


def validated(bench: Bench) -> dict[str, Any]:
    """The results of the last run, after all that it wrote was held against the schemas."""
    for path in bench.results.glob("*_model_results*.json"):
        refuse("model_results", json.loads(path.read_text()))
    for path in bench.results.glob("comparison_results*.json"):
        found: dict[str, Any] = json.loads(path.read_text())
        refuse("results", found)
    return found


def write_pair(folder: Path) -> None:
    """A group of two tasks."""
    folder.mkdir()
    for name in ("large", "small"):
        rows = [{"question": f"is number {n} even", "answer": int(n % 2)} for n in range(10)]
        write_task(
            folder, name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice=["yes", "no"],
            doc_to_target="answer", metric_list=[{"metric": "acc"}],
        )  # fmt: skip
    write_group(folder, "pair", ["large", "small"], weight_by_size=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run(bench: Bench, kind: str) -> None:
    run = KINDS[kind]
    write_data(bench.path / "data", run.documents)
    (bench.path / "data" / "text.txt").write_text(" ".join(f"word{n}" for n in range(200)))
    if kind == "group":
        write_pair(bench.path / "tasks")
    bench.models(original=run.original, pruned=run.pruned)
    bench.thresholds(run.thresholds)
    bench.run(*run.arguments)
    found = validated(bench)
    assert {check["outcome"] for check in found["checks"]} & run.outcomes, (
        "the run is of the kind that it is meant to be"
    )
    (line,) = (bench.results / HISTORY_FILE).read_text().splitlines()
    refuse("history", json.loads(line))


def test_a_file_in_a_models_place(bench: Bench) -> None:
    bench.models()
    bench.thresholds(PLAIN)
    bench.run("--prunegate-baseline-only", models=("--original=original",))
    refuse("model_results", json.loads((bench.results / "baseline_results.json").read_text()))
    assert not (bench.results / HISTORY_FILE).exists(), "nothing was compared"
    file = bench.results / "baseline.json.gz"
    bench.run(models=(f"--original={file.rename(bench.path / 'baseline.json.gz')}", "--pruned=pruned"))
    assert validated(bench)["provenance"]["original"]["file"]


def test_an_interrupted_run(bench: Bench) -> None:
    bench.models()
    bench.thresholds(PLAIN)
    bench.executor.fail_after = 25
    bench.run()
    assert validated(bench)["verdict"] == "incomplete"
    assert not (bench.results / HISTORY_FILE).exists(), "it is not finished"


def test_what_an_earlier_run_left(bench: Bench) -> None:
    """Figures that still hold, and stale ones that were moved away."""
    bench.models()
    bench.thresholds(PLAIN + f"  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%}}\n")
    bench.run("-m", "boolq")
    bench.run("-m", "squadv2")
    assert validated(bench)["checks"][0]["is_earlier"]
    write_checkpoint(bench.path / "other", wrong=[1, 2])
    bench.run(models=("--original=original", "--pruned=other"))
    assert validated(bench)["stale"]


def test_several_candidates(bench: Bench) -> None:
    bench.models()
    write_checkpoint(bench.path / "other", wrong=[1, 2])
    bench.thresholds(PLAIN)
    bench.run(models=("--original=original", "--pruned=one=pruned", "--pruned=two=other"))
    assert validated(bench)["checks"][0]["decision"]["candidates"] == 2
    assert len([*bench.results.glob("comparison_results_*.json")]) == 2
