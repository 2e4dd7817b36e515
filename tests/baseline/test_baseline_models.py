"""Baseline files of tiny real models: what needs the tokenizer, the files' zeros, and loading by other settings."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.chat_templates import DATED, TEMPLATE, set_template
from support.families import write_choice_task, write_group
from support.scripted import BOOLQ
from support.tiny import TEXT, write_gguf, write_tiny_llama

from pytest_prunegate.baseline.container import write_container
from pytest_prunegate.tasks.tokenizers import _load

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

PAIR = ("--original=baseline.json.gz", "--pruned=pruned")
TASK = f"""
tasks:
  boolq:
    {BOOLQ}
    limit: 6
    apply_chat_template: CHAT
    metrics: {{acc: {{max_absolute_drop: 1}}}}
"""
REST = """
perplexity:
  wikitext2: {max_relative_increase: 900%, seqlen: 64, nsamples: 4, dataset: {path: text, data_files: {test: data/text.txt}}}
sparsity: {min: 0%}
"""
CHAT = TASK.replace("CHAT", "true") + REST
PLAIN = TASK.replace("CHAT", "false") + REST


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    for side, seed in (("original", 1), ("pruned", 2)):
        set_template(write_tiny_llama(real_bench.path / side, seed=seed), TEMPLATE)
    (real_bench.path / "data" / "text.txt").write_text(TEXT)
    real_bench.thresholds(CHAT)
    return real_bench


def make_baseline(bench: Bench, *arguments: str, model: str = "original", name: str = "baseline.json.gz") -> Path:
    assert bench.run("--prunegate-baseline-only", *arguments, models=(f"--original={model}",)).ret == 0
    shutil.move(bench.results / "baseline.json.gz", bench.path / name)
    shutil.rmtree(bench.results)
    shutil.rmtree(bench.path / ".prunegate")
    return bench.path / name


def figures(bench: Bench) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both models and all checks, as far as their figures go."""
    found = json.loads((bench.results / "comparison_results.json").read_text())
    checks = [{name: check[name] for name in ("task", "outcome", "exact", "identity")} for check in found["checks"]]
    return [found["models"][side] for side in ("original", "pruned")], checks


def test_chat_prompts_windows_and_zeros_come_from_the_file(project: Bench) -> None:
    assert project.run().ret == 0
    with_model = figures(project)
    for folder in (project.results, project.path / ".prunegate"):
        shutil.rmtree(folder)
    make_baseline(project)
    shutil.rmtree(project.path / "original")
    # a tokenizer of its own on the pruned side, so that both are loaded and compared
    config = project.path / "pruned" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "clean_up_tokenization_spaces": True}))
    result = project.run(models=PAIR)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(
        ["note: *The tokenizers' files differ; every prompt of this run is compared in both encodings."]
    )
    models, checks = figures(project)
    assert models[0] == with_model[0][0]
    assert [check["task"] for check in checks] == ["sparsity", "wikitext2", "boolq"]
    assert [check["exact"]["original"] for check in checks] == [check["exact"]["original"] for check in with_model[1]]


def test_two_files_of_real_models(project: Bench) -> None:
    assert project.run().ret == 0
    with_models = figures(project)
    for folder in (project.results, project.path / ".prunegate"):
        shutil.rmtree(folder)
    for side in ("original", "pruned"):
        make_baseline(project, model=side, name=f"{side}.json.gz")
        shutil.rmtree(project.path / side)
    assert project.run(models=("--original=original.json.gz", "--pruned=pruned.json.gz")).ret == 0
    assert figures(project) == with_models


def test_a_file_of_before_layers_were_told_apart(project: Bench) -> None:
    path = make_baseline(project, "-m", "wikitext2")
    found = json.loads(gzip.decompress(path.read_bytes()))["content"]
    assert [layer["layer"] for layer in found["model"]["sparsity"].pop("layers")] == [0, 1]
    write_container(path, found)
    assert project.run("-m", "wikitext2", models=PAIR).ret == 0
    original, pruned = figures(project)[0]
    assert (original["sparsity"], original["layers"], len(pruned["layers"])) == (0.0, [], 2)
    found["model"]["sparsity"]["layers"] = [{"layer": 0, "zeros": 2, "elements": 1}]
    write_container(path, found)
    refused = project.run("-m", "wikitext2", models=PAIR)
    refused.stderr.fnmatch_lines(["*a layer has more zeros than weights*"])


