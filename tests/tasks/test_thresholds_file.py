"""thresholds.yaml: what is read, and how mistakes are told."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_prunegate.input.rules import MAX_RELATIVE_DROP, MAX_RELATIVE_INCREASE, MIN_SCORE
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks.kinds.perplexity import PerplexitySpec
from pytest_prunegate.tasks.thresholds_file import load_thresholds

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.input.thresholds import ThresholdsFile

SCHEMA = json.loads(resource_path("thresholds.schema.json").read_text())


def load(tmp_path: Path, text: str) -> tuple[ThresholdsFile, list[str]]:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text, encoding="utf-8")
    file, mistakes = load_thresholds(path, display="thresholds.yaml")
    return file, mistakes.render().splitlines()


def is_valid_by_schema(text: str) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text)))


def test_the_built_in_file_is_good() -> None:
    path = resource_path("thresholds.yaml")
    file, mistakes = load_thresholds(path, display="thresholds.yaml", built_in=True)
    assert not mistakes.found
    assert [task.name for task in file.tasks] == ["squadv2", "gsm8k"]
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_five_per_cent_in_its_ways(tmp_path: Path) -> None:
    file, mistakes = load(tmp_path, """
        tasks:
          t:
            metrics: {a: 5%, b: 0.05, c: {max_relative_drop: " 5 % "}, d: {max_relative_drop: 5.0%}}
        """)  # fmt: skip
    assert mistakes == []
    assert [metric.thresholds[0].value for metric in file.tasks[0].metrics or ()] == [Decimal("0.05")] * 4


def test_everything_of_a_task(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").touch()
    text = """
defaults: {max_relative_drop: 5%, min_score: 0.1}
tasks:
  t:
    num_fewshot: 0
    limit: 500
    max_gen_toks: 32
    gen_kwargs: {until: ["x"], temperature: 0.5, do_sample: true}
    dataset: {path: json, data_files: {validation: dev.jsonl}}
    truncate: allow
    marks: [slow]
    slice_by: [title, "source id"]
    metrics: [f1, "exact_match,strict-match"]
    outputs: {max_empty: 60%, max_cut: 0.05}
"""
    file, mistakes = load(tmp_path, text)
    assert mistakes == []
    task = file.tasks[0]
    assert (task.num_fewshot, task.limit, task.max_gen_toks, task.truncate, task.marks) == (0, 500, 32, True, ("slow",))
    assert task.slice_by == ("title", "source id")
    assert task.gen_kwargs == {"until": ["x"], "temperature": 0.5, "do_sample": True}
    assert task.dataset == {"path": "json", "data_files": {"validation": [str(tmp_path / "dev.jsonl")]}}
    assert [metric.name for metric in task.metrics or ()] == ["f1", "exact_match,strict-match"]
    assert [threshold.rule for threshold in (task.metrics or ())[0].thresholds] == [
        MAX_RELATIVE_DROP,
        MIN_SCORE,
    ]
    assert [(output.name, output.thresholds[0].value) for output in task.outputs] == [
        ("max_empty", Decimal("0.6")),
        ("max_cut", Decimal("0.05")),
    ]
    assert is_valid_by_schema(text)


def test_everything_of_a_chat_task_of_perplexity_and_of_sparsity(tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").touch()
    text = """
sparsity: {min: 50%, marks: [files]}
perplexity:
  wikitext2: 150%
  mine: {max_relative_increase: 10%, seqlen: 512, nsamples: 3, marks: [quick], dataset: {path: text, data_files: {test: wiki.txt}}}
tasks:
  t:
    limit: 0.25
    fewshot_seed: 7
    repeats: 4
    apply_chat_template: true
    slice_by: subject
    system_instruction: Be brief.
    fewshot_as_multiturn: false
    chat_template_kwargs: {enable_thinking: false}
    metrics: {word_perplexity: {max_relative_increase: 20%}}
  u: {apply_chat_template: tool_use, metrics: {acc: 5%}}
