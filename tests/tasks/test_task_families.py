"""The gate scores what lm-eval scores, on data in each task's own shape."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from support.families import (
    ANY_LOSS,
    FAMILIES,
    Family,
    evaluate_with_lm_eval,
    widen,
    write_choice_task,
    write_group,
    write_task,
    write_yaml,
)
from support.scripted import BOOLQ, GSM8K
from support.tiny import write_tiny_llama

from pytest_prunegate.input.model_argument import SIDES
from pytest_prunegate.tasks.index import TaskIndex
from pytest_prunegate.tasks.task_info import TaskInfo

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.verdict.check_scores import Measurement

MAX_LENGTH = 3072  # gsm8k_cot's eight examples are 2,600 of the tiny model's tokens


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models and the data of all families."""
    folder = tmp_path_factory.mktemp("families")
    for seed, side in enumerate(SIDES, start=1):
        widen(write_tiny_llama(folder / side, seed=seed), MAX_LENGTH)
    (folder / "data").mkdir()
    for family in FAMILIES:
        family.write(folder / "data")
    return folder


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, dict[str, Any]]:
    """What lm-eval says of all families, by side."""
    tasks = [family.override(shared / "data") for family in FAMILIES]
    folders = [family.folder for family in FAMILIES]
    return {
        side: evaluate_with_lm_eval(shared / side, tasks, include=folders, gen_kwargs={"max_gen_toks": 12})
        for side in SIDES
    }


@pytest.fixture
def models(shared: Path) -> tuple[str, ...]:
    return tuple(f"--{side}={shared / side}" for side in SIDES)