def test_the_file_does_not_answer_other_windows_or_another_template(project: Bench) -> None:
    make_baseline(project)
    project.thresholds(CHAT.replace("seqlen: 64", "seqlen: 32"))
    result = project.run("-m", "wikitext2", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  seqlen: 64 in the file, 32 asked for"])
    project.thresholds(CHAT.replace("nsamples: 4", "nsamples: 5"))
    result = project.run("-m", "wikitext2", models=PAIR)
    result.stdout.fnmatch_lines(["  documents: 4 not in the file; it has 4 of *"])
    project.thresholds(PLAIN)
    result = project.run("-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  apply_chat_template: true in the file, not set asked for"])


def test_another_day_in_a_prompt_is_told(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("original", "pruned"):
        set_template(project.path / side, DATED)
    make_baseline(project, "-m", "boolq")
    import transformers.utils.chat_template_utils as chat

    class Tomorrow(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Tomorrow:
            return cls(2099, 1, 1, tzinfo=tz)

    monkeypatch.setattr(chat, "datetime", Tomorrow)
    chat._compile_jinja_template.cache_clear()
    result = project.run("-m", "boolq", models=PAIR)
    chat._compile_jinja_template.cache_clear()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  the prompt of document * differs: look at what fills it in (a date*"])


def test_the_pruned_model_follows_the_files_dtype(project: Bench) -> None:
    make_baseline(project, "--prunegate-dtype=bfloat16")
    assert project.run(models=PAIR).ret == 0
    assert [model["dtype"] for model in figures(project)[0]] == ["bfloat16", "bfloat16"]
    refused = project.run("--prunegate-dtype=float32", models=PAIR)
    assert refused.ret == 10
    refused.stdout.fnmatch_lines(["  dtype: bfloat16 in the file, float32 asked for"])
    assert project.run("--prunegate-pruned-args=dtype=float32", models=PAIR).ret == 0, "one side's own is meant so"


def test_a_file_cannot_ask_for_its_code_to_be_trusted(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_baseline(project, "-m", "wikitext2")
    found = json.loads(gzip.decompress(path.read_bytes()))["content"]
    found["model"]["arguments"]["trust_remote_code"] = True
    write_container(path, found)
    from transformers import AutoTokenizer

    trusted = []
    load = AutoTokenizer.from_pretrained

    def spy(folder: str, **arguments: Any) -> Any:
        trusted.append(arguments["trust_remote_code"])
        return load(folder, **arguments)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", spy)
    _load.cache_clear()
    assert project.run("-m", "wikitext2", models=PAIR).ret == 0
    assert trusted
    assert not any(trusted)


def test_a_gguf_files_tokenizer_comes_along(project: Bench) -> None:
    gguf = write_gguf(project.path / "gguf" / "dense.gguf", project.path / "original")
    project.thresholds(PLAIN)
    make_baseline(project, model="gguf/dense.gguf")
    gguf.unlink()
    result = project.run(models=PAIR)
    assert result.ret == 0, result.stdout.str()
    assert figures(project)[0][0]["architecture"] == "llama (GGUF)"


def test_a_group_is_answered_member_by_member(project: Bench) -> None:
    folder = project.path / "tasks"
    folder.mkdir()
    for name, documents in (("alpha", 5), ("beta", 3)):
        write_choice_task(folder, name, documents)
    write_group(folder, "both", ["alpha", "beta"], weight_by_size=True)
    project.thresholds("tasks:\n  both:\n    metrics: {acc: {max_absolute_drop: 1}}\n")
    own = "--prunegate-include-path=tasks"
    assert project.run(own).ret == 0
    with_model = figures(project)
    for path in (project.results, project.path / ".prunegate"):
        shutil.rmtree(path)
    make_baseline(project, own)
    shutil.rmtree(project.path / "original")
    assert project.run(own, models=PAIR).ret == 0
    assert figures(project) == with_model
    project.thresholds("tasks:\n  alpha:\n    metrics: {acc: {max_absolute_drop: 1}}\n")
    assert project.run(own, models=PAIR).ret == 0, "a member alone is asked the same"
