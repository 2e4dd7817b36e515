"""A green check says something: choices that are scored, models that prefer, prompts that do not hold their answer, and what else differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.families import write_task
from support.scripted import BOOLQ, GSM8K

if TYPE_CHECKING:
    from conftest import Bench

ONE = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: {{max_absolute_drop: 0.9}}}}\n"
CHOOSE = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "gold",
    "target_delimiter": "",
}


def results(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def own_task(bench: Bench, rows: list[dict[str, Any]], **config: Any) -> str:
    write_task(bench.path / "own", "mine", rows, metric_list=[{"metric": "acc"}], **CHOOSE | config)
    bench.thresholds("tasks:\n  mine:\n    metrics: {acc: {max_absolute_drop: 0.9}}\n")
    return f"--prunegate-include-path={bench.path / 'own'}"


CHOICES = {  # prompt, choices, and the one that adds nothing
    "merged": ("say hello wor", ["ld", " there"], "choice 0 'ld' behind 'say hello wor'"),
    "empty": ("say hello", [" there", ""], "choice 1 '' behind 'say hello'"),
    "blank": ("say hello", [" there", " "], "choice 1 ' ' behind 'say hello'"),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_a_choice_that_adds_no_token_is_an_error_that_names_it(bench: Bench, kind: str) -> None:
    text, choices, said = CHOICES[kind]
    bench.models()
    good = {"text": "is number 2 even?", "choices": [" yes", " no"], "gold": 0}
    option = own_task(bench, [good, {"text": text, "choices": choices, "gold": 0}])
    result = bench.run(option)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*mine: choices add no token to their prompts*", f"*document 1, {said}"])
    assert bench.executor.requests == [], "it is told before a model is asked"
    looked = bench.run(option, "--prunegate-preflight")
    assert looked.ret != 0
    looked.stderr.fnmatch_lines([f"*document 1, {said}"])


@pytest.mark.parametrize(
    ("flat", "said"), [("all", "all choices have the same log-likelihood"), ("by choice", "whatever the prompt")]
)
def test_a_candidate_without_a_preference_fails(bench: Bench, flat: str, said: str) -> None:
    bench.models(pruned={"flat": flat})
    bench.thresholds(ONE)
    result = bench.run("--junitxml=junit.xml")
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"FAILED *boolq::acc - the pruned model has no preference: *{said}*"])
    assert said in results(bench)["checks"][0]["silent"]
    assert said in (bench.results / "comparison_report.md").read_text()
    assert said in (bench.path / "junit.xml").read_text()


def test_an_original_without_a_preference_is_an_error(bench: Bench) -> None:
    bench.models(original={"flat": "all"})
    bench.thresholds(ONE)
    result = bench.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*boolq: the original model has no preference (all choices have the same log-likelihood*"]
    )


def test_ties_are_counted_for_both_models(bench: Bench) -> None:
    bench.models(original={"tied": [3]}, pruned={"tied": [3, 4, 5]})
    bench.thresholds(ONE)
    result = bench.run()
    assert result.ret == 0
    said = "boolq: documents whose best choices tie, of which the first counts as chosen: original 1 of 20, pruned 3 of 20."
    result.stdout.fnmatch_lines([said])
    assert results(bench)["tasks"][0]["ties"] == {
        "original": {"documents": 20, "tied": 1},
        "pruned": {"documents": 20, "tied": 3},
    }
    for name in ("comparison_report.md", "comparison_report.html"):
        assert said in (bench.results / name).read_text()


def test_prompts_that_hold_their_own_answer_are_counted(bench: Bench) -> None:
    """Examples are drawn from the documents themselves; one of them is written otherwise, and is still the same."""
    bench.models()
    rows = [{"text": f"Is the number {n} even?", "choices": [" yes", " no"], "gold": n % 2} for n in range(4)]
    option = own_task(bench, rows, num_fewshot=2, fewshot_config={"sampler": "first_n"})
    result = bench.run(option)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["note: *mine: 2 of 4 prompts hold their own question and answer among the examples*"])
    option = own_task(
        bench,
        [rows[0], rows[0] | {"text": "is  the NUMBER 0 even?"}],
        num_fewshot=1,
        fewshot_config={"sampler": "first_n"},
    )
    result = bench.run(option)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*mine: each of its 2 prompts holds its own question and answer among the examples*"])


def test_documents_that_ask_the_same_are_counted(bench: Bench) -> None:
    bench.models()
    path = bench.path / "data" / "boolq.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*rows, *rows[:3]]))
    bench.thresholds(ONE)
    bench.run("--prunegate-decide=confident").stdout.fnmatch_lines(
        ["note: *boolq: 3 of 23 documents ask what another one asks, word for word*"]
    )


@pytest.mark.parametrize(
    ("task", "data", "threshold"),
    [
        ("boolq", BOOLQ, "metrics: {acc: 100%}"), ("boolq", BOOLQ, "metrics: {acc: {min_score: 0}}"),
        ("boolq", BOOLQ, "metrics: {acc: {max_absolute_drop: 1}}"), ("boolq", BOOLQ, "metrics: {acc: {min_recovery: 0%}}"),
        ("gsm8k", GSM8K, "num_fewshot: 0\n    outputs: {max_empty: 100%}"),
    ],
)  # fmt: skip
def test_a_threshold_that_nothing_breaks_is_noted(bench: Bench, task: str, data: str, threshold: str) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  {task}:\n    {data}\n    {threshold}\n")
    bench.run().stdout.fnmatch_lines([f"note: *{task}.*: nothing can break this threshold (*)."])
    assert any("nothing can break this threshold" in note for note in results(bench)["notes"])


def test_no_useful_threshold_is_called_unbreakable(bench: Bench) -> None:
    bench.models()
    bench.thresholds(ONE)
    bench.run().stdout.no_fnmatch_line("*nothing can break*")


def edit_json(bench: Bench, side: str, name: str, **changes: Any) -> None:
    path = bench.path / side / name
    path.write_text(json.dumps((json.loads(path.read_text()) if path.exists() else {}) | changes))


def test_what_differs_besides_the_weights_stands_next_to_the_verdict(bench: Bench) -> None:
    bench.models()
    bench.thresholds(ONE)
    result = bench.run()
    result.stdout.no_fnmatch_line("Differs besides the weights*")
    assert results(bench)["differences"] == []
    edit_json(bench, "original", "generation_config.json", eos_token_id=[1], temperature=0.5)
    edit_json(bench, "pruned", "generation_config.json", eos_token_id=[0], repetition_penalty=1.2, temperature=0.9)
    edit_json(bench, "pruned", "config.json", rms_norm_eps=0.5, hidden_act="gelu")
    edit_json(bench, "pruned", "tokenizer_config.json", add_bos_token=True)
    result = bench.run("--prunegate-pruned-args=think_end_token=</think>")
    found = results(bench)["differences"]
    assert found == [
        'think_end_token not set -> "</think>" (arguments)', "eos_token_id [1] -> [0] (generation_config.json)",
        "repetition_penalty not set -> 1.2 (generation_config.json)", "add_bos_token not set -> true (tokenizer_config.json)",
        "rms_norm_eps not set -> 0.5 (config.json)", 'hidden_act not set -> "gelu" (config.json)',
    ]  # fmt: skip
    lines = [
        place
        for place, line in enumerate(result.outlines)
        if line.startswith("Differs besides the weights: think_end_token")
    ]
    verdict = next(place for place, line in enumerate(result.outlines) if line.startswith("PASS: "))
    assert 0 < verdict - lines[-1] < 4
    assert "; and 1 more, in the report." in result.outlines[lines[-1]]
    assert "repetition_penalty not set -> 1.2" in (bench.results / "comparison_report.html").read_text().replace(
        "&gt;", ">"
    )
    assert "repetition_penalty" in (bench.results / "comparison_report.md").read_text()


def test_sizes_are_the_pruners_business(bench: Bench) -> None:
    bench.models()
    edit_json(bench, "pruned", "config.json", max_position_embeddings=1024, transformers_version="9", dtype="bfloat16")
    bench.thresholds(ONE)
    bench.run()
    assert results(bench)["differences"] == []
