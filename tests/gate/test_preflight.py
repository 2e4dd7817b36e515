"""What is wrong with a run is told before the first model loads, all at once; a preflight does only that."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from support.scripted import BOOLQ, TWO_TASKS

from pytest_prunegate.gate import estimates as places
from pytest_prunegate.gate import preflight

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

MISSING_DATA = """
  gsm8k:
    dataset: {path: json, data_files: {test: data/gsm8k.jsonl}}
    num_fewshot: 5
    metrics: {"exact_match,flexible-extract": 5%}
"""


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(TWO_TASKS)
    return bench


def is_untouched(project: Bench) -> bool:
    return not (project.executor.loads or project.results.exists() or (project.path / ".prunegate").exists())


def test_every_problem_is_in_one_list(project: Bench) -> None:
    project.thresholds(TWO_TASKS + MISSING_DATA)
    (project.path / "original" / "model.safetensors").unlink()
    (project.path / "pruned" / "tokenizer.json").write_text("{")
    (project.path / "pruned" / "config.json").write_text("{")
    result = project.run("--prunegate-output=thresholds.yaml/results", "--prunegate-store=thresholds.yaml/store")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*original: there are no weights in this directory*",
            "*pruned/config.json: not valid JSON*",
            "*--prunegate-output=*: results cannot be written there: Not a directory*",
            "*--prunegate-store=*: answers cannot be written there: Not a directory*",
            "*gsm8k: the task needs the split 'train' for its 5 examples*",
        ]
    )
    assert "Traceback" not in result.stderr.str()
    assert is_untouched(project)


def test_a_preflight_tells_and_leaves_nothing(project: Bench) -> None:
    before = sorted(project.path.rglob("*"))
    result = project.run("--prunegate-preflight")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "original: *fingerprint*",
            "settings: thresholds.yaml, *",
            "task:     boolq: all 20 documents*",
            "estimate: original: * of weights (* parameters in float32)*; * free (cpu, *)",
            "estimate: answers: about * in *.prunegate (1024 bytes for each of 120 answers, *); * free",
            "estimate: reports: *",
            "preflight: no problem was found",
        ]
    )
    assert sorted(path for path in project.path.rglob("*") if ".pytest_cache" not in path.parts) == before
    assert project.executor.loads == []


def test_a_preflight_fails_for_a_task_that_could_not_run(project: Bench) -> None:
    project.thresholds(TWO_TASKS + MISSING_DATA)
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*gsm8k: the task needs the split 'train' for its 5 examples*"])
    result.stdout.no_fnmatch_line("*no problem was found*")
    assert is_untouched(project)


def test_a_run_goes_on_without_a_task_that_cannot(project: Bench) -> None:
    project.thresholds(TWO_TASKS + MISSING_DATA)
    result = project.run()
    result.assert_outcomes(passed=2, errors=1)
    lines = result.stdout.lines
    told = next(
        number for number, line in enumerate(lines) if line.startswith("problem:  gsm8k: the task needs the split")
    )
    assert told < next(number for number, line in enumerate(lines) if line.startswith("thresholds.yaml"))


def test_a_preflight_beside_a_full_store_asks_for_nothing(project: Bench) -> None:
    assert project.run().ret == 0
    report = (project.results / "comparison_results.json").read_bytes()
    result = project.run("--prunegate-preflight")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["time:     every answer is in the store*", "preflight: no problem was found"])
    result.stdout.no_fnmatch_line("estimate:*")
    assert (project.results / "comparison_results.json").read_bytes() == report


def test_collecting_only_stays_collecting(project: Bench) -> None:
    result = project.run("--prunegate-preflight", "--collect-only", "-q")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc"])
    result.stdout.no_fnmatch_line("preflight:*")


@pytest.mark.parametrize("option", ["--prunegate-preflight", "-v"])
def test_weights_that_do_not_fit(project: Bench, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda _device: (4, "available memory and swap"))
    result = project.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    for side in ("original", "pruned"):
        result.stderr.fnmatch_lines([f"*{side} model {side}: its weights alone take about * (294 parameters in float32), and 4 bytes are free on *"])  # fmt: skip
    assert is_untouched(project)


def test_weights_that_are_spread_are_not_judged(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda _device: (4, "available memory and swap"))
    spread = (f"--prunegate-{side}-args=device_map=auto" for side in ("original", "pruned"))
    assert project.run(*spread).ret == 0


def test_answers_that_are_kept_need_no_memory(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.run().ret == 0
    monkeypatch.setattr(preflight, "free_memory", lambda _device: (4, "available memory and swap"))
    assert project.run().ret == 0


def test_a_tight_fit_is_a_note(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    for side in ("original", "pruned"):
        config = project.path / side / "config.json"
        config.write_text(config.read_text().replace("{", "{" + "".join(f'"{key}": {value}, ' for key, value in shape.items()), 1))  # fmt: skip
    monkeypatch.setattr(preflight, "free_memory", lambda _device: (30_000, "available memory and swap"))
    result = project.run("--prunegate-batch-size=4")
    assert result.ret == 0
    # 2 (keys, values) x 2 layers x 2 heads x 8 numbers x 4 bytes for each token
    result.stdout.fnmatch_lines(["note:     Memory is tight for the original model original: *keys and values (batch size 4, at most * tokens, in float32)*"])  # fmt: skip


def test_a_disk_without_room(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "free_disk", lambda _folder: 1000)
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--prunegate-store=*: about 1* are needed there (1024 bytes for each of 120 answers*), and 1000 bytes are free.*"])  # fmt: skip
    assert is_untouched(project)


@pytest.mark.slow
def test_a_metric_that_a_hub_holds_is_told_before_the_first_answer(project: Bench) -> None:
    (project.path / "tasks").mkdir()
    (project.path / "tasks" / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "test_split: test\ndataset_kwargs: {data_files: {test: data/gsm8k.jsonl}}\n"
        "metric_list:\n  - {metric: perplexity_of_nobody, aggregation: mean, higher_is_better: true, hf_evaluate: true}\n"
    )
    project.thresholds(
        f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n  mine:\n    metrics: {{perplexity_of_nobody: 5%}}\n"
    )
    result = project.run("--prunegate-include-path=tasks")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["problem:  thresholds.yaml:6: mine.perplexity_of_nobody: this metric cannot be computed here: lm-eval could not load *"])  # fmt: skip
    assert not any("What is the number" in request.context for _, request in project.executor.requests)


def scored_by(project: Bench, code: str) -> pytest.RunResult:
    """Run a task of the user's whose aggregation is some code."""
    (project.path / "tasks").mkdir()
    (project.path / "tasks" / "scoring.py").write_text(
        f"def process(doc, results):\n    return {{'mine': results[0], 'acc': 1.0}}\n\ndef aggregate(items):\n    {code}\n"
    )
    (project.path / "tasks" / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
        "test_split: test\ndataset_kwargs: {data_files: {test: data/gsm8k.jsonl}}\nprocess_results: !function scoring.process\n"
        "metric_list:\n  - {metric: mine, aggregation: !function scoring.aggregate, higher_is_better: true}\n"
        "  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    )
    project.thresholds("tasks:\n  mine:\n    metrics: {mine: 5%, acc: 5%}\n")
    return project.run("--prunegate-include-path=tasks")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise ConnectionError('the hub is not there')", "ConnectionError: the hub is not there"),
        ("raise LookupError('Resource punkt not found.')", "LookupError: Resource punkt not found"),
    ],
)
def test_a_metric_that_lacks_something(project: Bench, code: str, reason: str) -> None:
    result = scored_by(project, code)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [f"problem:  thresholds.yaml:3: mine.mine: this metric cannot be computed here: {reason}. *"]
    )


def test_a_made_up_answer_is_no_reason_to_complain(project: Bench) -> None:
    result = scored_by(project, "return float(len([int(item.split()[-1]) for item in items]))")
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("problem:*")


def test_the_models_stay_apart_for_every_document(project: Bench) -> None:
    """Tokenizers that differ are told before anything is asked, with the tasks that they spoil."""
    tokenizer = project.path / "pruned" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"Whitespace"', '"WhitespaceSplit"'))
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*boolq: document 0: the two models' tokenizers encode its prompt differently*", "*squadv2: document 0: *"])  # fmt: skip
    assert is_untouched(project)


def test_a_backend_that_is_not_installed(project: Bench) -> None:
    if importlib.util.find_spec("vllm"):
        pytest.skip("vllm is installed")
    result = project.run("--prunegate-preflight", "--prunegate-backend=vllm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--prunegate-backend=vllm: its model class cannot be imported*"])


def test_a_probe_of_a_folder_leaves_no_trace(tmp_path: Path) -> None:
    places.refuse_unwritable(tmp_path / "a" / "b", "--prunegate-output", "results")
    assert list(tmp_path.iterdir()) == []