"""
    file, mistakes = load(tmp_path, text)
    assert mistakes == []
    chat, named = file.tasks
    assert (chat.limit, chat.fewshot_seed, chat.repeats) == (Decimal("0.25"), 7, 4)
    assert (chat.apply_chat_template, chat.system_instruction, chat.fewshot_as_multiturn) == (True, "Be brief.", False)
    assert chat.chat_template_kwargs == {"enable_thinking": False}
    assert (chat.slice_by, named.slice_by) == (("subject",), ())
    assert named.apply_chat_template == "tool_use"
    short, mine = file.below("perplexity")
    assert isinstance(mine, PerplexitySpec)
    assert (short.thresholds[0].rule, short.thresholds[0].value) == (MAX_RELATIVE_INCREASE, Decimal("1.5"))
    assert (mine.seqlen, mine.nsamples, mine.marks) == (512, 3, ("quick",))
    (sparsity,) = file.below("sparsity")
    assert (sparsity.thresholds[0].value, sparsity.marks) == (Decimal("0.5"), ("files",))
    assert is_valid_by_schema(text)


def test_how_checks_are_decided_is_said_from_the_outside_in(tmp_path: Path) -> None:
    text = """
defaults: {max_relative_drop: 5%, decide: early, error_rate: 2%}
tasks:
  t:
    inconclusive: continue
    cluster_by: context
    metrics: {a: {indifference: 0.02, error_rate: 5%}, b: {max_relative_drop: 1%, decide: full}}
    outputs: {max_empty: 5%}
  u: {decide: confident, metrics: [a]}
perplexity:
  wikitext2: {max_relative_increase: 10%, decide: confident, error_rate: 10%}
