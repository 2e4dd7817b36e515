"""`python -m pytest_prunegate thresholds`: a thresholds file from a recorded run, and one that is tightened by it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.families import write_group, write_task
from support.made_summary import made_check, made_summary
from support.scripted import BOOLQ, GSM8K, SQUAD, write_checkpoint, write_data

from pytest_prunegate.__main__ import main
from pytest_prunegate.input.thresholds import Decision
from pytest_prunegate.report.summary.check_records import CheckSummary, DecisionSummary, ExactFigures
from pytest_prunegate.report.summary.provenance import asked_decision, asked_of
from pytest_prunegate.tasks.thresholds_file import load_thresholds
from pytest_prunegate.verdict.outcome import Basis, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Bench

    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.thresholds import Threshold, ThresholdsFile

DOCUMENTS = 400
RECORD = "--prunegate-record"
PLAIN = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: 90%}}
"""


@pytest.fixture
def large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Four hundred documents, and the command called in their folder."""
    write_data(bench.path / "data", DOCUMENTS)
    monkeypatch.chdir(bench.path)
    return bench


def every(step: int, start: int = 0) -> list[int]:
    return list(range(start, DOCUMENTS, step))


def load(path: Path) -> ThresholdsFile:
    file, mistakes = load_thresholds(path, display=path.name)
    assert mistakes.render() == ""
    return file


def propose(bench: Bench, name: str = "proposed.yaml") -> ThresholdsFile:
    assert main(["thresholds", "--from=prunegate-results", f"--output={name}"]) == 0
    return load(bench.path / name)


def values(file: ThresholdsFile) -> dict[str, dict[str, str]]:
    """The thresholds as they are written, by check."""
    found: dict[str, dict[str, str]] = {}
    for spec in file.specs:
        for name, threshold in spec.named_thresholds(file.defaults):
            found.setdefault(f"{spec.name}.{name}", {})[threshold.rule.key] = threshold.text
    return found


def results(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def change_results(bench: Bench, change: Callable[[dict[str, Any]], object]) -> None:
    found = results(bench)
    change(found)
    (bench.results / "comparison_results.json").write_text(json.dumps(found))


def replace_pruned(bench: Bench, **script: Any) -> None:
    shutil.rmtree(bench.path / "pruned")
    write_checkpoint(bench.path / "pruned", **script)


def zero_two_thirds(folder: Path) -> None:
    """Make two thirds of each matrix of a checkpoint's layers zeros."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    for name, matrix in weights.items():
        if "_proj" in name:
            matrix[:] = np.resize([0, 0, 1], matrix.shape)
    save_file(weights, path)


def ratchet(bench: Bench, capsys: pytest.CaptureFixture[str], text: str, *arguments: str) -> tuple[str, list[str]]:
    """The tightened text, and what was said of it."""
    path = bench.path / "mine.yaml"
    path.write_bytes(text.encode())
    capsys.readouterr()
    assert main(["thresholds", "--from=prunegate-results", "--ratchet=mine.yaml", *arguments]) == 0
    said = capsys.readouterr()
    return said.out, said.err.splitlines()


