"""Code of others runs only where the command line asks for it by name."""

from __future__ import annotations

import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ, GSM8K
from support.tiny import write_tiny_llama

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

TINY = ("--original=original", "--pruned=tiny")
CHECK = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: {{max_absolute_drop: 1}}}}\n"


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(CHECK)
    return bench


@pytest.fixture
def loading(real_bench: Bench) -> Bench:
    write_tiny_llama(real_bench.path / "tiny")
    real_bench.thresholds(CHECK)
    return real_bench


def text_of(result: pytest.RunResult) -> str:
    return "\n".join(result.outlines + result.errlines)


def refused(result: pytest.RunResult, *messages: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text_of(result)
    for message in messages:
        assert message in text_of(result)
    assert "Traceback" not in text_of(result)


@pytest.mark.parametrize(
    "argument",
    ["trust_remote_code=true", "trust_remote_code=True", "trust_remote_code=1", '{"trust_remote_code": true}',
     "attn_implementation=someone/kernels", "allow_all_kernels=true"],
)  # fmt: skip
@pytest.mark.parametrize("side", ["original", "pruned"])
def test_arguments_that_run_code(project: Bench, side: str, argument: str) -> None:
    message = "would run code that comes with a model or from a hub. If you know and trust it, add --prunegate-trust=remote-code."
    refused(project.run(f"--prunegate-{side}-args={argument}"), message)
    refused(project.run(f"--prunegate-{side}-args={argument}", "--prunegate-trust=unsafe-tasks"), message)
    assert project.run(f"--prunegate-{side}-args={argument}", "--prunegate-trust=remote-code").ret == 0


def test_what_is_no_trust(project: Bench) -> None:
    refused(
        project.run("--prunegate-trust=all"),
        "--prunegate-trust=all: expected some of remote-code, unsafe-tasks.",
    )
    refused(
        project.run("--prunegate-pruned-args=weights_only=false"),
        "pickled weights are read as plain tensors only; save the model as safetensors",
    )
    message = "transformers reads pickled weights as plain tensors (weights_only=True), whatever is asked"
    refused(project.run("--prunegate-trust=pickle"), message)
    refused(
        project.run("--prunegate-gen-kwargs=custom_generate=someone/code"), "custom_generate=someone/code: would run"
    )


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml"])
def test_a_repository_cannot_trust_itself(project: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    option = "--prunegate-trust=remote-code"
    head = "[pytest]" if name == "pytest.ini" else "[tool.pytest.ini_options]"
    quote = "" if name == "pytest.ini" else '"'
    (project.path / name).write_text(f"{head}\naddopts = {quote}{option}{quote}\n")
    message = "--prunegate-trust stands in the addopts of an ini file, where a repository could trust itself."
    refused(project.run(), message)
    (project.path / name).write_text(f"{head}\nprunegate_trust = {quote}remote-code{quote}\n")
    assert project.run("--prunegate-pruned-args=trust_remote_code=true").ret == pytest.ExitCode.USAGE_ERROR
    (project.path / name).unlink()
    monkeypatch.setenv("PYTEST_ADDOPTS", option)
    assert project.run("--prunegate-pruned-args=trust_remote_code=true").ret == 0


def test_a_model_with_code_of_its_own(loading: Bench) -> None:
    """The code says that it ran by leaving a file."""
    folder, mark = loading.path / "tiny", loading.path / "ran"
    write_tiny_llama(loading.path / "original")
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "code.MyConfig", "AutoModelForCausalLM": "code.MyModel"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "code.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine'\n"
        "class MyModel(LlamaForCausalLM):\n    config_class = MyConfig\n"
    )
    result = loading.run(models=TINY)
    assert result.ret == 10
    expected = "it comes with Python code of its own, which is not run unless you trust it: add --prunegate-trust=remote-code and "
    assert expected + "--prunegate-pruned-args=trust_remote_code=true" in text_of(result)
    assert not mark.exists()
    trusted = ("--prunegate-trust=remote-code", "--prunegate-pruned-args=trust_remote_code=true")
    assert loading.run(*trusted, models=TINY).ret == 0
    assert mark.exists()


class Running:
    """Pickled, it is a call of os.system."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def pickled(folder: Path, *, extra: object = None) -> None:
    """The same model's weights as a pickle, with an object more in it."""
    import torch
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    if extra is not None:
        weights["extra"] = extra
    torch.save(weights, folder / "pytorch_model.bin", pickle_module=pickle)
    (folder / "model.safetensors").unlink()


def test_pickled_weights(loading: Bench) -> None:
    write_tiny_llama(loading.path / "original")
    pickled(loading.path / "tiny")
    result = loading.run(models=TINY)
    assert result.ret == 0, text_of(result)


def test_pickled_weights_that_run_code(loading: Bench) -> None:
    mark = loading.path / "ran"
    write_tiny_llama(loading.path / "original")
    pickled(loading.path / "tiny", extra=Running(f"touch {mark}"))
    result = loading.run("--prunegate-trust=remote-code", models=TINY)
    assert result.ret == 10
    assert (
        "its weights are pickled, and hold more than tensors, which could run code. If you trust who made"
        in text_of(result)
    )
    assert not mark.exists()


@pytest.fixture
def unsafe(project: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A task that runs what a model writes, by a module that leaves a file when it is imported."""
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "0")
    folder = project.path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "task: mine\noutput_type: generate_until\ndataset_path: json\ntest_split: test\ndoc_to_text: '{{question}}'\n"
        "doc_to_target: '{{answer}}'\nunsafe_code: true\nmetric_list: [{metric: !function code.runs, aggregation: mean, higher_is_better: true}]\n"
    )
    (folder / "code.py").write_text(
        f"import os, pathlib\npathlib.Path({str(project.path / 'ran')!r}).touch()\n"
        "def runs(references, predictions, **kwargs):\n    return float(os.environ['HF_ALLOW_CODE_EVAL'])\n"
    )
    project.thresholds(
        f"tasks:\n  mine:\n    {GSM8K}\n    metrics: {{runs: {{max_absolute_drop: 1, min_score: 0.5}}}}\n"
    )
    return project


def test_a_task_that_runs_what_a_model_writes(unsafe: Bench) -> None:
    option = f"--prunegate-include-path={unsafe.path / 'own'}"
    result = unsafe.run(option)
    assert result.ret == 10
    assert "mine: lm-eval marks this task as unsafe: it runs code that the model writes, with your rights." in text_of(
        result
    )
    assert "add --prunegate-trust=unsafe-tasks" in text_of(result)
    assert not (unsafe.path / "ran").exists(), "not even imported"
    assert os.environ["HF_ALLOW_CODE_EVAL"] == "0"
    result = unsafe.run(option, "--prunegate-trust=unsafe-tasks")
    assert result.ret == 0, text_of(result)
    assert (unsafe.path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: {path: json, trust_remote_code: true}", "boolq.dataset.trust_remote_code: unknown key."),
        ("dataset: {path: json, cache_dir: /tmp/x}", "boolq.dataset.cache_dir: unknown key."),
        ("dataset: {path: json, save_infos: true}", "boolq.dataset.save_infos: unknown key."),
        ("dataset: {path: json, storage_options: {}}", "boolq.dataset.storage_options: unknown key."),
        ("dataset: {path: json, download_config: {}}", "boolq.dataset.download_config: unknown key."),
        (
            "dataset: {path: pandas, data_files: {validation: data/boolq.jsonl}}",
            "pandas is a loader that does more than read plain data",
        ),
        ("dataset: {path: evil.py}", "loading scripts are not run"),
        ("dataset: {path: 's3://bucket/x'}", "expected a format, a folder or a hub id, found a URL"),
        ("dataset: {path: [json]}", "boolq.dataset.path: expected text"),
        ("dataset: {path: json, data_dir: {a: b}}", "boolq.dataset.data_dir: expected text"),
        ("gen_kwargs: {custom_generate: someone/code}", "boolq.gen_kwargs.custom_generate: would run code"),
        ("gen_kwargs: {trust_remote_code: true}", "boolq.gen_kwargs.trust_remote_code: would run code"),
        ("unsafe_code: true", "boolq.unsafe_code: unknown key."),
        ("trust: [remote-code]", "boolq.trust: unknown key."),
        ("limit: !!python/object/apply:os.system ['touch ran']", "boolq.limit: expected a number of documents"),
        ("system_instruction: !function os.getcwd", "boolq.system_instruction: expected the text of a system message"),
    ],
)
def test_a_thresholds_file_runs_nothing(project: Bench, text: str, message: str) -> None:
    project.thresholds(f"tasks:\n  boolq:\n    metrics: {{acc: 5%}}\n    {text}\n")
    refused(project.run("--prunegate-trust=remote-code,unsafe-tasks"), message)
    assert not (project.path / "ran").exists()


@pytest.mark.parametrize("form", ["script beside the data", "folder with a script of its name"])
def test_loading_scripts_are_not_run(project: Bench, form: str) -> None:
    folder = project.path / "evil"
    folder.mkdir()
    script = f"import pathlib\npathlib.Path({str(project.path / 'ran')!r}).touch()\n"
    (folder / ("evil.py" if form.startswith("folder") else "other.py")).write_text(script)
    project.thresholds(CHECK.replace(BOOLQ, f"dataset: {{path: {folder}}}"))
    result = project.run()
    assert result.ret == 10, text_of(result)
    assert not (project.path / "ran").exists()


def files_outside(project: Bench) -> set[str]:
    own = (".prunegate", "prunegate-results", "__pycache__", ".pytest_cache")
    parent = project.path.parent
    places = (*parent.parent.iterdir(), *parent.iterdir(), *project.path.rglob("*"))
    return {str(path) for path in places if not any(name in path.parts for name in own)}


@pytest.mark.parametrize(
    "text",
    [
        'tasks: {"../../evil": {metrics: {acc: 5%}}}',
        'tasks: {"/tmp/evil": {metrics: {acc: 5%}}}',
        'tasks: {boolq: {metrics: {"../../evil": 5%}}}',
        'tasks: {boolq: {metrics: {acc: 5%}, marks: ["../evil"]}}',
        'tasks: {boolq: {metrics: {acc: 5%}, dataset: {path: json, name: "../../evil", data_files: {validation: data/boolq.jsonl}}}}',
        'tasks: {boolq: {metrics: {acc: 5%}, dataset: {path: json, data_dir: "../../evil", data_files: {validation: data/boolq.jsonl}}}}',
        'tasks: {boolq: {metrics: {acc: 5%}, dataset: {path: json, data_files: {"../../evil": data/boolq.jsonl, validation: data/boolq.jsonl}}}}',
        'tasks: {boolq: {metrics: {acc: 5%}, dataset: {path: "../../evil"}}}',
        'perplexity: {"../../evil": {max_relative_increase: 10%, dataset: {path: text, data_files: {test: data/boolq.jsonl}}}}',
        'perplexity: {"a/b": {max_relative_increase: 10%, seqlen: 8, dataset: {path: text, data_files: {"../x": data/boolq.jsonl}}}}',
        'output: "../evil"\ntasks: {boolq: {metrics: {acc: 5%}}}',
    ],
)  # fmt: skip
def test_a_thresholds_file_writes_nothing_elsewhere(project: Bench, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project.thresholds(text)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", project.path / "prunegate-results" / "datasets")
    before = files_outside(project)
    result = project.run()
    assert "Traceback" not in text_of(result)
    assert files_outside(project) == before
    allowed = {"changed.jsonl", "comparison_report.html", "comparison_report.md", "comparison_results.json", "evaluation.log", "history.jsonl", "original_model_results.json",
               "pruned_model_results.json", "datasets"}  # fmt: skip
    if project.results.exists():
        assert {path.name for path in project.results.iterdir()} <= allowed
