"""Bad input: one clear message, a usage error, no traceback, and nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted import BOOLQ, write_checkpoint

if TYPE_CHECKING:
    from conftest import Bench

GOOD = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 5%}}\n"


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models()
    bench.thresholds(GOOD)
    return bench


def refused(project: Bench, result: pytest.RunResult, *messages: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*" for message in messages])
    output = "\n".join(result.outlines + result.errlines)
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert project.executor.loads == []
    assert not (project.path / ".prunegate").exists()
    assert not project.results.exists()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("--original=missing/a/b", "--pruned=pruned"), "--original=missing/a/b: there is no directory */missing/a/b."),
        (("--original=/no/such", "--pruned=pruned"), "--original=/no/such: there is no directory /no/such."),
        (("--original=data", "--pruned=pruned"), "--original=data: there is no config.json in this directory"),
        (
            ("--original=thresholds.yaml", "--pruned=pruned"),
            "this is a file; the directory of a checkpoint, a .gguf file, or a baseline (.json.gz) is needed.",
        ),
        (("--original=original",), "--pruned is missing: --original alone has nothing to be compared with."),
        (("--pruned=pruned",), "--original is missing: --pruned alone has nothing to be compared with."),
        (
            ("--original=no_such_hub_id", "--pruned=pruned"),
            "--original=no_such_hub_id: there is no such directory, and as a hub id it*",
        ),
    ],
)
def test_models(project: Bench, models: tuple[str, ...], message: str) -> None:
    refused(project, project.run(models=models), message)


def test_a_baseline_without_a_model(project: Bench) -> None:
    result = project.run("--prunegate-baseline-only", models=())
    refused(project, result, "--original is missing: --prunegate-baseline-only needs a model to measure.")


def test_both_models_are_judged_at_once(project: Bench) -> None:
    result = project.run(models=("--original=/no/a", "--pruned=/no/b"))
    refused(project, result, "--original=/no/a: there is no directory", "--pruned=/no/b: there is no directory")


def test_a_checkpoint_without_weights(project: Bench) -> None:
    (project.path / "pruned" / "model.safetensors").unlink()
    refused(project, project.run(), "*pruned: there are no weights in this directory")


def test_a_checkpoint_that_is_cut_short(project: Bench) -> None:
    weights = project.path / "pruned" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    refused(project, project.run(), "model.safetensors: this safetensors file is cut short")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--prunegate-limit=0",
            "--prunegate-limit=0: expected a whole number of at least 1, or a share between 0 and 1.",
        ),
        (
            "--prunegate-limit=1.5",
            "--prunegate-limit=1.5: expected a whole number of at least 1, or a share between 0 and 1.",
        ),
        ("--prunegate-seed=x", "--prunegate-seed=x: expected a whole number of at least 0."),
        (
            "--prunegate-batch-size=-1",
            "--prunegate-batch-size=-1: expected a whole number of at least 1, auto or auto:N.",
        ),
        ("--prunegate-dtype=int3", "--prunegate-dtype=int3: expected one of auto, float32"),
        ("--prunegate-store=thresholds.yaml", "--prunegate-store=thresholds.yaml: this is a file; a folder is needed."),
        (
            "--prunegate-output=thresholds.yaml/x",
            "*thresholds.yaml/x: results cannot be written there: *--prunegate-output.",
        ),
        (
            "--prunegate-tasks=squad_v2",
            "--prunegate-tasks: squad_v2: lm-eval has no task of this name. Did you mean squadv2?",
        ),
        ("--thresholds=absent.yaml", "absent.yaml: the thresholds file cannot be read: No such file or directory."),
    ],
)
def test_options(project: Bench, option: str, message: str) -> None:
    refused(project, project.run(option), message)


def test_no_thresholds_file_names_the_ways_on(project: Bench) -> None:
    (project.path / "thresholds.yaml").unlink()
    refused(project, project.run(), "there is no thresholds.yaml in*--thresholds=default*--prunegate-tasks=*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks:\n  squad_v2: {metrics: {f1: 5%}}\n", "thresholds.yaml:2: squad_v2: lm-eval has no task of this name. Did you mean squadv2?"),
        ("tasks:\n  boolq: {metrics: {f1: 5%}}\n", "thresholds.yaml:2: boolq.f1: boolq has no metric of this name. It has: acc."),
        ("tasks:\n  boolq:\n    metrics:\n      acc: 5\n", "thresholds.yaml:4: boolq.acc: max_relative_drop is 5*For 5 per cent write 5% or 0.05."),
        ("tasks:\n  gsm8k: {metrics: {accuracy: 5%}}\n", "thresholds.yaml:2: gsm8k.accuracy: is ambiguous*accuracy,strict-match or accuracy,flexible*"),
        ("tasks: {}\n", "thresholds.yaml:1: there is no check in this file."),
        ("", "thresholds.yaml:1: there is no check in this file."),
        ("tasks:\n  mmlu: {metrics: {f1: 5%}}\n", "thresholds.yaml:2: mmlu.f1: mmlu has no metric of this name. It has: acc."),
        ("tasks:\n  ai2_arc: {metrics: {f1: 5%}}\n", "thresholds.yaml:2: ai2_arc.f1: no task of ai2_arc has this metric."),
        ("tasks:\n  arc_easy: {metrics: {acc: 5%}}\n  ai2_arc: {metrics: {acc: 5%}}\n", "thresholds.yaml:3: arc_easy: is there twice through ai2_arc (first in line 2). Keep one."),
        ("tasks:\n  mmlu:\n    dataset: {path: json, data_files: {test: data/boolq.jsonl}}\n    metrics: {acc: 5%}\n", "thresholds.yaml:3: mmlu: this group has 57 tasks, and data_files cannot be the data of all of them*"),
        ("tasks:\n  wikitext: {metrics: {word_perplexity: {min_recovery: 95%}}}\n", "thresholds.yaml:2: wikitext.word_perplexity: min_recovery is for metrics where higher is better*Use max_relative_increase."),
        ("tasks:\n  boolq: {metrics: {acc: {max_relative_increase: 5%}}}\n", "thresholds.yaml:2: boolq.acc: max_relative_increase is for metrics where lower is better*Use max_relative_drop."),
        ("tasks:\n  mmlu: {metrics: {acc: 5%}, max_gen_toks: 5}\n", "thresholds.yaml:2: mmlu: max_gen_toks is for tasks that generate; none of this group does."),
        ("tasks:\n  boolq: {metrics: {acc: 5%}, gen_kwargs: {top_k: 5}}\n", "thresholds.yaml:2: boolq: gen_kwargs is for tasks that generate; this one is of type multiple_choice."),
        ("tasks:\n  boolq: {metrics: {acc: 5%}, repeats: 2}\n", "thresholds.yaml:2: boolq: repeats is for tasks that generate; this one is of type multiple_choice."),
        ("perplexity:\n  c4: 5%\n", "thresholds.yaml:2: perplexity.c4: only wikitext2 is known by name. Give the text of c4 with*"),
        ("tasks:\n  boolq:\n    dataset: {path: json, data_files: {validation: gone.jsonl}}\n", "thresholds.yaml:3: boolq.dataset.data_files.validation: there is no file */gone.jsonl."),
        ("tasks: [\n", "thresholds.yaml:2: not valid YAML:*"),
    ],
)  # fmt: skip
def test_thresholds(project: Bench, text: str, message: str) -> None:
    project.thresholds(text)
    refused(project, project.run(), message)


def test_four_mistakes_are_reported_together(project: Bench) -> None:
    project.thresholds("""
        defaults: {max_relative_drop: 5}
        tasks:
          boolq:
            limt: 10
            metrics: {accc: 5%}
          gsm8kk: {metrics: {exact_match: 5%}}
        """)
    result = project.run()
    refused(
        project, result,
        "thresholds.yaml:2: defaults.max_relative_drop: max_relative_drop is 5*",
        "thresholds.yaml:5: boolq.limt: unknown key. Did you mean limit?*",
        "thresholds.yaml:6: boolq.accc: boolq has no metric of this name*",
        "thresholds.yaml:7: gsm8kk: lm-eval has no task of this name. Did you mean*gsm8k*",
    )  # fmt: skip


def test_collect_only_reports_bad_thresholds_too(project: Bench) -> None:
    project.thresholds("tasks:\n  boolq: {metrics: {acc: 500%}}\n")
    refused(
        project,
        project.run("--collect-only"),
        "thresholds.yaml:2: boolq.acc: max_relative_drop is 500%: it must lie between 0 and 1*",
    )


def test_a_named_model_keeps_its_name(project: Bench) -> None:
    write_checkpoint(project.path / "candidates" / "x=y", wrong=[1])
    result = project.run("--collect-only", "-q", models=("--original=original", "--pruned=candidates/x=y"))
    result.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc"])
    named = project.run("--collect-only", "-q", models=("--original=original", "--pruned=wanda50=candidates/x=y"))
    named.stdout.fnmatch_lines(["thresholds.yaml::boolq::acc?wanda50?"])
