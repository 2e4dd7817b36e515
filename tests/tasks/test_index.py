"""The index of lm-eval's tasks, and the sample of documents."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.input.thresholds import TaskOptions
from pytest_prunegate.resources import resource_path
from pytest_prunegate.session.exit_codes import exit_code
from pytest_prunegate.tasks.index import TaskIndex, build_index, index_file, load_index
from pytest_prunegate.tasks.prepared import draw_ranks, sample_size
from pytest_prunegate.tasks.requests import Conditions, Request, request_keys
from pytest_prunegate.tasks.task_info import TaskInfo
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from pathlib import Path


def test_the_index_knows_metrics_and_filters(tasks: TaskIndex) -> None:
    gsm8k = tasks.find("gsm8k")
    assert isinstance(gsm8k, TaskInfo)
    assert [metric.name for metric in gsm8k.metrics] == ["exact_match"]
    assert gsm8k.filters == ("strict-match", "flexible-extract")
    assert gsm8k.num_fewshot == 5
    hellaswag = tasks.find("hellaswag")
    assert isinstance(hellaswag, TaskInfo)
    assert [(metric.name, metric.higher_is_better, metric.is_mean) for metric in hellaswag.metrics] == [
        ("acc", True, True),
        ("acc_norm", True, True),
    ]
    lambada = tasks.find("lambada_openai")
    assert isinstance(lambada, TaskInfo)
    assert {metric.name: (metric.higher_is_better, metric.is_mean) for metric in lambada.metrics} == {
        "perplexity": (False, False),
        "acc": (True, True),
    }
    assert tasks.find("no_such_task") is None


@pytest.mark.parametrize(
    ("wrong", "right"), [("squad_v2", "squadv2"), ("GSM8K", "gsm8k"), ("helaswag", "hellaswag"), ("bool_q", "boolq")]
)
def test_suggestions(tasks: TaskIndex, wrong: str, right: str) -> None:
    assert right in tasks.suggest(wrong)


def test_a_damaged_index_is_built_anew(tmp_path: Path, tasks: TaskIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    class Manager:
        task_index: dict[str, object] = {}  # noqa: RUF012 - as lm-eval's

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Manager)
    assert load_index(tmp_path) is None
    build_index(tmp_path)
    assert load_index(tmp_path) is not None
    index_file(tmp_path).write_text("{")
    assert load_index(tmp_path) is None


def resolve(tmp_path: Path, tasks: TaskIndex, text: str) -> str:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    file, mistakes = load_thresholds(path, display="t.yaml")
    built_in, _ = load_thresholds(resource_path("thresholds.yaml"), display="thresholds.yaml")
    found = resolve_tasks(file, tasks, mistakes, only=(), options=TaskOptions(), built_in=built_in)
    return mistakes.render() or " ".join(f"{check.metric},{check.filter}" for task in found for check in task.checks)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("gsm8k: {metrics: {accuracy: {min_recovery: 95%, filter: flexible-extract}}}", "exact_match,flexible-extract"),
        ("gsm8k: {metrics: {'exact_match,strict-match': 5%}}", "exact_match,strict-match"),
        ("squadv2: {metrics: {exact_match: 5%, f1: 5%, HasAns_exact_match: 5%}}", "exact,none f1,none HasAns_exact,none"),
        ("squadv2: {metrics: {EM: 5%}}", "exact,none"),
        ("hellaswag: {metrics: {accuracy: 5%}}", "acc,none"),
        ("squadv2: {metrics: {EM: 5%, exact: 3%}}", "t.yaml:2: squadv2.exact: is the same metric as EM (line 2). Put their thresholds together."),
        ("gsm8k: {metrics: {'accuracy,strict': 5%}}", "t.yaml:2: gsm8k.accuracy,strict: there is no filter strict. Filters of gsm8k: strict-match, flexible-extract."),
        ("gsm8k: {metrics: {'accuracy,strict-match': {min_score: 0, filter: flexible-extract}}}", "t.yaml:2: gsm8k.accuracy,strict-match: names two filters, strict-match and flexible-extract. Keep one."),
        ("lambada_openai: {metrics: {perplexity: {min_score: 0.1}}}", "t.yaml:2: lambada_openai.perplexity: min_score is for metrics where higher is better; lower is better for perplexity. Use max_relative_increase."),
        ("hellaswag: {metrics: {acc: {max_absolute_drop: 3}}}", "t.yaml:2: hellaswag.acc: max_absolute_drop is 3: scores lie between 0 and 1. For 3 points write 0.03."),
        ("hellaswag: {metrics: {acc: 5%}, outputs: {max_cut: 5%}}", "t.yaml:2: hellaswag.outputs.max_cut: is for tasks that generate text; this one is of type multiple_choice."),
        ("fda: ", "t.yaml:2: fda: name its metrics: lm-eval defines this task in Python and lists none."),
    ],
)  # fmt: skip
def test_names_are_resolved(tmp_path: Path, tasks: TaskIndex, text: str, outcome: str) -> None:
    assert resolve(tmp_path, tasks, f"tasks:\n  {text}\n") == outcome


def test_a_fixed_zero_shot_task_refuses_examples(tmp_path: Path, tasks: TaskIndex) -> None:
    message = resolve(tmp_path, tasks, "tasks:\n  truthfulqa_mc1: {num_fewshot: 5, metrics: {acc: 5%}}\n")
    assert (
        message
        == "t.yaml:2: truthfulqa_mc1: lm-eval fixes num_fewshot of this task at 0 and ignores any other. Take num_fewshot out."
    )


def test_the_order_of_documents_is_random_and_repeatable() -> None:
    def order(key: str) -> list[int]:
        ranks = draw_ranks(1000, key)
        return sorted(range(1000), key=lambda doc_id: ranks[doc_id])

    assert order("k") == order("k")
    assert order("k")[:50] != order("other")[:50]
    assert sum(doc_id < 500 for doc_id in order("k")[:200]) in range(70, 130), "drawn from everywhere"


@pytest.mark.parametrize(
    ("limit", "size"), [(None, 20), (7, 7), (30, 20), (Decimal("0.5"), 10), (Decimal("0.07"), 2), (Decimal("0.99"), 20)]
)
def test_a_limit_takes_so_many_documents(limit: int | Decimal | None, size: int) -> None:
    assert sample_size(20, limit) == size


def test_every_condition_is_part_of_a_key() -> None:
    request = Request(kind="generate_until", context="c", gen_kwargs="{}")
    conditions = {"backend": "hf", "dtype": "float32", "max_length": 10, "max_gen_toks": 5, "lm_eval": "0.4.13"}
    other = {"backend": "vllm", "dtype": "float16", "max_length": 11, "max_gen_toks": 6, "lm_eval": "0.4.14"}
    variants = [conditions] + [conditions | {name: value} for name, value in other.items()]
    requests = [
        request, Request(kind="generate_until", context="d", gen_kwargs="{}"), Request(kind="generate_until", context="c", gen_kwargs='{"a":1}'),
        Request(kind="generate_until", context="c", gen_kwargs="{}", repeat=1), Request(kind="loglikelihood", context="c", continuation="{}"),
    ]  # fmt: skip
    keys = {key for variant in variants for key in request_keys(requests, Conditions(**variant)).values()}  # type: ignore[arg-type]
    assert len(keys) == len(variants) * len(requests)


def test_exit_codes() -> None:
    from pytest_prunegate.verdict.outcome import Outcome

    passed, failed, error, inconclusive = Outcome.PASS, Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE
    assert exit_code([passed, passed]) == 0
    assert exit_code([passed, failed, error, inconclusive]) == 1
    assert exit_code([passed, error, inconclusive]) == 10
    assert exit_code([passed, inconclusive]) == 11
