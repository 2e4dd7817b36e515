"""Chat prompts on a tiny real model: those of lm-eval, the same for both models, part of the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.chat_templates import DATED, TEMPLATE, set_template
from support.reference import evaluate_with_lm_eval
from support.scripted import BOOLQ_AND_GSM8K, SQUAD
from support.tiny import write_tiny_llama

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Bench

    from pytest_prunegate.verdict.check_scores import Measurement

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
APPLY = "--prunegate-apply-chat-template=true"


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    for side, seed in (("original", 1), ("pruned", 2)):
        set_template(write_tiny_llama(real_bench.path / side, seed=seed), TEMPLATE)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    return real_bench


def prompts(measurement: Measurement) -> list[str]:
    return [request.context for request in measurement.prepared.requests]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {"fewshot_as_multiturn": True}),
        pytest.param(["--prunegate-fewshot-as-multiturn=false"], {"fewshot_as_multiturn": False}, marks=pytest.mark.slow),
        pytest.param(
            ["--prunegate-system-instruction=Be brief."], {"fewshot_as_multiturn": True, "system_instruction": "Be brief."},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["examples as turns", "one turn", "system message"],
)  # fmt: skip
def test_prompts_and_scores_are_those_of_lm_eval(
    project: Bench, measured: Mapping[str, Measurement], options: list[str], settings: dict[str, Any]
) -> None:
    project.run(APPLY, *options).assert_outcomes(passed=2)
    data = project.path / "data"
    reference = evaluate_with_lm_eval(project.path / "original", data, apply_chat_template=True, **settings)
    for name, key in (("boolq", ("acc", "none")), ("gsm8k", ("exact_match", "flexible-extract"))):
        samples = [sample for sample in reference["samples"][name] if sample["filter"] == key[1]]
        theirs = [arguments[0] for sample in samples for arguments in sample["arguments"]]
        assert prompts(measured[name]) == list(theirs)
        assert "<user>" in theirs[0]
        scores = measured[name].scorers["original"].score(key).by_document
        assert {doc_id: float(score) for doc_id, score in scores.items()} == {
            sample["doc_id"]: sample[key[0]] for sample in samples
        }


@pytest.mark.slow
def test_the_file_says_it_for_a_task(project: Bench, measured: Mapping[str, Measurement]) -> None:
    project.thresholds(
        BOOLQ_AND_GSM8K.replace("num_fewshot: 1\n", "num_fewshot: 1\n    apply_chat_template: true\n    system_instruction: Count.\n")
        .replace("  boolq:\n", "  boolq:\n    apply_chat_template: false\n")
    )  # fmt: skip
    result = project.run()
    assert all(prompt.startswith("</s><system>Count.</s><user>Question:") for prompt in prompts(measured["gsm8k"]))
    assert not any("<user>" in prompt for prompt in prompts(measured["boolq"]))
    result.stdout.no_fnmatch_line("*has a chat template, and it is not applied*")


@pytest.mark.parametrize(("switch", "words"), [("true", "<assistant>think "), ("false", "<assistant>no think ")])
def test_switches_of_the_template(project: Bench, measured: Mapping[str, Measurement], switch: str, words: str) -> None:
    text = BOOLQ_AND_GSM8K.replace("  boolq:\n", f"  boolq:\n    apply_chat_template: true\n    chat_template_kwargs: {{enable_thinking: {switch}}}\n")  # fmt: skip
    project.thresholds(text)
    project.run("-m", "boolq").assert_outcomes(passed=1)
    assert all(prompt.endswith(words) for prompt in prompts(measured["boolq"]))


def test_a_template_is_chosen_by_its_name(project: Bench, measured: Mapping[str, Measurement]) -> None:
    several = [
        {"name": "default", "template": TEMPLATE},
        {"name": "short", "template": "{{ messages[0]['content'] }}!"},
    ]
    for side in ("original", "pruned"):
        set_template(project.path / side, several)
    project.run("-m", "boolq", "--prunegate-apply-chat-template=short").assert_outcomes(passed=1)
    assert all(prompt.endswith("Answer:!") for prompt in prompts(measured["boolq"]))
    result = project.run("-m", "boolq", "--prunegate-apply-chat-template=long")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["boolq: original model original has no chat template long. It has: default, short."])


def test_a_name_where_there_is_one_template_without_a_name(project: Bench) -> None:
    result = project.run("-m", "boolq", "--prunegate-apply-chat-template=short")
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["boolq: original model original has one chat template, without names*"])


@pytest.mark.slow
def test_a_template_that_is_not_applied_is_one_warning(project: Bench) -> None:
    result = project.run()
    said = [line for line in result.outlines if line.startswith("note:") and "template" in line]
    assert len(said) == 1
    assert "has a chat template, and it is not applied to boolq, gsm8k" in said[0]
    assert "--prunegate-apply-chat-template=true" in said[0]
    assert "it is not applied to boolq" in (project.results / "comparison_report.html").read_text()
    project.run(APPLY).stdout.no_fnmatch_line("note:*template*")
    for side in ("original", "pruned"):
        set_template(project.path / side, None)
    project.run().stdout.no_fnmatch_line("note:*template*")


def test_without_a_template_it_is_an_error(project: Bench) -> None:
    set_template(project.path / "original", None)
    result = project.run("-m", "boolq", APPLY)
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["boolq: original model original has no chat template to apply. Write*"])


def test_a_pruned_model_without_a_template_gets_the_originals(
    project: Bench, measured: Mapping[str, Measurement]
) -> None:
    set_template(project.path / "pruned", None)
    project.run("-m", "boolq", APPLY).assert_outcomes(passed=1)
    assert "<user>" in prompts(measured["boolq"])[0]


def test_templates_that_render_differently_are_an_error(project: Bench) -> None:
    set_template(project.path / "pruned", TEMPLATE.replace("<assistant>", "<bot>"))
    result = project.run("-m", "boolq", APPLY)
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["boolq: the two models' chat templates render the same conversation differently*"])
    set_template(project.path / "pruned", "{# another text #}" + TEMPLATE)
    project.run("-m", "boolq", APPLY).assert_outcomes(passed=1)


def test_a_template_without_a_system_role_goes_without_it(project: Bench, measured: Mapping[str, Measurement]) -> None:
    for side in ("original", "pruned"):
        set_template(project.path / side, NO_SYSTEM)
    project.run("-m", "boolq", APPLY, "--prunegate-system-instruction=Be brief.").assert_outcomes(passed=1)
    assert not any("Be brief." in prompt for prompt in prompts(measured["boolq"]))
    said = "The chat template takes no system message, so that it is left out, as lm-eval does: Be brief."
    assert said in (project.results / "comparison_report.md").read_text()
    project.run("-m", "boolq", APPLY).stdout.no_fnmatch_line("*takes no system message*")


def test_a_template_with_a_date_is_told(project: Bench) -> None:
    for side in ("original", "pruned"):
        set_template(project.path / side, DATED)
    project.run("-m", "boolq", APPLY).stdout.fnmatch_lines(["note: *writes today's date into the prompts*"])
    text = BOOLQ_AND_GSM8K.replace("  boolq:\n", "  boolq:\n    chat_template_kwargs: {date_string: 1 May 2026}\n")
    project.thresholds(text)
    project.run("-m", "boolq", APPLY).stdout.no_fnmatch_line("note:*date*")


def test_another_system_message_is_another_request(project: Bench) -> None:
    project.run("-m", "boolq", APPLY)
    again = project.run("-m", "boolq", APPLY)
    again.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    other = project.run("-m", "boolq", APPLY, "--prunegate-system-instruction=Think.")
    other.stdout.fnmatch_lines(["task: *boolq: *none in the store*"])


def test_a_task_in_python_takes_the_template_too(project: Bench, measured: Mapping[str, Measurement]) -> None:
    project.thresholds(
        f"tasks:\n  squadv2:\n    {SQUAD}\n    max_gen_toks: 4\n    metrics: {{f1: {{max_absolute_drop: 1}}}}\n"
    )
    project.run(APPLY, "--prunegate-limit=3").assert_outcomes(passed=1)
    assert all(prompt.startswith("</s><user>Title: T") for prompt in prompts(measured["squadv2"]))