class TestProposal:
    @pytest.mark.slow
    def test_the_recorded_pair_passes_and_a_worse_one_fails(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        file = propose(large)
        written = values(file)["boolq.acc"]["max_relative_drop"]
        assert Decimal("0.10") < (file.tasks[0].metrics or ())[0].thresholds[0].value < Decimal("0.15")
        high = results(large)["checks"][0]["interval"]["relative"][1]
        assert float(written[:-1]) / 100 == pytest.approx(high, abs=0.001)
        assert float(written[:-1]) / 100 >= high
        assert large.run("--thresholds=proposed.yaml").ret == 0
        replace_pruned(large, wrong=every(5))
        assert large.run("--thresholds=proposed.yaml").ret == 1

    def test_a_file_that_can_be_read(self, large: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        capsys.readouterr()
        assert main(["thresholds", "--from=prunegate-results/comparison_results.json"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        lines = out.splitlines()
        started = results(large)["started"]
        assert lines[0] == (
            "# Proposed by `python -m pytest_prunegate thresholds` from prunegate-results/comparison_results.json"
        )
        assert lines[1] == f"# (run of {started}; original: original; pruned: pruned)."
        assert lines[4:] == [
            "tasks:",
            "  boolq:",
            "    dataset:",
            "      path: json",
            "      data_files: {validation: data/boolq.jsonl}",
            "    metrics:",
            "      acc: {max_relative_drop: 13.1%}  # lost 10.00%, 95% interval up to 13.02% (400 documents)",
        ]

    @pytest.mark.parametrize(
        ("arguments", "more"),
        [
            (["--prunegate-limit=60"], ""),
            (["--prunegate-limit=200"], ""),
            ([], "    decide: confident\n"),
            ([], "    decide: confident\n    cluster_by: passage\n"),
            ([], "    decide: early\n"),
            (["--prunegate-limit=60"], "    inconclusive: continue\n"),
        ],
    )
    @pytest.mark.parametrize("step", [3, 20])
    def test_the_recorded_pair_passes_however_it_is_decided(
        self, large: Bench, arguments: list[str], more: str, step: int
    ) -> None:
        rows = [json.loads(line) for line in (large.path / "data" / "boolq.jsonl").read_text().splitlines()]
        for number, row in enumerate(rows):
            row["passage"] = f"Passage {number // 10}."
        (large.path / "data" / "boolq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        large.models(pruned={"wrong": every(step)})
        metrics = "{acc: {max_relative_drop: 99%, max_absolute_drop: 0.99, min_recovery: 1%, min_score: 0.01}}"
        large.thresholds(PLAIN.replace("{acc: 90%}", metrics) + more)
        large.run(RECORD, *arguments)
        file = propose(large)
        assert list(values(file)["boolq.acc"]) == [
            "max_relative_drop",
            "max_absolute_drop",
            "min_recovery",
            "min_score",
        ]
        assert large.run("--thresholds=proposed.yaml").ret == 0

    def test_the_kind_of_threshold_is_kept(self, large: Bench) -> None:
        large.models(original={"wrong": every(4)}, pruned={"wrong": sorted({*every(4), *every(10)})})
        large.thresholds(PLAIN.replace("90%", "{max_absolute_drop: 0.9, min_recovery: 5%, min_score: 0.1}"))
        large.run(RECORD)
        found = values(propose(large))["boolq.acc"]
        check = results(large)["checks"][0]
        (_, relative), (_, absolute) = check["interval"]["relative"], check["interval"]["absolute"]
        assert float(found["max_absolute_drop"]) == pytest.approx(absolute + 0.0005, abs=0.0006)
        assert float(found["min_recovery"][:-1]) / 100 == pytest.approx(1 - relative - 0.0005, abs=0.0006)
        assert 0.55 < float(found["min_score"]) < check["pruned"]
        assert "max_relative_drop" not in found
        assert large.run("--thresholds=proposed.yaml").ret == 0

    def test_what_got_better_has_no_negative_threshold(self, large: Bench) -> None:
        large.models(original={"wrong": every(2)}, pruned={"wrong": [1]})
        large.thresholds(PLAIN)
        large.run(RECORD)
        assert values(propose(large)) == {"boolq.acc": {"max_relative_drop": "0%"}}
        assert large.run("--thresholds=proposed.yaml").ret == 0

    def test_the_noise_floor_is_the_least(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(bench.path)
        bench.models(original={"again": {"wrong": list(range(8))}}, pruned={"note": 1})
        bench.thresholds(PLAIN)
        bench.run(RECORD, "--prunegate-noise-floor")
        assert results(bench)["checks"][0]["noise"]["gross"] == 0.4
        assert values(propose(bench)) == {"boolq.acc": {"max_relative_drop": "40%"}}
        assert ", noise floor 40.00%, " in (bench.path / "proposed.yaml").read_text()

    def test_without_an_interval_the_measured_drop_alone(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        change_results(large, lambda found: found["checks"][0].update(interval=None))
        assert values(propose(large)) == {"boolq.acc": {"max_relative_drop": "10%"}}
        text = (large.path / "proposed.yaml").read_text()
        assert "# lost 10.00%, no interval is known: the measured loss alone (400 documents)" in text

    @pytest.mark.parametrize(
        ("high", "why"),
        [
            (None, "lost 10.00%; its interval is unbounded: the original cannot be told from 0"),
            (1.2, "lost 10.00%, 95% interval up to 120.00% (400 documents): a threshold of that would never fail"),
        ],
    )
    def test_no_threshold_where_none_says_anything(
        self, large: Bench, capsys: pytest.CaptureFixture[str], high: float | None, why: str
    ) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN + f"  squadv2:\n    {SQUAD}\n    metrics: [f1]\ndefaults: 50%\n")
        large.run(RECORD)
        change_results(large, lambda found: found["checks"][0]["interval"].update(relative=[0.0, high]))
        file = propose(large)
        assert list(values(file)) == ["squadv2.f1"], "a task without metrics would ask for all of them"
        assert f"  # boolq.acc: no max_relative_drop: {why}\n" in (large.path / "proposed.yaml").read_text()
        assert (
            "proposed.yaml: 1 thresholds; 1 checks without one, and why, are comments in it" in capsys.readouterr().err
        )

    @pytest.mark.slow
    def test_what_was_not_measured_has_none(self, large: Bench) -> None:
        large.models(original={"wrong": every(1)}, pruned={"wrong": every(10)})
        large.thresholds(
            PLAIN + f"  squadv2:\n    {SQUAD}\n    metrics: [f1, best_f1]\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n"
            "    metrics: {EM: {max_relative_drop: 50%, filter: strict-match}}\ndefaults: 50%\n"
        )
        replace_pruned(large, wrong=[])
        large.run(RECORD, "-m", "squadv2 or gsm8k")
        propose(large)
        text = (large.path / "proposed.yaml").read_text()
        assert "  # boolq.acc: no max_relative_drop: it was not measured (not run)\n" in text
        assert "  # gsm8k.EM: no max_relative_drop: it was not measured (error)\n" in text

    def test_a_silent_model_passes_nothing(self, large: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        large.models(pruned={"empty": every(1)})
        large.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 90%}}\n")
        large.run(RECORD)
        capsys.readouterr()
        assert main(["thresholds", "--from=prunegate-results"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines() == [
            "prunegate-results/comparison_results.json: no threshold can be proposed:",
            "squadv2.f1: no max_relative_drop: all outputs of the pruned model are empty, which no threshold passes",
        ]

    @pytest.mark.slow
    def test_names_and_filters_stay_as_they_were_written(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        text = f"""
            defaults: {{max_relative_drop: 90%}}
            tasks:
              squadv2:
                {SQUAD}
                metrics: [exact_match, f1]
              gsm8k:
                {GSM8K}
                num_fewshot: 0
                metrics: {{accuracy: {{max_relative_drop: 90%, filter: flexible-extract}}, "exact_match,strict-match": 90%}}
        """
        large.thresholds(text)
        large.run(RECORD)
        file = propose(large)
        assert [
            (task.name, metric.name, metric.filter) for task in file.tasks for metric in task.metrics or ()
        ] == [
            ("squadv2", "exact_match", None), ("squadv2", "f1", None), ("gsm8k", "accuracy", "flexible-extract"),
            ("gsm8k", "exact_match,strict-match", None),
        ]  # fmt: skip
        large.executor.requests.clear()
        assert large.run("--thresholds=proposed.yaml").ret == 0
        assert large.executor.requests == [], "the same is asked, and kept"
        assert results(large)["stale"] == []

    def test_shares_sparsity_and_perplexity(self, large: Bench) -> None:
        (large.path / "data" / "text.txt").write_text(" ".join(f"word{n}" for n in range(200)))
        large.models(pruned={"nll": 2.05, "empty": every(9, 1), "cut": every(8, 3)})
        zero_two_thirds(large.path / "pruned")
        large.thresholds(f"""
            sparsity: {{min: 10%, marks: [files]}}
            perplexity:
              wikitext2: {{max_relative_increase: 150%, seqlen: 8, nsamples: 20, dataset: {{path: text, data_files: {{test: data/text.txt}}}}}}
            tasks:
              squadv2:
                {SQUAD}
                metrics: {{f1: 90%}}
                outputs: {{max_empty: 90%, max_cut: 90%}}
        """)
        large.run(RECORD)
        by_label = {f"{check['task']}.{check['name']}": check for check in results(large)["checks"]}
        found = values(propose(large))
        assert found["sparsity.min"] == {"min": "66.6%"}, "two thirds, rounded down"
        assert found["squadv2.max_empty"] == {"max_share": "11.3%"}, "45 of 400 are 11.25%"
        assert found["squadv2.max_cut"] == {"max_share": "12.5%"}
        (_, high) = by_label["wikitext2.perplexity"]["interval"]["relative"]
        assert float(found["wikitext2.perplexity"]["max_relative_increase"][:-1]) / 100 == pytest.approx(
            high + 0.0005, abs=0.0006
        )
        assert large.run("--thresholds=proposed.yaml").ret == 0

    def test_a_perplexity_that_more_than_doubled(self, large: Bench) -> None:
        (large.path / "data" / "text.txt").write_text(" ".join(f"word{n}" for n in range(200)))
        large.models(pruned={"nll": 3.0})
        large.thresholds(
            "perplexity:\n  wikitext2: {max_relative_increase: 900%, seqlen: 8, dataset: {path: text, data_files: {test: data/text.txt}}}\n"
        )
        large.run(RECORD)
        (written,) = values(propose(large))["wikitext2.perplexity"].values()
        assert 171 < float(written[:-1]) < 180
        assert large.run("--thresholds=proposed.yaml").ret == 0

    def test_a_metric_that_more_than_doubled_where_lower_is_better(self, large: Bench) -> None:
        rows = [{"page": "word " * 20} for _ in range(10)]
        write_task(
            large.path / "tasks", "text", rows, output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{page}}",
            metric_list=[{"metric": "word_perplexity"}],
        )  # fmt: skip
        large.models(pruned={"nll": 2.3})
        large.thresholds("tasks:\n  text: {metrics: {word_perplexity: 5%}}\n")
        large.run(RECORD, "--prunegate-include-path=tasks")
        assert results(large)["checks"][0]["relative"] < -1, "its perplexity is more than twice what it was"
        assert list(values(propose(large))["text.word_perplexity"]) == ["max_relative_increase"]
        assert large.run("--thresholds=proposed.yaml", "--prunegate-include-path=tasks").ret == 0

    def test_a_group_is_asked_for_as_one(self, large: Bench) -> None:
        for name, numbers in {"many": range(300), "few": range(300, 400)}.items():
            rows = [{"question": f"is number {n} even?", "answer": n % 2} for n in numbers]
            write_task(
                large.path / "tasks", name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice=["yes", "no"],
                doc_to_target="answer", metric_list=[{"metric": "acc"}],
            )  # fmt: skip
        write_group(large.path / "tasks", "pair", ["many", "few"], weight_by_size=True)
        large.models(pruned={"wrong": every(10)})
        large.thresholds("tasks:\n  pair: {metrics: {acc: 90%}, limit: 0.9, decide: early}\n")
        arguments = ("--prunegate-include-path=tasks", "--prunegate-num-fewshot=0")
        large.run(RECORD, *arguments)
        file = propose(large)
        (task,) = file.tasks
        assert (task.name, task.limit, task.num_fewshot, task.decision.decide) == ("pair", Decimal("0.9"), 0, "early")
        assert list(values(file)) == ["pair.acc"]
        assert large.run("--thresholds=proposed.yaml", arguments[0]).ret == 0

    def test_a_tag_becomes_its_tasks_with_its_mark(self, large: Bench) -> None:
        rows = [{"question": f"is number {n} even?", "answer": n % 2} for n in range(100)]
        for name in ("first", "second"):
            write_task(
                large.path / "tasks", name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice=["yes", "no"],
                doc_to_target="answer", metric_list=[{"metric": "acc"}], tag="both",
            )  # fmt: skip
        large.models(pruned={"wrong": every(10)})
        large.thresholds("tasks:\n  both: {metrics: {acc: 90%}}\n")
        large.run(RECORD, "--prunegate-include-path=tasks")
        file = propose(large)
        assert [(task.name, task.marks) for task in file.tasks] == [("first", ("both",)), ("second", ("both",))]
        result = large.run("--thresholds=proposed.yaml", "--prunegate-include-path=tasks", "-m", "both")
        result.assert_outcomes(passed=2)

    @pytest.mark.parametrize(
        "settings",
        [
            "num_fewshot: 2",
            "num_fewshot: 2, fewshot_seed: 7",
            "limit: 50",
            "limit: 0.25",
            "repeats: 2",
            "max_gen_toks: 12",
            "gen_kwargs: {until: [\"\\n\\n\", 'Q: ', \"#\"], temperature: 0.5, do_sample: true, top_k: 3, bad: null, x: {y: 1.0e-5}}",
            'apply_chat_template: true, system_instruction: "Be brief:\\n\\n - no words;\\n  # at all. Straße 1%"',
            "apply_chat_template: tool_use, fewshot_as_multiturn: false",
            "apply_chat_template: false, chat_template_kwargs: {enable_thinking: false, date: 2024 May}",
            "truncate: allow",
            "cluster_by: question",
            "slice_by: [question, answer]",
            "marks: [nightly, slow2]",
            "decide: early, error_rate: 2.5%, indifference: 0.015",
            "inconclusive: continue",
            "dataset: {path: json, data_files: {train: [data/gsm8k.jsonl, data/boolq.jsonl], test: data/gsm8k.jsonl}, name: x}",
        ],
    )  # fmt: skip
    def test_every_setting_of_a_task_comes_back(self, tmp_path: Path, settings: str) -> None:
        write_data(tmp_path / "data")
        checks = "metrics: {accuracy: {max_relative_drop: 5%, filter: flexible-extract}}, outputs: {max_cut: 5%}"
        assert_comes_back(tmp_path, f"tasks:\n  gsm8k: {{{settings}, {checks}}}\n")

    @pytest.mark.parametrize(
        "text",
        [
            "tasks:\n  t:\n    decide: early\n    metrics: {a: {max_relative_drop: 5%, decide: full}, b: {max_relative_drop: 5%, indifference: 2%}}\n",
            "tasks:\n  t: {metrics: {a: 5%}, outputs: {max_empty: 5%}, error_rate: 0.02}\n",
            "tasks:\n  \"odd: name\": {metrics: {\"a,b: c\": 5%, '#d': {min_score: 0.01}}}\n  'null': {metrics: {'on': 5%, '1': 5%}}\n",
            "perplexity:\n  wikitext2: {max_relative_increase: 5%, seqlen: 128, nsamples: 3, decide: confident, error_rate: 5%, marks: [text]}\n"
            "  mine: {max_relative_increase: 5%, dataset: {path: text, data_files: {test: data/boolq.jsonl}}}\n",
            "defaults: {max_relative_drop: 5%, decide: early, error_rate: 3%}\nperplexity:\n  wikitext2: 5%\ntasks:\n  t: {metrics: [a]}\n",
            "sparsity: {min: 50%, marks: [files]}\n",
        ],
    )  # fmt: skip
    def test_everything_else_comes_back(self, tmp_path: Path, text: str) -> None:
        write_data(tmp_path / "data")
        assert_comes_back(tmp_path, text)


def assert_comes_back(tmp_path: Path, text: str) -> None:
    """What a file asks for is what the file says that is proposed from a run of it, thresholds aside."""
    from pytest_prunegate.input.options import Options

    (tmp_path / "thresholds.yaml").write_text(text)
    file = load(tmp_path / "thresholds.yaml")
    options = object.__new__(Options)
    object.__setattr__(options, "record", True)
    asked = {task.name: asked_of(task, options) for task in gate_tasks(file)}
    checks = tuple(recorded(task, name) for task, one in asked.items() for name in one.checks)
    summary = replace(made_summary(checks, changes=0), asked=asked, tasks=())
    (tmp_path / "comparison_results.json").write_text(json.dumps(summary.as_json()))
    assert main(["thresholds", f"--from={tmp_path}", f"--output={tmp_path / 'again.yaml'}"]) == 0
    again = load(tmp_path / "again.yaml")
    assert specs(again) == specs(file)


def gate_tasks(file: ThresholdsFile) -> list[Any]:
    """The tasks of a file with their checks, by their names alone."""
    from pytest_prunegate.tasks.checks import Check, GateTask, Measure
    from pytest_prunegate.tasks.kinds import sections

    found = []
    for spec in file.specs:
        checks: dict[str | None, tuple[Threshold, ...]] = {}
        for name, threshold in spec.named_thresholds(()):
            checks[name] = (*checks.get(name, ()), threshold)
        found.append(GateTask(kind=sections()[spec.section], spec=spec, selected=True, checks=tuple(
            Check(
                task=spec.name, name=str(name), measure=Measure.METRIC, metric="m", filter="none", thresholds=thresholds,
                file="thresholds.yaml", line=1,
            ) for name, thresholds in checks.items()
        )))  # fmt: skip
    return found


def recorded(task: str, name: str) -> CheckSummary:
    """A check's figures: half of a score of 1 is left."""
    decision = DecisionSummary(
        asked=asked_decision(Decision()), outcome=Outcome.PASS, basis=Basis.MEASURED, error_rate=None, indifference=0.0, documents=10, of=10,
        is_estimate=False, estimate_of=None, needed=None, seed=None, checks=1, candidates=1, earlier_looks=(), strictest={"min_score": 0.4},
        note=None,
    )  # fmt: skip
    return made_check(
        task, name, "recorded", 1.0, 0.5, exact=ExactFigures(original="1", pruned="1/2", drop="1/2"), decision=decision, interval=None,
        documents=10,
    )  # fmt: skip


def specs(file: ThresholdsFile) -> list[dict[str, Any]]:
    """What is asked for, without lines, thresholds, and whatever follows from both."""
    found = []
    for spec in file.specs:
        said = {field.name: getattr(spec, field.name) for field in fields(spec)}
        for kind in ("metrics", "outputs"):
            if kind in said:
                said[kind] = [(one.name, one.filter, one.decision.settled(), *rules(one)) for one in said[kind]]
        if spec.section == "perplexity":
            decision = spec.decision.settled()
            said["decision"] = (decision.decide.value.replace("early", "full"), decision.error_rate)
        elif "decision" in said:
            del said["decision"]  # that of its checks counts
        if "thresholds" in said:
            said["thresholds"] = rules(spec)
        found.append({name: value for name, value in said.items() if name != "line"})
    return found


def rules(one: Any) -> list[Rule]:
    return [threshold.rule for threshold in one.thresholds]


RATCHET = f"""\
# Mine: keep every word — and the äöü.
defaults:   {{max_relative_drop: 50%, decide: full}}   # of those without their own

tasks:
    boolq:
        {BOOLQ}
        metrics: {{  "acc" : '90 %' }}    # a quoted one
    squadv2:
        {SQUAD}
        metrics:
            f1: &far 0.9                  # a fraction
            exact_match: {{max_relative_drop: 1%, min_recovery: 5%, max_absolute_drop: 0.9, min_score: 0.01}}
            HasAns_f1:
                max_relative_drop: *far
            HasAns_exact:
        outputs: {{max_empty: 100%, max_cut: "0.5"}}
"""


class TestRatchet:
    @pytest.fixture
    def measured(self, large: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
        def record() -> None:
            large.models(original={"empty": every(4)}, pruned={"wrong": every(10), "empty": every(4)})
            large.thresholds(RATCHET)
            large.run(RECORD)

        large.once(tmp_path_factory.getbasetemp() / "recorded for a ratchet", record)
        return large

    def need(self, bench: Bench, label: str, kind: str = "relative") -> float:
        """The upper end of a check's loss."""
        check = next(one for one in results(bench)["checks"] if f"{one['task']}.{one['name']}" == label)
        high: float = check["interval"][kind][1]
        return high

    def test_values_alone_change(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        text, said = ratchet(measured, capsys, RATCHET)
        assert (measured.path / "mine.yaml").read_text() == RATCHET, "printed, not written"
        (measured.path / "tight.yaml").write_text(text)
        found = values(load(measured.path / "tight.yaml"))
        acc, default, far = (
            found["boolq.acc"]["max_relative_drop"],
            found["squadv2.HasAns_exact"]["max_relative_drop"],
            found["squadv2.f1"]["max_relative_drop"],
        )
        exact = found["squadv2.exact_match"]
        expected = (
            RATCHET.replace("'90 %'", f"'{acc}'")
            .replace("max_relative_drop: 50%", f"max_relative_drop: {default}")
            .replace("&far 0.9", f"&far {far}")
            .replace("min_recovery: 5%", f"min_recovery: {exact['min_recovery']}")
            .replace("max_absolute_drop: 0.9", f"max_absolute_drop: {exact['max_absolute_drop']}")
            .replace("min_score: 0.01", f"min_score: {exact['min_score']}")
            .replace("max_empty: 100%", "max_empty: 25%")
            .replace('max_cut: "0.5"', 'max_cut: "0"')
        )
        assert acc.endswith(" %")
        assert text == expected
        assert float(acc[:-1]) / 100 == pytest.approx(self.need(measured, "boolq.acc") + 0.0005, abs=0.0006)
        assert float(far) == pytest.approx(self.need(measured, "squadv2.HasAns_f1") + 0.0005, abs=0.0006), "of two, the larger need"  # fmt: skip
        assert self.need(measured, "squadv2.HasAns_f1") > self.need(measured, "squadv2.f1")
        assert float(default[:-1]) / 100 == pytest.approx(
            self.need(measured, "squadv2.HasAns_exact") + 0.0005, abs=0.0006
        )
        assert said[:3] == [
            f"mine.yaml:2: defaults: max_relative_drop 50% -> {default}",
            f"mine.yaml:7: boolq.acc: max_relative_drop 90 % -> {acc.replace(' ', '')}",
            f"mine.yaml:11: squadv2.f1, squadv2.HasAns_f1: max_relative_drop 0.9 -> {far}",
        ]
        assert said[-1].startswith("mine.yaml:12: squadv2.exact_match: max_relative_drop 1% stays: ")
        assert said[-1].endswith(" (400 documents)), which would loosen it")

    def test_the_tightened_file_passes_and_a_second_time_changes_nothing(
        self, measured: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text, _ = ratchet(measured, capsys, RATCHET.replace("max_relative_drop: 1%, ", ""))
        (measured.path / "tight.yaml").write_text(text)
        assert measured.run("--thresholds=tight.yaml").ret == 0
        again, said = ratchet(measured, capsys, text)
        assert again == text
        assert said[-1] == "mine.yaml: nothing to tighten"
        assert all(" stays: it is what is needed (" in line for line in said[:-1])

    def test_a_worse_run_loosens_nothing(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        text, _ = ratchet(measured, capsys, RATCHET)
        replace_pruned(measured, wrong=every(3), empty=every(3), cut=every(5))
        measured.thresholds(text)
        measured.run(RECORD)
        again, said = ratchet(measured, capsys, text)
        assert again == text
        assert len([line for line in said if line.endswith(", which would loosen it")]) == 9

    def test_a_better_run_tightens_further(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        text, _ = ratchet(measured, capsys, RATCHET)
        replace_pruned(measured, wrong=every(40, 1), empty=every(4))
        measured.run(RECORD)
        again, _ = ratchet(measured, capsys, text)
        (measured.path / "first.yaml").write_text(text)
        (measured.path / "second.yaml").write_text(again)
        first, second = (
            {(label, rule): value for label, rules in values(load(measured.path / name)).items() for rule, value in rules.items()}
            for name in ("first.yaml", "second.yaml")
        )  # fmt: skip
        for (label, rule), value in second.items():
            before, after = (float(text.rstrip(" %")) for text in (first[label, rule], value))
            assert after >= before if rule.startswith("min") else after <= before
        assert first != second

    def test_written_in_place(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        path = measured.path / "mine.yaml"
        printed, said = ratchet(measured, capsys, RATCHET)
        path.chmod(0o640)
        (measured.path / "link.yaml").symlink_to(path)
        assert main(["thresholds", "--from=prunegate-results", "--ratchet=link.yaml", "--write"]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        assert [line.replace("link.yaml", "mine.yaml") for line in err.splitlines()] == said
        assert path.read_text() == printed
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert (measured.path / "link.yaml").is_symlink()
        assert [one.name for one in measured.path.iterdir() if one.name.startswith(".mine")] == []

    @pytest.mark.parametrize("start", ["", "\ufeff"])
    def test_line_ends_and_marks_of_the_encoding_stay(
        self, measured: Bench, capsys: pytest.CaptureFixture[str], start: str
    ) -> None:
        plain, _ = ratchet(measured, capsys, RATCHET)
        ratchet(measured, capsys, start + RATCHET.replace("\n", "\r\n"), "--write")
        assert (measured.path / "mine.yaml").read_bytes().decode() == start + plain.replace("\n", "\r\n")

    @pytest.mark.parametrize(
        ("metrics", "expected"),
        [
            ("{acc: 0.9}", "{acc: 0.131}"),
            ("{acc: 9e-1}", "{acc: 0.131}"),
            ("{acc: +90%}", "{acc: 13.1%}"),
            ("{acc: &a5 90%}", "{acc: &a5 13.1%}"),
            ("{acc: !!str 90%}", "{acc: !!str 13.1%}"),
            ("{acc: ! 90.0 %}", "{acc: ! 13.1 %}"),
            ("{'acc': {'max_relative_drop': \"90%\"}}", "{'acc': {'max_relative_drop': \"13.1%\"}}"),
            ("{acc: {max_relative_drop: 13.1%, max_absolute_drop: .9}}", "{acc: {max_relative_drop: 13.1%, max_absolute_drop: 0.131}}"),
            ("{acc: {min_recovery: 0.1}}", "{acc: {min_recovery: 0.869}}"),
            ("\n      acc:\n        max_relative_drop: >-\n          90%", "\n      acc:\n        max_relative_drop: >-\n          13.1%"),
        ],
    )  # fmt: skip
    def test_ways_to_write_a_value(
        self, large: Bench, capsys: pytest.CaptureFixture[str], metrics: str, expected: str
    ) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        text, _ = ratchet(large, capsys, PLAIN.replace("{acc: 90%}", metrics))
        assert text == PLAIN.replace("{acc: 90%}", expected)

    def test_what_cannot_be_edited_is_refused(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        (measured.path / "mine.yaml").write_text(RATCHET.replace("'90 %'", '"\\x39\\x30%"'))
        capsys.readouterr()
        assert main(["thresholds", "--from=prunegate-results", "--ratchet=mine.yaml", "--write"]) == 2
        assert capsys.readouterr().err == (
            "mine.yaml:7: 90% is written in a way that cannot be edited in place. Write it plainly.\n"
        )
        assert "\\x39\\x30%" in (measured.path / "mine.yaml").read_text()

    def test_what_was_not_measured_stays(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        text = RATCHET.replace("            HasAns_exact:\n", "            HasAns_exact:\n            NoAns_f1: 90%\n")
        text += "    hellaswag: {metrics: {acc: 30%}}\n"

        def spoil(found: dict[str, Any]) -> None:
            found["checks"][0]["outcome"] = "error"  # boolq.acc
            found["checks"][1]["interval"] = None  # squadv2.f1
            found["checks"][2]["interval"]["absolute"] = [None, None]  # squadv2.exact_match
            found["checks"][2]["decision"]["strictest"] = {}

        change_results(measured, spoil)
        found, said = ratchet(measured, capsys, text)
        assert "'90 %'" in found
        assert "&far 0.9" in found
        assert [line.partition(" (lost")[0] for line in said if "stays" in line] == [
            "mine.yaml:7: boolq.acc: max_relative_drop 90 % stays: it was not measured (error)",
            "mine.yaml:11: squadv2.f1, squadv2.HasAns_f1: max_relative_drop 0.9 stays: squadv2.f1: lost 5.00%, no interval is known: "
            "the measured loss alone (400 documents)",
            f"mine.yaml:12: squadv2.exact_match: max_relative_drop 1% stays: {self.written(found)} is needed",
            "mine.yaml:12: squadv2.exact_match: max_absolute_drop 0.9 stays: lost 0.0500; its interval is unbounded",
            "mine.yaml:12: squadv2.exact_match: min_score 0.01 stays: no interval of the pruned model's own score is known",
            "mine.yaml:16: squadv2.NoAns_f1: max_relative_drop 90% stays: it is not in the results",
            "mine.yaml:18: hellaswag.acc: max_relative_drop 30% stays: it is not in the results",
        ]  # fmt: skip

    def written(self, text: str) -> str:
        """What exact_match needs, as its recovery says."""
        recovery = Decimal(text.partition("min_recovery: ")[2].partition("%")[0])
        return f"{(100 - recovery).normalize():f}%"

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ("    hellaswag: {metrics: [acc]}\n", "hellaswag.acc: it is not in the results"),
            ("    hellaswag:\n", "hellaswag: the file names no metrics of it"),
        ],
    )
    def test_defaults_wait_for_everything_that_they_serve(
        self, measured: Bench, capsys: pytest.CaptureFixture[str], more: str, why: str
    ) -> None:
        text, said = ratchet(measured, capsys, RATCHET + more)
        assert "{max_relative_drop: 50%," in text
        assert f"mine.yaml:2: defaults: max_relative_drop 50% stays: {why}" in said

    @pytest.mark.parametrize(
        ("more", "why"),
        [
            ("num_fewshot: 3", "num_fewshot"),
            ("truncate: allow, system_instruction: Be brief.", "system_instruction, truncate"),
            ("limit: 10, marks: [mine], decide: early, num_fewshot: 0", None),
        ],
    )
    def test_figures_of_other_settings_say_nothing(
        self, large: Bench, capsys: pytest.CaptureFixture[str], more: str, why: str | None
    ) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        text, said = ratchet(large, capsys, f"tasks:\n  boolq: {{{BOOLQ}, metrics: {{acc: 90%}}, {more}}}\n")
        if why is None:
            assert "{acc: 13.1%}" in text
        else:
            assert said[0] == f"mine.yaml:2: boolq.acc: max_relative_drop 90% stays: it was measured with other settings ({why})"  # fmt: skip

    def test_data_may_lie_in_another_folder(self, large: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(PLAIN)
        large.run(RECORD)
        (large.path / "elsewhere").mkdir()
        shutil.copytree(large.path / "data", large.path / "elsewhere" / "data")
        (large.path / "elsewhere" / "t.yaml").write_text(PLAIN)
        capsys.readouterr()
        assert main(["thresholds", "--from=prunegate-results", "--ratchet=elsewhere/t.yaml"]) == 0
        assert "acc: 13.1%" in capsys.readouterr().out

    def test_a_tag_is_tightened_to_what_its_tasks_need(self, large: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        for name, numbers in {"first": range(200), "second": range(200, 400)}.items():
            rows = [{"question": f"is number {n} even?", "answer": n % 2} for n in numbers]
            write_task(
                large.path / "tasks", name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice=["yes", "no"],
                doc_to_target="answer", metric_list=[{"metric": "acc"}], tag="both",
            )  # fmt: skip
        large.models(pruned={"wrong": list(range(200, 400, 4))})
        text = "tasks:\n  both: {metrics: {acc: 90%}}\n"
        large.thresholds(text)
        large.run(RECORD, "--prunegate-include-path=tasks")
        found, _ = ratchet(large, capsys, text)
        assert found == f"tasks:\n  both: {{metrics: {{acc: {self.need(large, 'second.acc') + 0.0005:.1%}}}}}\n"
        large.run(RECORD, "--prunegate-include-path=tasks", "-m", "second", "--prunegate-output=part")
        (large.results / "comparison_results.json").write_bytes((large.path / "part" / "comparison_results.json").read_bytes())  # fmt: skip
        found, said = ratchet(large, capsys, text)
        assert found == text
        assert said[0] == "mine.yaml:2: both.acc: max_relative_drop 90% stays: it was not measured (not run)"

    def test_perplexity_sparsity_and_shares(self, large: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        (large.path / "data" / "text.txt").write_text(" ".join(f"word{n}" for n in range(200)))
        large.models(pruned={"nll": 2.05, "empty": every(9, 1)})
        zero_two_thirds(large.path / "pruned")
        text = f"""\
sparsity: {{min: 10%}}
perplexity:
  wikitext2: {{max_relative_increase: 150%, seqlen: 8, dataset: {{path: text, data_files: {{test: data/text.txt}}}}}}
tasks:
  squadv2: {{{SQUAD}, metrics: {{f1: 90%}}, outputs: {{max_empty: 0.5, max_cut: 5%}}}}
"""
        large.thresholds(text)
        large.run(RECORD)
        found, said = ratchet(large, capsys, text)
        high = self.need(large, "wikitext2.perplexity")
        assert "{min: 66.6%}" in found
        assert f"{{max_relative_increase: {high + 0.0005:.1%}," in found
        assert "{max_empty: 0.113, max_cut: 0%}" in found
        assert "mine.yaml:1: sparsity.min: min 10% -> 66.6%" in said
        assert "mine.yaml:5: squadv2.max_empty: max_empty 0.5 -> 0.113" in said
        small, said = ratchet(large, capsys, text.replace("10%", "70%"))
        assert "{min: 70%}" in small
        assert said[-1].startswith("mine.yaml:1: sparsity.min: min 70% stays: 66.6% is needed (measured 66.67%")
        tighter, _ = ratchet(large, capsys, text.replace("seqlen: 8", "seqlen: 16"))
        assert "max_relative_increase: 150%" in tighter


class TestMistakes:
    @pytest.fixture
    def measured(
        self, large: Bench, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
    ) -> Bench:
        def record() -> None:
            large.models(pruned={"wrong": every(10)})
            large.thresholds(PLAIN)
            large.run(RECORD)

        large.once(tmp_path_factory.getbasetemp() / "recorded plainly", record)
        capsys.readouterr()
        return large

    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
        assert main(["thresholds", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return err

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "there.json: cannot be read: No such file or directory. Name a comparison_results.json, or the folder that holds it.\n"),
            ("{", "there.json: is not JSON: Input data was truncated.\n"),
            ("\x80", "there.json: is not JSON: "),
            ("[]", "there.json: is not of version 8 (found: None). Run the gate again: its store has the answers.\n"),
            ('{"version": 2}', "there.json: is not of version 8 (found: 2). "),
            ('{"version": 8, "asked": {}}', "there.json: is damaged: Object missing required field `verdict`.\n"),
            (json.dumps(made_summary((), changes=0).as_json()), "there.json: holds no measured check. "),
        ],
    )  # fmt: skip
    def test_results_that_are_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None, message: str
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        if content is not None:
            (tmp_path / "there.json").write_text(content, encoding="latin-1")
        assert self.said(capsys, "--from=there.json").startswith(message)

    def test_an_empty_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "comparison_results.json: cannot be read: No such file" in self.said(capsys, f"--from={tmp_path}")

    def test_a_file_that_is_there_is_not_overwritten(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        before = (measured.path / "thresholds.yaml").read_text()
        said = self.said(capsys, "--from=prunegate-results", "--output=thresholds.yaml")
        assert said == "thresholds.yaml: is there already. Name another file, or tighten this one with --ratchet=thresholds.yaml.\n"  # fmt: skip
        assert (measured.path / "thresholds.yaml").read_text() == before

    def test_a_folder_that_is_not_there(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.said(capsys, "--from=prunegate-results", "--output=nowhere/t.yaml")
        assert said == "nowhere/t.yaml: No such file or directory\n"

    def test_mistakes_of_the_thresholds_file_are_told_with_their_lines(
        self, measured: Bench, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (measured.path / "bad.yaml").write_text("tasks:\n  boolq: {metrics: {acc: 5}}\n  gsm8k: {limits: 3}\n")
        said = self.said(capsys, "--from=prunegate-results", "--ratchet=bad.yaml").splitlines()
        assert said[0].startswith("bad.yaml:2: boolq.acc: max_relative_drop is 5: it must lie between 0 and 1")
        assert said[1].startswith("bad.yaml:3: gsm8k.limits: unknown key. Did you mean limit?")
        said = self.said(capsys, "--from=prunegate-results", "--ratchet=none.yaml").splitlines()
        assert said == ["none.yaml: the thresholds file cannot be read: No such file or directory."]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--write"], "--write is for --ratchet=FILE. To write a proposed file, give --output=FILE.\n"),
            (["--ratchet=t.yaml", "--output=u.yaml"], "--output is for a proposed file. --ratchet prints the tightened one, "),
        ],
    )  # fmt: skip
    def test_options_that_do_not_go_together(
        self, measured: Bench, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
    ) -> None:
        assert self.said(capsys, "--from=prunegate-results", *arguments).startswith(message)

    def test_data_that_is_gone(self, measured: Bench, capsys: pytest.CaptureFixture[str]) -> None:
        measured.run(RECORD)  # with the data of this very folder
        capsys.readouterr()
        (measured.path / "data" / "boolq.jsonl").unlink()
        said = self.said(capsys, "--from=prunegate-results")
        assert said.startswith(
            "prunegate-results/comparison_results.json: what was asked for there cannot be asked for here:\n"
        )
        assert "boolq.dataset.data_files.validation: there is no file " in said

    def test_the_module_is_a_command(self, measured: Bench) -> None:
        command = [sys.executable, "-m", "pytest_prunegate", "thresholds", "--from", "prunegate-results"]
        found = subprocess.run(
            command, capture_output=True, text=True, cwd=measured.path, env={**os.environ, "LC_ALL": "C"}, check=False
        )
        assert found.returncode == 0
        assert "acc: {max_relative_drop: 13.1%}" in found.stdout
        assert found.stderr == ""
        nothing = subprocess.run(command[:3], capture_output=True, text=True, cwd=measured.path, check=False)
        assert nothing.returncode == 2
        assert "required: COMMAND" in nothing.stderr

    def test_the_command_loads_nothing_heavy(self, tmp_path: Path) -> None:
        code = "import sys\nfrom pytest_prunegate.__main__ import main\nmain(['thresholds', '--from=x'])\nprint(*sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert not {"torch", "lm_eval", "numpy", "scipy", "transformers"} & set(found.stdout.split())