"""
    file, mistakes = load(tmp_path, text)
    assert mistakes == []
    a, b = (metric.decision.settled() for metric in file.tasks[0].metrics or ())
    assert (a.decide.value, a.error_rate, a.indifference, a.inconclusive.value) == (
        "early",
        Decimal("0.05"),
        Decimal("0.02"),
        "continue",
    )
    assert (b.decide.value, b.error_rate, b.indifference, b.inconclusive.value) == (
        "full",
        Decimal("0.02"),
        Decimal(0),
        "continue",
    )
    assert file.tasks[0].outputs[0].decision.settled().decide == "early"
    assert (file.tasks[1].metrics or ())[0].decision.settled().decide == "confident"
    assert file.tasks[0].cluster_by == "context"
    assert file.below("perplexity")[0].decision.settled().error_rate == Decimal("0.1")
    assert is_valid_by_schema(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks:\n t:\n  metrics:\n   a: 5\n", "4: t.a: max_relative_drop is 5: it must lie between 0 and 1 (0% and 100%). For 5 per cent write 5% or 0.05."),
        ("tasks:\n t:\n  metrics:\n   a: -5%\n", "4: t.a: max_relative_drop is -5%: it must lie between 0 and 1 (0% and 100%)."),
        ("tasks:\n t:\n  metrics:\n   a: {max_absolute_drop: 3%}\n", "4: t.a.max_absolute_drop: max_absolute_drop is in score units and takes no per cent sign. For three points of a score in [0, 1] write 0.03."),
        ("tasks:\n t:\n  metrics:\n   a: {max_drop: 3%}\n", "4: t.a.max_drop: unknown key. Did you mean max_relative_drop? Known here: max_relative_drop, max_relative_increase, max_absolute_drop, min_recovery, min_score, max_lost, max_flips, filter, decide, error_rate, indifference, inconclusive."),
        ("tasks:\n t:\n  metrics:\n   a: yes\n", "4: t.a: expected a threshold such as 5%, or thresholds such as {max_relative_drop: 5%}, found yes."),
        ("tasks:\n t:\n  metrics:\n   a:\n", "4: t.a: has no threshold, and the file has no defaults. Write for example `max_relative_drop: 5%`."),
        ("tasks:\n t:\n  metrics:\n   a: .nan\n", "4: t.a: max_relative_drop is .nan: expected a share such as 5% or 0.05."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  limit: 0\n", "4: t.limit: expected a number of documents, or a share of them below 1: a whole number of at least 1, found 0."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  limit: 1.5\n", "4: t.limit: expected a number of documents, or a share of them below 1: a whole number of at least 1, found 1.5."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  num_fewshot: many\n", "4: t.num_fewshot: expected the number of few-shot examples: a whole number of at least 0, found many."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  truncate: true\n", "4: t.truncate: expected allow or refuse (the default), found true."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  marks: [not-a-mark]\n", "4: t.marks.[0]: 'not-a-mark' cannot be a pytest mark: use letters, digits and underscores."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  dataset: {data_files: {}}\n", "4: t.dataset: path is missing: json, csv or parquet for local files, else a folder or a hub id."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  dataset: {path: json, data_files: x.json}\n", "4: t.dataset.data_files: name the split of each file, for example {validation: data/dev.jsonl}."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  apply_chat_template: 3\n", "4: t.apply_chat_template: expected true, false or the name of a template, found 3."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  fewshot_as_multiturn: maybe\n", "4: t.fewshot_as_multiturn: expected true or false, found maybe."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  repeats: 0\n", "4: t.repeats: expected the answers per document: a whole number of at least 1, found 0."),
        ("tasks:\n t:\n  metrics: {a: 5%}\n  fewshot_seed: -1\n", "4: t.fewshot_seed: expected the seed of the draw of examples: a whole number of at least 0, found -1."),
        ("tasks:\n t:\n  metrics: {a: {max_relative_increase: 1.5}}\n", "3: t.a.max_relative_increase: max_relative_increase is 1.5: it must lie between 0 and 1 (0% and 100%). For 1.5 per cent write 1.5% or 0.015."),
        ("perplexity:\n wikitext2: {}\n", "2: perplexity.wikitext2: has no threshold. Write for example `max_relative_increase: 10%`."),
        ("perplexity:\n wikitext2: {max_relative_drop: 5%}\n", "2: perplexity.wikitext2.max_relative_drop: unknown key. Did you mean max_relative_increase?"),
        ("perplexity:\n wikitext2: {max_relative_increase: 5%, seqlen: 1}\n", "2: perplexity.wikitext2.seqlen: expected tokens of a window: a whole number of at least 2, found 1."),
        ("perplexity:\n wikitext2: {max_relative_increase: 5%, nsamples: 0}\n", "2: perplexity.wikitext2.nsamples: expected a number of windows: a whole number of at least 1, found 0."),
        ("tasks:\n t: {metrics: {a: 5%}}\nperplexity:\n t: 5%\n", "4: perplexity.t: the name is taken by line 2. Take another."),
        ("defaults: {max_relative_drops: 5%}\ntasks:\n t: {metrics: [a]}\n", "1: defaults.max_relative_drops: unknown key. Did you mean max_relative_drop?"),
        ("sparsity: {}\n", "1: sparsity: has no threshold. Write for example `sparsity: {min: 50%}`."),
        ("sparsity: {most: 60%}\n", "1: sparsity.most: unknown key. Known here: min, max, per_layer_min, pattern, min_parameter_reduction, max_size, scope, marks."),
        ("sparsity: {pattern: 4:2}\n", "1: sparsity.pattern: pattern is 4:2: of N:M, N numbers other than zero are left in each group of M, and N is smaller than M."),
        ("sparsity: {pattern: half}\n", '1: sparsity.pattern: pattern is half: expected N:M such as "2:4", or "block:16x16".'),
        ("sparsity: {pattern: [2, 4]}\n", '1: sparsity.pattern: pattern is a list: expected N:M such as "2:4", or "block:16x16".'),
        ("sparsity: {max_size: 4}\n", "1: sparsity.max_size: max_size is 4: expected a size such as 4 GiB, 900 MiB or 3.5 GB."),
        ("sparsity: {min: 5%, scope: '(q'}\n", "1: sparsity.scope: (q is no regular expression: missing ), unterminated subpattern at position 0."),
        ("mask: {}\n", "1: mask: has no threshold. Write for example `mask: {max_regrown: 0.1%}`."),
        ("mask: {min: 1%}\n", "1: mask.min: unknown key. Known here: max_regrown, marks."),
        ("sparsity: {scope: mlp}\n", "1: sparsity: has no threshold. Write for example `sparsity: {min: 50%}`."),
        ("tasks:\n t: {metrics: {a: 5%}}\n t: {metrics: {a: 6%}}\n", "3: tasks.t is there twice (first in line 2)."),
        ("sparsity: {min: 60}\n", "1: sparsity.min: min is 60: it must lie between 0 and 1 (0% and 100%). For 60 per cent write 60% or 0.6."),
        ("defaults: {decide: soon}\ntasks:\n t: {metrics: {a: 5%}}\n", "1: defaults.decide: expected full or confident or early, found soon."),
        ("tasks:\n t: {error_rate: 30, metrics: {a: 5%}}\n", "2: t.error_rate: error_rate is 30: expected a share such as 1% or 0.01."),
        ("tasks:\n t: {metrics: {a: {max_relative_drop: 5%, inconclusive: no}}}\n", "2: t.a.inconclusive: expected report or continue, found no."),
        ("tasks:\n t: {slice_by: 3, metrics: {a: 5%}}\n", "2: t.slice_by: expected the name of a field of the task's documents, or a list of them, found 3."),
        ("tasks:\n t: {slice_by: [a, b, a], metrics: {a: 5%}}\n", "2: t.slice_by.[2]: a is there twice. Keep one."),
        ("tasks:\n t: {slice_by: [], metrics: {a: 5%}}\n", "2: t.slice_by: expected the name of a field of the task's documents, or a list of them, found an empty list."),
        ("tasks:\n t: {slice_by: [a, {b: c}], metrics: {a: 5%}}\n", "2: t.slice_by.[1]: expected the name of a field"),
        ("tasks:\n t: {cluster_by: 3, metrics: {a: 5%}}\n", "2: t.cluster_by: expected the name of a field of the task's documents, found 3."),
        ("perplexity:\n wikitext2: {max_relative_increase: 5%, inconclusive: report}\n", "2: perplexity.wikitext2.inconclusive: unknown key."),
        ("task:\n t: {metrics: {a: 5%}}\n", "2: task: unknown key. Did you mean tasks? Known here: defaults, tasks, perplexity, agreement, speed, mask, sparsity."),
        ("- a\n", "1: expected the keys defaults, tasks, perplexity, agreement, speed, mask and sparsity, found a list."),
        ("tasks:\n t:\n  metrics: &a\n   b: *a\n", "1: is too large: with its aliases written out"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    _, mistakes = load(tmp_path, text)
    assert any(mistake.startswith(f"thresholds.yaml:{message}") for mistake in mistakes), mistakes
    if "*a" not in text:  # an alias that contains itself cannot be turned into JSON
        reader_alone = any(
            words in message
            for words in ("twice", "no defaults", ".nan", "is taken by", "N is smaller than M", "no regular expression")
        )  # what no schema can tell
        assert reader_alone or not is_valid_by_schema(text), "the schema accepts what the reader refuses"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["5%", "0.05", "allow", "json"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["defaults", "tasks", "metrics", "outputs", "limit", "dataset", "data_files", "path", "filter", "max_relative_drop", "max_relative_increase", "gen_kwargs", "perplexity", "sparsity", "min", "seqlen", "apply_chat_template", "marks", "x"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(value=_VALUES)
def test_no_document_ends_in_a_traceback(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    file, mistakes = load(tmp_path_factory.mktemp("fuzz"), yaml.safe_dump(value, allow_unicode=True))
    assert mistakes or file.specs


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_no_text_ends_in_a_traceback(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "t.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    file, mistakes = load_thresholds(path, display="t.yaml")
    assert mistakes.found or file.tasks