def results_of(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


FAST = {"gsm8k_cot", "hellaswag", "wikitext"}  # one of each kind: generation, choices, rolling
EACH = [
    pytest.param(family, id=family.name, marks=[] if family.name in FAST else [pytest.mark.slow]) for family in FAMILIES
]


@pytest.mark.parametrize("family", EACH)
def test_scores_of_a_family_are_those_of_lm_eval(
    real_bench: Bench,
    family: Family,
    *,
    shared: Path,
    models: tuple[str, ...],
    reference: dict[str, dict[str, Any]],
    all_measured: dict[str, tuple[Measurement, ...]],
) -> None:
    real_bench.thresholds(f"tasks:\n{family.thresholds(shared / 'data')}")
    real_bench.run(models=models).assert_outcomes(passed=len(family.metrics))
    checks = {f"{check['metric']},{check['filter']}": check for check in results_of(real_bench)["checks"]}
    for side in SIDES:
        theirs = reference[side]["results"][family.name]
        assert {key for key in theirs if "," in key and "_stderr" not in key} == set(checks), "every metric is compared"
        for key, check in checks.items():
            metric, name = key.split(",")
            assert check[side] == pytest.approx(theirs[key], rel=0, abs=1e-12)
            samples = [sample for sample in reference[side]["samples"][family.name] if sample["filter"] == name]
            assert check["documents"] == len(samples)
            assert len(samples) >= 5
            scorer = all_measured[family.name][0].scorers[side]
            scorer.score((metric, name))
            ours = {doc_id: values[metric] for doc_id, values in scorer._values[name].items()}
            assert ours == {sample["doc_id"]: sample[metric] for sample in samples}
            answers = answers_of(all_measured[family.name][0], side)
            assert answers == {sample["doc_id"]: _nearly(sample["resps"]) for sample in samples}


def _nearly(answers: Any) -> Any:
    """As logged, but for what the order of sums changes of a log-likelihood."""
    if isinstance(answers, (list, tuple)):
        return type(answers)(map(_nearly, answers))
    return pytest.approx(answers, abs=1e-3) if isinstance(answers, float) else answers


def answers_of(measurement: Measurement, side: Side) -> dict[int, list[list[Any]]]:
    """The answers to each document as lm-eval logs them: for each of its requests, one a repeat."""
    responses = measurement.scorers[side]._responses

    def plain(position: int) -> Any:
        response = responses[position]
        if response.loglikelihood is None:
            return response.text
        return response.loglikelihood if response.greedy is None else (response.loglikelihood, response.greedy)

    return {
        document.doc_id: [[plain(position) for position in positions] for positions in document.requests]
        for document in measurement.prepared.documents
    }


MEMBERS = {"alpha": 3, "beta": 5, "gamma": 9}
NESTED = MEMBERS | {"delta": 4}


@pytest.fixture
def groups(real_bench: Bench) -> Path:
    """A private folder with four tasks, and groups of them."""
    folder = real_bench.path / "mine"
    for name, documents in NESTED.items():
        write_choice_task(folder, name, documents, **({"tag": "greek"} if name in {"alpha", "gamma"} else {}))
    write_group(folder, "sized", list(MEMBERS), weight_by_size=True)
    write_group(folder, "flat", list(MEMBERS), weight_by_size=False)
    write_group(folder, "outer", ["flat", "delta"], weight_by_size=True)
    write_group(folder, "outerflat", ["sized", "delta"], weight_by_size=False)
    write_group(folder, "bare", ["beta", "delta"], weight_by_size=None)
    return folder


def check_each(*names: str) -> str:
    """A thresholds file with ``acc`` of each task."""
    return "tasks:\n" + "".join(f"  {name}: {{metrics: {{acc: {ANY_LOSS}}}}}\n" for name in names)


@pytest.mark.parametrize(
    ("name", "members"), [("sized", MEMBERS), ("flat", MEMBERS), ("outer", NESTED), ("outerflat", NESTED)]
)
@pytest.mark.slow
def test_a_group_scores_what_lm_eval_says_and_so_does_each_member(
    real_bench: Bench, groups: Path, models: tuple[str, ...], *, shared: Path, name: str, members: dict[str, int]
) -> None:
    real_bench.thresholds(check_each("sized", "flat", "outer", "outerflat"))
    result = real_bench.run(f"--prunegate-include-path={groups}", f"thresholds.yaml::{name}::acc", models=models)
    result.assert_outcomes(passed=1)
    check = next(check for check in results_of(real_bench)["checks"] if check["task"] == name)
    assert check["documents"] == check["total_documents"] == sum(members.values())
    assert {member["name"]: member["documents"] for member in check["members"]} == members
    for side in SIDES:
        theirs = evaluate_with_lm_eval(shared / side, [name], include=[groups])["results"]
        assert check[side] == pytest.approx(theirs[name]["acc,none"], rel=0, abs=1e-12)
        for member in check["members"]:
            assert member[side] == pytest.approx(theirs[member["name"]]["acc,none"], rel=0, abs=1e-12)


def test_weighting_by_size_and_alike_differ_on_this_data(
    real_bench: Bench, groups: Path, models: tuple[str, ...]
) -> None:
    real_bench.thresholds(check_each("sized", "flat"))
    real_bench.run(f"--prunegate-include-path={groups}", models=models).assert_outcomes(passed=2)
    sized, flat = results_of(real_bench)["checks"]
    assert sized["original"] != flat["original"]
    assert sized["members"] == flat["members"]


@pytest.mark.parametrize(("name", "members"), [("sized", MEMBERS), ("flat", MEMBERS), ("outer", NESTED)])
@pytest.mark.slow
def test_a_limit_is_per_member_and_the_sample_is_weighted(
    real_bench: Bench,
    groups: Path,
    models: tuple[str, ...],
    *,
    shared: Path,
    all_measured: dict[str, tuple[Measurement, ...]],
    name: str,
    members: dict[str, int],
) -> None:
    real_bench.thresholds(check_each(name))
    arguments = (f"--prunegate-include-path={groups}", "--prunegate-limit=4")
    real_bench.run(*arguments, models=models).assert_outcomes(passed=1)
    [check] = results_of(real_bench)["checks"]
    limited = {member: min(documents, 4) for member, documents in members.items()}
    assert {member["name"]: member["documents"] for member in check["members"]} == limited
    assert (check["documents"], check["total_documents"]) == (sum(limited.values()), sum(members.values()))
    weights = [1 if name == "flat" else member["documents"] for member in check["members"]]
    for place, side in enumerate(SIDES):
        full = evaluate_with_lm_eval(shared / side, [name], include=[groups])["samples"]
        scores = [Fraction(member["exact"][place]) for member in check["members"]]
        for measurement, score in zip(all_measured[name], scores, strict=True):
            by_document = measurement.scorers[side].score(("acc", "none")).by_document
            theirs = {sample["doc_id"]: sample["acc"] for sample in full[measurement.prepared.name]}
            assert {doc_id: theirs[int(str(doc_id))] for doc_id in by_document} == by_document
            assert score == sum(by_document.values()) / len(by_document)
        by_hand = sum((w * score for w, score in zip(weights, scores, strict=True)), Fraction()) / sum(weights)
        assert Fraction(check["exact"][side]) == by_hand


@pytest.mark.slow
def test_a_task_that_two_subgroups_share_counts_as_often_as_in_lm_eval(
    real_bench: Bench, groups: Path, models: tuple[str, ...], shared: Path
) -> None:
    write_group(groups, "inner", ["gamma", "delta"], weight_by_size=True)
    write_group(groups, "shares", ["sized", "inner"], weight_by_size=True)
    real_bench.thresholds(check_each("shares"))
    real_bench.run(f"--prunegate-include-path={groups}", models=models).assert_outcomes(passed=1)
    [check] = results_of(real_bench)["checks"]
    for side in SIDES:
        theirs = evaluate_with_lm_eval(shared / side, ["shares"], include=[groups])["results"]
        assert check[side] == pytest.approx(theirs["shares"]["acc,none"], rel=0, abs=1e-12)


@pytest.mark.slow
def test_a_group_may_change_its_members(real_bench: Bench, groups: Path, models: tuple[str, ...], shared: Path) -> None:
    (groups / "utils.py").write_text("def ask(doc):\n    return f\"Say {doc['question']} now:\"\n")
    shots = {"task": "beta", "num_fewshot": 2, "fewshot_split": "test"}
    write_yaml(
        groups, "changed", group="changed", task=["alpha", shots, {"group": "flat", "doc_to_choice": "{{['a', 'b', 'c']}}"}],
        doc_to_text="!function utils.ask", aggregate_metric_list=[{"metric": "acc", "weight_by_size": True}],
    )  # fmt: skip
    write_group(groups, "flat", ["gamma", "delta"], weight_by_size=False)
    real_bench.thresholds(check_each("changed"))
    real_bench.run(f"--prunegate-include-path={groups}", models=models).assert_outcomes(passed=1)
    [check] = results_of(real_bench)["checks"]
    for side in SIDES:
        theirs = evaluate_with_lm_eval(shared / side, ["changed"], include=[groups])["results"]
        assert check[side] == pytest.approx(theirs["changed"]["acc,none"], rel=0, abs=1e-12)
        for member in check["members"]:
            assert member[side] == pytest.approx(theirs[member["name"]]["acc,none"], rel=0, abs=1e-12)


@pytest.mark.parametrize("heavy", ["vote", "first"])
def test_a_group_may_weight_one_metric_differently_by_filter(bench: Bench, heavy: str) -> None:
    bench.models(original={"wrong": [1, 4]})
    for name, documents in (("short", 3), ("long", 9)):
        rows = [{"question": f"What is the number {n}?", "answer": str(n)} for n in range(documents)]
        write_task(
            bench.path / "mine", name, rows, output_type="generate_until", doc_to_text="{{question}}", doc_to_target="{{answer}}",
            generation_kwargs={"until": ["\n\n"]}, metric_list=[{"metric": "exact_match"}],
            filter_list=[
                {"name": filter_name, "filter": [{"function": "regex", "regex_pattern": "#### (\\d+)"}, {"function": "take_first"}]}
                for filter_name in ("vote", "first")
            ],
        )  # fmt: skip
    aggregates = [
        {"metric": "exact_match", "filter_list": [name], "weight_by_size": name == heavy} for name in ("vote", "first")
    ]
    write_yaml(bench.path / "mine", "both", group="both", task=["short", "long"], aggregate_metric_list=aggregates)
    metrics = ", ".join(f'"exact_match,{name}": {ANY_LOSS}' for name in ("vote", "first"))
    bench.thresholds(f"tasks:\n  both:\n    metrics: {{{metrics}}}\n")
    bench.run("--prunegate-include-path=mine").assert_outcomes(passed=2)
    for check in results_of(bench)["checks"]:
        short, long = (Fraction(member["exact"][0]) for member in check["members"])
        assert (short, long) == (Fraction(2, 3), Fraction(7, 9))
        weighted = (3 * short + 9 * long) / 12 if check["filter"] == heavy else (short + long) / 2
        assert Fraction(check["exact"]["original"]) == weighted


def test_a_group_that_aggregates_nothing_and_a_tag_become_one_item_per_task(bench: Bench, groups: Path) -> None:
    bench.models(pruned={"wrong": [19]})
    bench.thresholds(check_each("bare", "greek"))
    arguments = (f"--prunegate-include-path={groups}", "-v")
    result = bench.run(*arguments)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random([f"thresholds.yaml::{name}::acc PASSED*" for name in NESTED])
    for mark, names in (("greek", {"alpha", "gamma"}), ("bare", {"beta", "delta"}), ("delta", {"delta"})):
        result = bench.run(*arguments, "-m", mark)
        result.assert_outcomes(passed=len(names), deselected=4 - len(names))
        for name in names:
            result.stdout.fnmatch_lines([f"thresholds.yaml::{name}::acc PASSED*"])


def test_a_limit_below_one_is_a_share_rounded_up_as_in_lm_eval(bench: Bench, groups: Path) -> None:
    bench.models(pruned={"wrong": [19]})
    bench.thresholds(
        f"""
        tasks:
          sized: {{limit: 0.4, metrics: {{acc: {ANY_LOSS}}}}}
          delta: {{limit: 0.5, metrics: {{acc: {ANY_LOSS}}}}}
          boolq: {{limit: 0.33, {BOOLQ}, metrics: {{acc: {ANY_LOSS}}}}}
        """
    )
    include = f"--prunegate-include-path={groups}"
    bench.run(include).assert_outcomes(passed=3)
    found = {check["task"]: check for check in results_of(bench)["checks"]}
    members = {member["name"]: member["documents"] for member in found["sized"]["members"]}
    assert members == {"alpha": 2, "beta": 2, "gamma": 4} == sizes_in_lm_eval("sized", groups, limit=0.4)
    assert {"delta": found["delta"]["documents"]} == {"delta": 2} == sizes_in_lm_eval("delta", groups, limit=0.5)
    assert (found["boolq"]["documents"], found["boolq"]["total_documents"]) == (7, 20)
    bench.run(include, "--prunegate-limit=0.7").assert_outcomes(passed=3)
    found = {task["name"]: task["documents"] for task in results_of(bench)["tasks"]}
    assert found == {"sized": 3 + 4 + 7, "delta": 3, "boolq": 14}, "the command line's share goes before the file's"


def sizes_in_lm_eval(name: str, folder: Path, **settings: Any) -> dict[str, int]:
    """How many documents lm-eval evaluates of each task."""
    from lm_eval.models.dummy import DummyLM

    found = evaluate_with_lm_eval(DummyLM(), [name], include=[folder], **settings)["n-samples"]
    return {task: sizes["effective"] for task, sizes in found.items()}


PROCESS = """
def process_results(doc, results):
    [found] = results
    answers = found if isinstance(found, list) else [found]
    return {"answers": len(answers), "letters": sum(map(len, answers)), "hit": float(answers[-1] == answers[0])}
"""


@pytest.fixture
def voted(real_bench: Bench) -> Path:
    """A private task whose filters look at all answers to a document, at a vote of them, and at the first."""
    folder = real_bench.path / "mine"
    rows = [{"question": f"What comes after {'one' * n}?", "answer": str(n)} for n in range(5)]
    vote = [{"function": "majority_vote"}, {"function": "take_first"}]
    filters = {"three": [{"function": "take_first_k", "k": 3}], "vote": vote, "first": [{"function": "take_first"}]}
    write_task(
        folder, "voted", rows, output_type="generate_until", doc_to_text="{{question}}", doc_to_target="{{answer}}",
        generation_kwargs={"until": ["never"]}, process_results="!function utils.process_results",
        metric_list=[{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("answers", "letters", "hit")],
        filter_list=[{"name": name, "filter": steps} for name, steps in filters.items()],
    )  # fmt: skip
    (folder / "utils.py").write_text(PROCESS)
    keys = [f"{metric},{name}" for metric in ("answers", "letters", "hit") for name in filters]
    metrics = ", ".join(f'"{key}": {{min_score: 0}}' for key in keys)
    real_bench.thresholds(f"""
        tasks:
          voted:
            repeats: 3
            max_gen_toks: 1
            gen_kwargs: {{do_sample: true, temperature: 1.0}}
            metrics: {{{metrics}}}
        """)
    return folder


def test_every_repeat_is_kept_and_filters_see_them_all(
    real_bench: Bench, voted: Path, models: tuple[str, ...], all_measured: dict[str, tuple[Measurement, ...]]
) -> None:
    include = f"--prunegate-include-path={voted}"
    real_bench.run(include, models=models).assert_outcomes(passed=9)
    [task] = results_of(real_bench)["tasks"]
    assert (task["documents"], task["requests"]) == (5, 15)
    assert real_bench.executed("voted") == {"original": 15, "pruned": 15}
    checks = {f"{check['metric']},{check['filter']}": check for check in results_of(real_bench)["checks"]}
    for side in SIDES:
        answers = answers_of(all_measured["voted"][0], side)
        assert all(len(repeats) == 3 for [repeats] in answers.values())
        assert any(len(set(repeats)) > 1 for [repeats] in answers.values()), "sampled answers differ"
        theirs = replayed_in_lm_eval(all_measured["voted"][0], side, voted)
        assert theirs["answers,three"] == 3
        assert {key: check[side] for key, check in checks.items()} == pytest.approx(
            {key: theirs[key] for key in checks}, rel=0, abs=1e-12
        )


def replayed_in_lm_eval(measurement: Measurement, side: Side, folder: Path) -> dict[str, Any]:
    """What lm-eval makes of the answers that the gate kept."""
    from lm_eval.models.dummy import DummyLM

    kept = answers_of(measurement, side)
    texts = {
        document.instances[0].args[0]: list(kept[document.doc_id][0]) for document in measurement.prepared.documents
    }

    class Replay(DummyLM):  # type: ignore[misc]  # lm-eval publishes no types
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: FBT001, FBT002 - lm-eval's signature
            return [texts[request.args[0]].pop(0) for request in requests]

    tasks = [{"group": "again", "task": [{"task": "voted", "repeats": 3}]}]
    found: dict[str, Any] = evaluate_with_lm_eval(Replay(), tasks, include=[folder])["results"]["voted"]
    assert not any(texts.values()), "every answer was taken"
    return found


def test_sampled_answers_are_not_drawn_again(real_bench: Bench, voted: Path, models: tuple[str, ...]) -> None:
    include = f"--prunegate-include-path={voted}"
    real_bench.run(include, models=models).assert_outcomes(passed=9)
    first = [(check["name"], check["exact"]) for check in results_of(real_bench)["checks"]]
    result = real_bench.run(include, models=models)
    result.assert_outcomes(passed=9)
    result.stdout.fnmatch_lines(["time: *every answer is in the store; no model is loaded"])
    assert real_bench.executed("voted") == {"original": 0, "pruned": 0}
    assert [(check["name"], check["exact"]) for check in results_of(real_bench)["checks"]] == first


EXAMPLES = f"""
tasks:
  gsm8k:
    {GSM8K}
    num_fewshot: 1
    fewshot_seed: 3
    max_gen_toks: 9
    gen_kwargs: {{temperature: 0.2, top_p: 0.9}}
    metrics: {{"exact_match,flexible-extract": {ANY_LOSS}}}
  gsm8k_cot_zeroshot:
    {GSM8K}
    metrics: {{"exact_match,flexible-extract": {ANY_LOSS}}}
  boolq:
    {BOOLQ.replace("{validation", "{train: data/boolq.jsonl, validation")}
    metrics: {{acc: {ANY_LOSS}}}
"""


def requests_of(all_measured: dict[str, tuple[Measurement, ...]], name: str) -> list[tuple[Any, ...]]:
    """What the models were asked: prompts with their continuation, or with their generation arguments."""
    return [request.arguments for request in all_measured[name][0].prepared.requests]


def requests_in_lm_eval(bench: Bench, name: str, folder: str, **settings: Any) -> list[tuple[Any, ...]]:
    """What lm-eval asks for the same data."""
    from lm_eval.models.dummy import DummyLM

    file = "boolq" if name == "boolq" else "gsm8k"
    files = {split: str(bench.path / "data" / f"{file}.jsonl") for split in ("train", "validation", "test")}
    local = {"task": name, "dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
    found = evaluate_with_lm_eval(DummyLM(), [{"group": "local", "task": [local]}], include=[folder], **settings)
    samples = {sample["doc_id"]: sample["arguments"] for sample in found["samples"][name]}
    return [tuple(arguments) for doc_id in sorted(samples) for arguments in samples[doc_id]]


def test_settings_of_the_command_line_reach_the_requests_as_in_lm_eval(
    bench: Bench, all_measured: dict[str, tuple[Measurement, ...]]
) -> None:
    bench.models()
    bench.thresholds(EXAMPLES)
    bench.run(
        "--prunegate-num-fewshot=3",
        "--prunegate-fewshot-seed=77",
        "--prunegate-gen-kwargs=temperature=0.7,do_sample=true",
        "--prunegate-max-gen-toks=6",
    ).assert_outcomes(passed=3)
    settings = {"num_fewshot": 3, "fewshot_random_seed": 77}
    drawn = {"temperature": 0.7, "do_sample": True, "max_gen_toks": 6}
    expected = requests_in_lm_eval(bench, "gsm8k", "gsm8k", gen_kwargs=drawn | {"top_p": 0.9}, **settings)
    assert requests_of(all_measured, "gsm8k") == expected, "what the command line does not name stays the file's"
    assert expected[0][0].count("Question:") == 4
    assert requests_of(all_measured, "boolq") == requests_in_lm_eval(bench, "boolq", "super_glue/boolq", **settings)
    assert requests_of(all_measured, "boolq")[0][0].count("Question:") == 4
    expected = requests_in_lm_eval(bench, "gsm8k_cot_zeroshot", "gsm8k", gen_kwargs=drawn, **settings)
    assert requests_of(all_measured, "gsm8k_cot_zeroshot") == expected, "its own num_fewshot of 0 stays"
    assert expected[0][0].count("Q:") == 1
    shots = {task["name"]: task["num_fewshot"] for task in results_of(bench)["tasks"]}
    assert shots == {"gsm8k": 3, "gsm8k_cot_zeroshot": 0, "boolq": 3}


def test_settings_of_the_file_reach_the_requests_as_in_lm_eval(
    bench: Bench, all_measured: dict[str, tuple[Measurement, ...]]
) -> None:
    bench.models()
    bench.thresholds(EXAMPLES)
    bench.run().assert_outcomes(passed=3)
    given = {"temperature": 0.2, "top_p": 0.9, "max_gen_toks": 9}
    settings = {"num_fewshot": 1, "fewshot_random_seed": 3, "gen_kwargs": given}
    assert requests_of(all_measured, "gsm8k") == requests_in_lm_eval(bench, "gsm8k", "gsm8k", **settings)
    assert requests_of(all_measured, "boolq") == requests_in_lm_eval(bench, "boolq", "super_glue/boolq")


def test_another_fewshot_seed_gives_other_prompts(
    bench: Bench, all_measured: dict[str, tuple[Measurement, ...]]
) -> None:
    bench.models()
    bench.thresholds(EXAMPLES)
    prompts = []
    for seed in ("1", "1", "2"):
        bench.run("-m", "gsm8k", f"--prunegate-fewshot-seed={seed}").assert_outcomes(passed=1, deselected=2)
        prompts.append([arguments[0] for arguments in requests_of(all_measured, "gsm8k")])
    assert prompts[0] == prompts[1]
    assert prompts[0] != prompts[2]
    assert len(prompts[0]) == len(prompts[2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("task: [never closed\n", "*ParserError*"),
        ("include: nowhere.yaml\ntask: mine\n", "*FileNotFoundError*nowhere.yaml*"),
    ],
    ids=["it does not parse", "its include is missing"],
)
def test_a_private_file_that_cannot_be_read_is_named(bench: Bench, groups: Path, content: str, reason: str) -> None:
    bench.models()
    (groups / "bad.yaml").write_text(content)
    bench.thresholds(check_each("alpha"))
    result = bench.run(f"--prunegate-include-path={groups}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{groups / 'bad.yaml'}{reason}"])
    assert bench.executor.requests == []


def test_a_group_of_an_unknown_task_is_a_usage_error_that_names_both(bench: Bench, groups: Path) -> None:
    bench.models()
    write_group(groups, "odd", ["alpha", "epsilon"], weight_by_size=True)
    write_group(groups, "around", ["odd", "beta"], weight_by_size=True)
    bench.thresholds(check_each("sized", "odd"))
    result = bench.run(f"--prunegate-include-path={groups}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*thresholds.yaml:3:*odd:*does not know*epsilon*"])
    bench.thresholds(check_each("sized", "around"))
    result = bench.run(f"--prunegate-include-path={groups}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR, "the unknown task is one group deeper"
    result.stderr.fnmatch_lines(["*thresholds.yaml:3:*around:*epsilon*"])


def test_a_private_folder_is_found_from_an_installation_behind_a_link(groups: Path, tmp_path: Path) -> None:
    from lm_eval.tasks import __path__ as tasks_path

    (tmp_path / "link").symlink_to(tasks_path[0])
    found = TaskIndex({}, tmp_path / "link").including(groups).find("alpha")
    assert isinstance(found, TaskInfo)
    assert found.path == (groups / "alpha.yaml").resolve()


def test_a_group_of_metrics_with_filters_of_their_own(bench: Bench, groups: Path, voted_group: None) -> None:
    bench.models()
    bench.thresholds("defaults: {max_absolute_drop: 1}\ntasks:\n  pair:\n")
    result = bench.run(f"--prunegate-include-path={groups}", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["thresholds.yaml::pair::acc,first", "thresholds.yaml::pair::f1,last"])
    result.stdout.no_fnmatch_line("*acc,last*")
    bench.thresholds("tasks:\n  pair: {metrics: {'acc,last': {max_absolute_drop: 1}}}\n")
    refused = bench.run(f"--prunegate-include-path={groups}")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["*thresholds.yaml:2: pair.acc,last: there is no filter last. Filters of pair: first."]
    )


@pytest.fixture
def voted_group(groups: Path) -> None:
    filters = [{"name": name, "filter": [{"function": "take_first"}]} for name in ("first", "last")]
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "f1")]
    write_choice_task(groups, "filtered", 3, filter_list=filters, metric_list=metrics)
    aggregates = [{"metric": "acc", "filter_list": ["first"]}, {"metric": "f1", "filter_list": ["last"]}]
    write_yaml(groups, "pair", group="pair", task=["filtered"], aggregate_metric_list=aggregates)
