"""What decides a check: all documents, a sample, others like these, or the first that say enough."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from support.families import write_group, write_task
from support.scripted import BOOLQ, GSM8K, SQUAD, write_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bench

DOCUMENTS = 400
EARLY = f"""
defaults: {{max_relative_drop: 10%, decide: early}}
tasks:
  boolq:
    {BOOLQ}
    metrics: [acc]
"""


@pytest.fixture
def large(bench: Bench) -> Bench:
    """Four hundred documents; a model gets those wrong that its script names."""
    write_data(bench.path / "data", DOCUMENTS)
    return bench


def summary(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def check(bench: Bench, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = summary(bench)["checks"][number]
    return found


def asked(bench: Bench, side: str) -> list[int]:
    """The numbers of the questions that a model was asked, each once, in their order."""
    numbers = [int(re.findall(r"number (\d+)", request.context)[-1]) for of, request in bench.executor.requests if of == side]  # fmt: skip
    return list(dict.fromkeys(numbers))


def every(step: int, of: int = DOCUMENTS) -> list[int]:
    return list(range(0, of, step))


class TestEarly:
    def test_a_plain_loss_fails_after_a_part_of_the_documents(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(EARLY)
        result = large.run("--junitxml=junit.xml")
        assert result.ret == 1
        found = check(large)
        decision = found["decision"]
        assert decision["basis"] == "early"
        assert decision["is_estimate"] is True
        assert decision["estimate_of"] == "the scores on all 400 documents"
        assert (decision["error_rate"], decision["seed"], decision["of"]) == (0.01, 1234, 400)
        assert 10 <= decision["documents"] <= 60
        assert found["documents"] == decision["documents"]
        assert re.search(
            r"boolq acc 1\.0000 -> 0\.\d+: -0\.\d+, -\d+\.\d+% relative \(threshold: relative drop at most 10%\)\. FAIL: the full run would "
            r"agree \(error at most 1%\), after \d+ of 400 documents\. 95% interval for the full run, wherever it stops: -\d+\.\d% to -\d+\.\d%\. "
            r"\d+ answers lost, 0 gained\.",
            found["reason"],
        )
        result.stdout.fnmatch_lines(["verdict:   FAIL: the full run would agree (error at most 1%), after *"])
        assert set(asked(large, "original")) == set(asked(large, "pruned"))
        assert len(asked(large, "pruned")) < 100
        low, high = found["interval"]["relative"]
        assert low < 0.5 < high, "half of all answers are lost"
        properties = {
            entry.attrib["name"]: entry.attrib["value"]
            for entry in ET.parse(large.path / "junit.xml").iter("property")  # noqa: S314 - our own file
        }
        assert properties["prunegate_basis"] == "early"
        assert properties["prunegate_error_rate"] == "0.01"

    def test_no_loss_passes_after_a_part_of_the_documents(self, large: Bench) -> None:
        large.models(pruned={"wrong": [7]})
        large.thresholds(EARLY)
        result = large.run("-rA")
        assert result.ret == 0
        assert check(large)["decision"]["basis"] == "early"
        assert len(asked(large, "pruned")) < DOCUMENTS / 2
        result.stdout.fnmatch_lines(["*boolq: 32 to all 400 documents, in rounds until they decide, *"])

    def test_a_close_call_is_decided_by_all_documents(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})  # exactly at the threshold, where equality passes
        large.thresholds(EARLY)
        assert large.run().ret == 0
        decision = check(large)["decision"]
        assert decision["documents"] > DOCUMENTS * 0.8
        assert check(large)["outcome"] == "pass"

    @pytest.mark.slow
    def test_a_resumed_run_ends_as_an_undisturbed_one(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(5)})
        large.thresholds(EARLY)
        large.run("--prunegate-store=undisturbed")
        whole, order = check(large), asked(large, "pruned")
        for kill in (5, 70, 150):
            large.executor.requests.clear()
            large.executor.fail_after = kill
            large.run(f"--prunegate-store=killed-{kill}")
            large.executor.fail_after = None
            large.run(f"--prunegate-store=killed-{kill}")
            assert {key: value for key, value in check(large).items() if key != "measured"} == {
                key: value for key, value in whole.items() if key != "measured"
            }
            assert set(asked(large, "pruned")) == set(order)

    @pytest.mark.slow
    def test_what_the_store_holds_changes_nothing(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(5)})
        large.thresholds(EARLY)
        large.run("--prunegate-store=empty")
        expected = check(large)["decision"]
        large.run("--prunegate-store=full", "--prunegate-decide=full")
        assert check(large)["decision"]["basis"] == "measured"
        large.executor.requests.clear()
        large.run("--prunegate-store=full")
        assert large.executor.requests == [], "all of it is kept"
        assert check(large)["decision"] == expected

    def test_a_second_candidate_is_drawn_in_the_same_order(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(EARLY)
        large.run()
        first = set(asked(large, "original"))
        shutil.rmtree(large.path / "pruned")
        shutil.rmtree(large.path / "original")
        large.models(pruned={"wrong": every(2), "note": 1})
        large.executor.requests.clear()
        large.run()
        assert set(asked(large, "original")) <= first or asked(large, "original") == []

    def test_all_checks_of_a_task_share_the_documents(self, large: Bench) -> None:
        silent = every(4)  # where there is no answer
        large.models(
            original={"empty": silent}, pruned={"empty": silent, "wrong": [n for n in range(DOCUMENTS) if n % 5 == 1]}
        )
        large.thresholds(f"""
            tasks:
              squadv2:
                {SQUAD}
                decide: early
                metrics: {{f1: 10%, HasAns_f1: 60%, NoAns_f1: 10%}}
        """)
        result = large.run()
        assert result.ret == 1
        by_name = {found["name"]: found["decision"] for found in summary(large)["checks"]}
        assert by_name["HasAns_f1"]["of"] == 300, "three of four questions have an answer"
        assert by_name["NoAns_f1"]["of"] == 100
        assert by_name["HasAns_f1"]["documents"] < by_name["f1"]["documents"], "it is decided sooner"
        assert len(asked(large, "pruned")) >= by_name["f1"]["documents"]

    def test_more_checks_in_the_file_raise_the_bar_for_a_failure_alone(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(4)})
        large.thresholds(EARLY)
        large.run("--prunegate-store=one")
        one = check(large)["decision"]
        large.thresholds(EARLY + f"  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,strict-match': 5%, 'exact_match,flexible-extract': 5%}}\n")  # fmt: skip
        large.run("--prunegate-store=three", "-m", "boolq")
        three = check(large)["decision"]
        assert (one["checks"], three["checks"]) == (1, 3), "those that were not selected count too"
        assert one["documents"] < three["documents"]
        assert check(large)["outcome"] == "fail"

    @pytest.mark.slow
    def test_an_indifferent_gate_stops_sooner(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(12)})
        large.thresholds(EARLY)
        large.run("--prunegate-store=exact")
        exact = check(large)["decision"]["documents"]
        large.run("--prunegate-store=indifferent", "--prunegate-indifference=8%")
        assert check(large)["decision"]["documents"] < exact
        assert check(large)["decision"]["asked"]["indifference"] == "0.08"

    def test_a_metric_without_a_rule_runs_in_full_and_says_so(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(
            f"tasks:\n  squadv2:\n    {SQUAD}\n    decide: early\n    metrics: {{best_f1: 60%, f1: 10%}}\n"
        )
        large.run()
        best, f1 = summary(large)["checks"]
        assert best["decision"]["documents"] == DOCUMENTS
        assert best["reason"].endswith("No rule can stop this metric early: it was measured in full.")
        assert f1["decision"]["basis"] == "early"
        assert f1["decision"]["documents"] < DOCUMENTS, "its own verdict stands where it fell"

    @pytest.mark.slow
    def test_an_original_that_is_seldom_right_is_waited_for(self, large: Bench) -> None:
        right = set(every(40))
        wrong = [n for n in range(DOCUMENTS) if n not in right]
        large.models(original={"wrong": wrong}, pruned={"wrong": list(range(DOCUMENTS)), "note": 1})
        large.thresholds(EARLY)
        assert large.run().ret == 1
        assert check(large)["original"] > 0
        shutil.rmtree(large.path / "original")
        shutil.rmtree(large.path / "pruned")
        large.models(original={"wrong": list(range(DOCUMENTS))}, pruned={"wrong": list(range(DOCUMENTS)), "note": 1})
        result = large.run()
        assert result.ret == 10
        result.stdout.fnmatch_lines(["*the original model scores 0 on 400 documents, so that no relative drop exists*"])

    def test_a_gain_on_an_original_that_is_seldom_right_is_a_pass(self, large: Bench) -> None:
        right = {3, 200}
        large.models(original={"wrong": [n for n in range(DOCUMENTS) if n not in right]}, pruned={"wrong": []})
        large.thresholds(EARLY)
        assert large.run().ret == 0
        found = check(large)
        assert found["original"] > 0, "no relative figure exists before"
        assert found["documents"] > 40, "the rule alone would have stopped sooner"

    def test_shares_of_outputs_are_decided_early_too(self, large: Bench) -> None:
        large.models(pruned={"empty": every(2)})
        large.thresholds(
            f"tasks:\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    decide: early\n    outputs: {{max_empty: 10%, max_cut: 20%}}\n"
        )
        assert large.run().ret == 1
        empty, cut = summary(large)["checks"]
        assert (empty["outcome"], cut["outcome"]) == ("fail", "pass")
        assert empty["decision"]["documents"] < 100

    def test_a_limit_bounds_the_search(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(12)})
        large.thresholds(EARLY)
        result = large.run("--prunegate-limit=40")
        assert result.ret == 11
        assert len(asked(large, "pruned")) == 40
        reason = check(large)["reason"]
        assert "INCONCLUSIVE on 40 of 400 documents: the full run may fall on either side of the threshold. It needs about " in reason  # fmt: skip
        assert "; the full run always decides." in reason


class TestSamples:
    THRESHOLDS = EARLY.replace(", decide: early", "")

    def test_an_inconclusive_check_is_its_own_outcome(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(self.THRESHOLDS)
        result = large.run("--prunegate-limit=60", "--junitxml=junit.xml", "-v")
        assert result.ret == 11
        assert result.parseoutcomes() == {"inconclusive": 1}
        result.stdout.fnmatch_lines([
            "thresholds.yaml::boolq::acc INCONCLUSIVE*", "=* INCONCLUSIVE =*", "thresholds.yaml:6: boolq acc: inconclusive: relative drop *",
            "verdict:   INCONCLUSIVE on 60 of 400 documents: *", "to decide: With about * more it decides in four cases of five*",
            "INCONCLUSIVE: 1 of 1 checks measured (1 in part): 1 inconclusive",
        ])  # fmt: skip
        case = next(ET.parse(large.path / "junit.xml").iter("testcase"))  # noqa: S314 - our own file
        failure = case.find("failure")
        assert failure is not None
        assert failure.attrib["type"] == "inconclusive"
        report = (large.results / "comparison_report.md").read_text()
        assert report.startswith("# INCONCLUSIVE: 1 of 1 checks measured")
        assert "- **INCONCLUSIVE** `boolq::acc`: " in report

    def test_a_failure_has_no_such_type(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(self.THRESHOLDS)
        assert large.run("--prunegate-limit=60", "--junitxml=junit.xml").ret == 1
        failure = next(ET.parse(large.path / "junit.xml").iter("failure"))  # noqa: S314 - our own file
        assert failure.attrib["type"] == "failure"
        assert "FAIL: the full run would agree (error about 1%), on 60 of 400 documents. 95% interval for the full run: -" in check(large)["reason"]  # fmt: skip

    def test_a_sample_that_is_sure_passes(self, large: Bench) -> None:
        large.models(pruned={"wrong": [7]})
        large.thresholds(self.THRESHOLDS)
        assert large.run("--prunegate-limit=200").ret == 0
        assert check(large)["decision"]["basis"] == "sample"
        assert "PASS: the full run would agree (error about 1%), on 200 of 400 documents." in check(large)["reason"]

    def test_it_may_go_on_until_it_is_decided(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(6)})
        large.thresholds(self.THRESHOLDS)
        assert large.run("--prunegate-limit=40", "--prunegate-inconclusive=continue").ret == 1
        decision = check(large)["decision"]
        assert 40 < decision["documents"] < DOCUMENTS
        assert decision["error_rate"] == 0.01, "decided by the rule for any number of looks, from the first document on"
        assert len(asked(large, "pruned")) >= decision["documents"]

    def test_all_documents_need_no_going_on(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(6)})
        large.thresholds(self.THRESHOLDS)
        assert large.run("--prunegate-inconclusive=continue").ret == 1
        assert check(large)["decision"]["basis"] == "measured"
        assert check(large)["documents"] == DOCUMENTS

    @pytest.mark.slow
    def test_a_second_look_is_known(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(self.THRESHOLDS)
        large.run("--prunegate-limit=60")
        assert check(large)["decision"]["basis"] == "sample"
        large.run("--prunegate-limit=90")
        second = check(large)
        assert second["decision"]["basis"] == "early"
        assert second["decision"]["earlier_looks"] == ["60"]
        assert "Not the first look at this sample: the rule for any number of looks judges it." in second["reason"]
        large.run("--prunegate-limit=60")
        assert check(large)["decision"]["basis"] == "sample", "the first look again"
        large.run("--prunegate-limit=390")
        assert check(large)["decision"]["earlier_looks"] == ["60", "90"]
        large.run()
        assert check(large)["decision"]["basis"] == "measured", "all documents are no sample"

    def test_a_second_look_that_decides_states_both_chances(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(self.THRESHOLDS)
        large.run("--prunegate-limit=60")
        large.run("--prunegate-limit=100")
        assert "FAIL: the full run would agree (error at most 2%), after " in check(large)["reason"]

    def test_another_seed_is_no_second_draw(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(self.THRESHOLDS)
        large.run("--prunegate-limit=60")
        first = set(asked(large, "pruned"))
        large.executor.requests.clear()
        result = large.run("--prunegate-limit=60", "--prunegate-seed=7")
        assert large.executor.requests == []
        result.stdout.fnmatch_lines(
            ["note: *boolq: its documents were drawn with seed 1234 before, and that draw is kept*"]
        )
        assert check(large)["decision"]["earlier_looks"] == ["60"]
        large.run("--prunegate-limit=60", "--prunegate-seed=7", "--prunegate-store=fresh")
        assert set(asked(large, "pruned")) != first

    def test_the_terms_of_the_first_look_are_kept(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(EARLY)
        large.run()
        first = check(large)["decision"]["documents"]
        result = large.run("--prunegate-error-rate=20%")
        result.stdout.fnmatch_lines(
            [
                "note: *boolq.acc: error_rate 0.01 was fixed before its first document, and 0.2 is asked for: the stricter one holds, 0.01."
            ]
        )
        assert check(large)["decision"]["documents"] == first
        assert check(large)["decision"]["error_rate"] == 0.01
        connection = sqlite3.connect(large.path / ".prunegate" / "responses.sqlite")
        ((kept,),) = connection.execute("SELECT protocol FROM protocols").fetchall()
        connection.close()
        found = json.loads(kept)
        assert [base.endswith(":1234") for base in found.pop("bases")] == [True]
        assert len(found.pop("draws")) == 1
        assert found == {
            "seed": 1234, "checks": 1,
            "rules": {"acc,none": {"error_rate": "0.01", "indifference": "0", "looks": [["early", "rule"]]}},
        }  # fmt: skip

    def test_checks_of_one_task_may_be_decided_apart(self, large: Bench) -> None:
        large.models(pruned={"wrong": [n for n in range(DOCUMENTS) if n % 10 == 1]})
        large.thresholds(f"""
            tasks:
              squadv2:
                {SQUAD}
                limit: 60
                metrics: {{f1: {{max_relative_drop: 13%, inconclusive: continue}}, exact_match: 13%}}
        """)
        large.run()
        f1, exact = summary(large)["checks"]
        assert f1["documents"] > 60
        assert exact["documents"] == 60, "its sample was fixed beforehand"
        assert exact["outcome"] == "inconclusive"

    def test_samples_of_an_earlier_day_hold_only_as_they_were_decided(self, large: Bench) -> None:
        text = (
            self.THRESHOLDS
            + f"  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,strict-match': 5%}}\n"
        )
        large.models(pruned={"wrong": every(10)})
        large.thresholds(text)
        large.run("--prunegate-limit=60", "-m", "boolq")
        large.run("--prunegate-limit=60", "-m", "gsm8k")
        assert check(large)["outcome"] == "inconclusive"
        assert check(large)["is_earlier"] is True
        assert "INCONCLUSIVE on 60 of 400 documents" in check(large)["reason"]
        large.thresholds(text.replace("10%", "60%"))
        result = large.run("--prunegate-limit=60", "-m", "gsm8k")
        result.stdout.fnmatch_lines(["Stale: boolq::acc of *: decided otherwise, or by other thresholds."])


LAX = ("--prunegate-error-rate=20%", "--prunegate-indifference=10%")


def rewrite(bench: Bench, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Write the rows of boolq's data anew."""
    path = bench.path / "data" / "boolq.jsonl"
    rows = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class TestLooksAtTheSameQuestions:
    """Whoever looks again, in whatever way, gets no second chance for free."""

    @pytest.mark.slow
    def test_a_laxer_first_look_does_not_stay_in_force(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(20)})
        large.thresholds(EARLY)
        lax = large.run(*LAX)
        assert lax.ret == 0
        assert check(large)["decision"]["error_rate"] == 0.2
        few = check(large)["decision"]["documents"]
        strict = large.run()
        strict.stdout.fnmatch_lines([
            "note: *boolq.acc: error_rate 0.2 was fixed before its first document, and 0.01 is asked for: the stricter one holds, 0.01.",
            "note: *boolq.acc: indifference 0.1 was fixed before its first document, and 0 is asked for: the stricter one holds, 0.",
        ])  # fmt: skip
        own = check(large)["decision"]
        assert own["documents"] > few
        assert own["error_rate"] in {0.01, None}
        large.run(*LAX)
        again = check(large)["decision"]
        assert {**again, "asked": own["asked"]} == own, "the stricter one has come to stay"
        shutil.rmtree(large.path / ".prunegate")
        large.run()
        assert check(large)["decision"]["documents"] == own["documents"], "as if nobody had looked before"

    @pytest.mark.slow
    def test_a_rate_in_the_file_is_no_laxer_either(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(11)})
        large.thresholds(EARLY.replace("decide: early", "decide: early, error_rate: 20%"))
        large.run()
        large.run("--prunegate-error-rate=5%")
        assert check(large)["decision"]["error_rate"] in {0.05, None}
        result = large.run()
        result.stdout.fnmatch_lines(
            ["note: *error_rate 0.05 was fixed * and 0.2 is asked for: the stricter one holds, 0.05."]
        )

    @pytest.mark.parametrize(
        "change", [lambda rows: [row | {"dummy": number} for number, row in enumerate(rows)], lambda rows: [row | {"idx": 0} for row in rows]]
    )  # fmt: skip
    def test_what_is_not_asked_changes_no_draw(
        self, large: Bench, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
    ) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(TestSamples.THRESHOLDS)
        large.run("--prunegate-limit=60")
        before = check(large)["pruned"]
        rewrite(large, change)
        large.executor.requests.clear()
        result = large.run("--prunegate-limit=60")
        assert large.executor.requests == [], "the same documents are drawn, and their answers are kept"
        result.stdout.no_fnmatch_line("*another order*")
        assert (check(large)["pruned"], check(large)["decision"]["earlier_looks"]) == (before, [])

    def test_the_same_questions_in_another_order_are_another_look(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(TestSamples.THRESHOLDS)
        large.run("--prunegate-limit=60")
        rewrite(large, lambda rows: rows[::-1])
        result = large.run("--prunegate-limit=60")
        result.stdout.fnmatch_lines(["note: *boolq: these questions were drawn in another order before *(draw 2)."])
        assert check(large)["decision"]["earlier_looks"] == ["60"]
        rewrite(
            large,
            lambda rows: [row | {"label": 1 - row["label"]} if number < 9 else row for number, row in enumerate(rows)],
        )
        large.run("--prunegate-limit=60").stdout.fnmatch_lines(["note: *(draw 3)."])

    def test_another_order_halves_the_error_rate_of_an_early_verdict(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(EARLY)
        large.run()
        first = check(large)["decision"]
        rewrite(large, lambda rows: rows[::-1])
        large.run()
        second = check(large)["decision"]
        assert (first["error_rate"], second["error_rate"]) == (0.01, 0.015), "0.01 of the first draw, and half of it"

    def test_another_name_of_a_task_is_no_other_draw(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        rows = [{"text": f"is number {number} even", "label": int(number % 2 == 0)} for number in range(DOCUMENTS)]
        folder, config = (
            large.path / "own",
            {"output_type": "multiple_choice", "doc_to_text": "{{text}}?", "doc_to_target": "label"},
        )
        for name in ("mine", "yours"):
            write_task(folder, name, rows, doc_to_choice=["no", "yes"], metric_list=[{"metric": "acc"}], **config)
        option = f"--prunegate-include-path={folder}"
        text = "tasks:\n  {}:\n    metrics: {{acc: 10%}}\n"
        large.thresholds(text.format("mine"))
        large.run(option, "--prunegate-limit=60")
        large.thresholds(text.format("yours"))
        large.executor.requests.clear()
        large.run(option, "--prunegate-limit=60")
        assert large.executor.requests == []


class TestConfident:
    def test_others_like_these_decide_on_all_documents(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(11)})
        large.thresholds(TestSamples.THRESHOLDS)
        assert large.run().ret == 0
        result = large.run("--prunegate-decide=confident")
        assert result.ret == 11
        reason = check(large)["reason"]
        assert "INCONCLUSIVE on all 400 documents: other documents like these may fall on either side of the threshold. How many more it needs cannot be told from these. " in reason  # fmt: skip
        assert "95% interval for other documents like these: " in reason
        assert "full run" not in reason

    @pytest.mark.parametrize(("step", "outcome", "exit_code"), [(3, "fail", 1), (50, "pass", 0)])
    def test_a_sure_verdict(self, large: Bench, step: int, outcome: str, exit_code: int) -> None:
        large.models(pruned={"wrong": every(step)})
        large.thresholds(TestSamples.THRESHOLDS)
        assert large.run("--prunegate-decide=confident").ret == exit_code
        assert check(large)["outcome"] == outcome
        assert (
            "other documents like these would agree (error about 1%), on all 400 documents." in check(large)["reason"]
        )

    def test_documents_that_share_a_field_count_as_one(self, large: Bench) -> None:
        rows = [json.loads(line) for line in (large.path / "data" / "boolq.jsonl").read_text().splitlines()]
        for number, row in enumerate(rows):
            row["passage"] = f"Passage {number // 20}."
        (large.path / "data" / "boolq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        large.models(pruned={"wrong": list(range(20))})
        large.thresholds(TestSamples.THRESHOLDS)
        assert large.run("--prunegate-decide=confident").ret == 0
        large.thresholds(TestSamples.THRESHOLDS + "    cluster_by: passage\n")
        assert large.run("--prunegate-decide=confident").ret == 11, "one passage of twenty is lost as a whole"
        large.thresholds(TestSamples.THRESHOLDS + "    cluster_by: topic\n")
        result = large.run("--prunegate-decide=confident")
        assert result.ret == 10
        result.stdout.fnmatch_lines(["boolq: cluster_by: a document has no field topic. It has: *passage*"])


class TestRecord:
    def test_nothing_fails(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(EARLY)
        result = large.run("--prunegate-record", "-v")
        assert result.ret == 0
        assert result.parseoutcomes() == {"recorded": 1}
        result.stdout.fnmatch_lines(["*::acc RECORDED*", "RECORDED: 1 of 1 checks measured: 1 recorded and not judged"])
        found = check(large)
        assert found["outcome"] == "recorded"
        assert found["documents"] == DOCUMENTS, "a record is of all documents"
        assert "RECORDED on all 400 documents (FAIL by these thresholds)." in found["reason"]

    def test_what_broke_is_still_an_error(self, large: Bench) -> None:
        large.models(original={"wrong": list(range(DOCUMENTS))})
        large.thresholds(EARLY)
        assert large.run("--prunegate-record").ret == 10

    @pytest.mark.slow
    def test_recorded_figures_are_judged_by_a_later_run(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(2)})
        large.thresholds(
            TestSamples.THRESHOLDS
            + f"  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,strict-match': 60%}}\n"
        )
        large.run("--prunegate-record", "-m", "boolq")
        result = large.run("-m", "gsm8k")
        assert result.ret == 0
        assert check(large)["outcome"] == "fail"
        result.stdout.fnmatch_lines(["Failed in an earlier run, and not in this run's exit code: boolq::acc."])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prunegate-decide=quickly"], "--prunegate-decide=quickly: expected one of full, confident, early."),
        (["--prunegate-error-rate=50%"], "--prunegate-error-rate=0.5: expected a share from 0.0001% to 20%."),
        (["--prunegate-error-rate=0"], "--prunegate-error-rate=0: expected a share from 0.0001% to 20%."),
        (["--prunegate-indifference=two"], "--prunegate-indifference=two: expected a share between 0 and 1, such as 1% or 0.01."),
        (["--prunegate-inconclusive=ignore"], "--prunegate-inconclusive=ignore: expected one of report, continue."),
    ],
)  # fmt: skip
def test_mistakes_of_options(bench: Bench, arguments: list[str], message: str) -> None:
    bench.models()
    bench.thresholds(EARLY)
    result = bench.run(*arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: *{message}"])


def test_mistakes_of_the_file_are_told_together(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"""
        defaults: {{max_relative_drop: 5%, decide: soon}}
        tasks:
          boolq:
            {BOOLQ}
            error_rate: 30%
            metrics: {{acc: {{max_relative_drop: 5%, indifference: two, inconclusive: maybe}}}}
        perplexity:
          wikitext2: {{max_relative_increase: 10%, decide: early}}
    """)
    result = bench.run()
    assert result.ret == 4
    lines = result.stderr.str()
    for message in (
        "thresholds.yaml:2: defaults.decide: expected full or confident or early, found soon.",
        "thresholds.yaml:6: boolq.error_rate: error_rate is 30%: it must lie between 0.0001% and 20%.",
        "thresholds.yaml:7: boolq.acc.indifference: indifference is two: expected a share such as 1% or 0.01.",
        "thresholds.yaml:7: boolq.acc.inconclusive: expected report or continue, found maybe.",
        "thresholds.yaml:9: perplexity.wikitext2.decide: windows of a text are no random sample: write full or confident, and nsamples for fewer.",
    ):
        assert message in lines


def test_going_on_says_nothing_of_other_documents(bench: Bench) -> None:
    bench.models()
    bench.thresholds(TestSamples.THRESHOLDS + "    decide: confident\n    inconclusive: continue\n")
    result = bench.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines([
        "ERROR: thresholds.yaml:6: boolq.acc: `inconclusive: continue` goes on until the full run is known, which says nothing of other documents. *"
    ])  # fmt: skip


class TestNoiseFloor:
    def test_what_moves_by_numerics_alone_stands_beside_the_drop(self, bench: Bench) -> None:
        bench.models(original={"again": {"wrong": [3, 4]}}, pruned={"wrong": [5]})
        bench.thresholds(TestSamples.THRESHOLDS.replace("10%", "8%"))
        result = bench.run("--prunegate-noise-floor", "-rA")
        assert result.ret == 0
        found = check(bench)
        assert found["noise"] == {
            "batch_size": "4",
            "documents": 20,
            "moved": 2,
            "net": -0.1,
            "gross": 0.1,
            "points": 0.1,
        }
        assert (
            "Noise floor: 2 of 20 answers and 10.00% of the original's score move by numerics alone (-10.00% in all; asked again in batches of 4). "
            "The threshold is below it. What was lost or gained is no more than that."
        ) in found["reason"]
        result.stdout.fnmatch_lines(
            ["boolq.acc: the threshold is below the noise floor (10.00%): numerics alone may break it."]
        )
        asked_again = [side for side, _ in bench.executor.requests]
        assert asked_again.count("again") == asked_again.count("original") == 40

    def test_its_answers_are_kept_apart(self, bench: Bench) -> None:
        bench.models(original={"again": {"wrong": [3, 4]}}, pruned={"wrong": [5]})
        bench.thresholds(TestSamples.THRESHOLDS)
        bench.run("--prunegate-noise-floor")
        first = check(bench)
        bench.executor.requests.clear()
        bench.run("--prunegate-noise-floor")
        assert bench.executor.requests == []
        assert check(bench)["noise"] == first["noise"]
        bench.run()
        assert check(bench)["original"] == 1.0, "the first answers are those of the verdict"
        assert check(bench)["noise"] is None

    def test_nothing_moves(self, bench: Bench) -> None:
        bench.models(pruned={"wrong": [5]})
        bench.thresholds(TestSamples.THRESHOLDS)
        bench.run("--prunegate-noise-floor")
        assert check(bench)["noise"]["moved"] == 0
        assert "The threshold is below it." not in check(bench)["reason"]

    def test_the_executor_is_asked_in_the_opposite_order(self, bench: Bench) -> None:
        bench.models(pruned={"wrong": [5]})
        bench.thresholds(TestSamples.THRESHOLDS)
        bench.run("--prunegate-noise-floor", "--prunegate-batch-size=6")
        by_side = {
            side: [request for of, request in bench.executor.requests if of == side] for side in ("original", "again")
        }
        assert set(by_side["again"]) == set(by_side["original"])
        assert by_side["again"][-1] == by_side["original"][0]
        assert check(bench)["noise"]["batch_size"] == "3"

    def test_a_baseline_alone_has_nothing_to_set_it_beside(self, bench: Bench) -> None:
        bench.models()
        bench.thresholds(TestSamples.THRESHOLDS)
        result = bench.run("--prunegate-noise-floor", "--prunegate-baseline-only", models=("--original=original",))
        assert result.ret == 4
        result.stderr.fnmatch_lines(
            ["*--prunegate-baseline-only measures the original alone: take --prunegate-noise-floor out."]
        )


class TestOutlook:
    def test_what_the_documents_resolve_is_told_before_the_run(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(TestSamples.THRESHOLDS)
        result = large.run("--prunegate-limit=60", "-v")
        # 3.168 * sqrt(0.1 / 60 * (1 - 60 / 400)) / 0.5 = 23.8%
        result.stdout.fnmatch_lines([
            "check: *boolq acc: 60 documents resolve a relative drop of 23.8% (threshold 10.0%); a model without loss needs about * of 400 "
            "[[]the original at 0.5, one answer in ten changed[]]",
            "note: *boolq.acc: 60 documents resolve relative drops of 23.8%, and its threshold is 10.0%: an inconclusive verdict is likely. *",
        ])  # fmt: skip
        result = large.run("--prunegate-limit=100", "-v")
        result.stdout.fnmatch_lines([
            "check: *[[]the original's 1.000 in the store, *% of the answers changed, as kept[]]"
        ])  # fmt: skip

    def test_ten_checks_take_fifteen_lines_before_the_run(self, large: Bench) -> None:
        """And of thresholds that nothing resolves there is one note; -v, and the log, say what each resolves."""
        large.models()
        tasks = "".join(f"  {task}:\n    {data}\n    metrics: {metrics}\n" for task, data, metrics in (
            ("boolq", BOOLQ, "{acc: 1%}"), ("gsm8k", GSM8K, '{"exact_match,strict-match": 1%, "exact_match,flexible-extract": 1%}'),
            ("squadv2", SQUAD, "{f1: 1%, exact_match: 1%, HasAns_f1: 1%, HasAns_exact: 1%}"),
        ))  # fmt: skip
        large.thresholds(f"tasks:\n{tasks}    outputs: {{max_empty: 90%, max_cut: 90%}}\nsparsity: {{min: 0%}}\n")
        lines = large.run("--prunegate-limit=60").outlines
        log = (large.results / "evaluation.log").read_text()
        in_full = large.run("--prunegate-limit=60", "-v", "--prunegate-store=another")
        start = next(number for number, line in enumerate(lines) if line.startswith("original:"))
        end = next(number for number, line in enumerate(lines) if line.startswith("thresholds.yaml "))
        assert end - start <= 15
        notes = " ".join(" ".join(lines[start:end]).split())
        assert notes.count("relative drops no smaller than these") == 1
        assert re.search(
            r"7 checks have documents for relative drops no smaller than these: .*\(threshold 1\.0%\) and 4 more, which -v names: ",
            notes,
        )
        assert (
            log.count("documents resolve a relative drop of")
            == in_full.stdout.str().count("documents resolve a relative drop of")
            == 7
        )

    def test_a_kept_baseline_is_used(self, large: Bench) -> None:
        large.models(original={"wrong": every(5)})
        large.thresholds(TestSamples.THRESHOLDS)
        large.run("--prunegate-baseline-only", models=("--original=original",))
        result = large.run("-v")
        result.stdout.fnmatch_lines([
            "check: *boolq acc: 400 documents resolve a relative drop of 6.3% (threshold 10.0%) [[]the original's 0.800 in the store, "
            "one answer in ten changed[]]",
        ])  # fmt: skip

    def test_an_original_near_chance_is_warned_about(self, large: Bench) -> None:
        large.models(original={"wrong": every(2)}, pruned={"wrong": every(2), "note": 1})
        large.thresholds(TestSamples.THRESHOLDS)
        result = large.run()
        message = "boolq.acc: the original scores 0.500 on 400 documents, which cannot be told from guessing (0.500): a model that knows less would score the same."
        result.stdout.fnmatch_lines([message])
        assert message in summary(large)["notes"]
        assert message in (large.results / "comparison_report.md").read_text()

    def test_an_original_near_zero_is_warned_about(self, large: Bench) -> None:
        large.models(original={"wrong": [n for n in range(DOCUMENTS) if n not in {3, 5}]}, pruned={"wrong": [1]})
        large.thresholds(TestSamples.THRESHOLDS)
        result = large.run()
        result.stdout.fnmatch_lines(
            ["boolq.acc: the original scores 0.005 on 400 documents, which cannot be told from 0: *"]
        )

    def test_a_good_original_is_not(self, large: Bench) -> None:
        large.models(original={"wrong": every(4)}, pruned={"wrong": every(4), "note": 1})
        large.thresholds(TestSamples.THRESHOLDS)
        large.run().stdout.no_fnmatch_line("*cannot be told*")

    def test_a_rerun_has_nothing_to_expect(self, large: Bench) -> None:
        large.models()
        large.thresholds(TestSamples.THRESHOLDS)
        large.run()
        large.run("-v").stdout.no_fnmatch_line("check: *")


class TestGroups:
    """Two tasks of 300 and 100 questions."""

    THRESHOLDS = "tasks:\n  pair: {metrics: {acc: 10%}}\n"
    SIZES = {"large": range(300), "small": range(300, 400)}  # noqa: RUF012 - read only

    @pytest.fixture
    def group(self, bench: Bench) -> Bench:
        self.write(bench, weight_by_size=True)
        return bench

    def write(self, bench: Bench, *, weight_by_size: bool) -> None:
        folder = bench.path / "tasks"
        for name, numbers in self.SIZES.items():
            rows = [{"question": f"is number {n} even?", "answer": n % 2} for n in numbers]
            write_task(
                folder, name, rows, output_type="multiple_choice", doc_to_text="{{question}}\nAnswer:", doc_to_choice=["yes", "no"],
                doc_to_target="answer", metric_list=[{"metric": "acc"}],
            )  # fmt: skip
        write_group(folder, "pair", list(self.SIZES), weight_by_size=weight_by_size)

    def run(self, bench: Bench, *arguments: str) -> pytest.RunResult:
        return bench.run("--prunegate-include-path=tasks", *arguments)

    def test_a_group_stops_early_as_one(self, group: Bench) -> None:
        group.models(pruned={"wrong": every(3)})
        group.thresholds(self.THRESHOLDS)
        assert self.run(group, "--prunegate-decide=early").ret == 1
        found = check(group)
        assert found["decision"]["basis"] == "early"
        assert found["decision"]["of"] == 400
        assert 10 < found["documents"] < 100
        members = {member["name"]: member["documents"] for member in found["members"]}
        assert members["large"] > members["small"] > 0, "drawn from both, by their sizes"

    def test_unequal_weights_run_in_full_and_say_so(self, group: Bench) -> None:
        self.write(group, weight_by_size=False)
        group.models(pruned={"wrong": every(3)})
        group.thresholds(self.THRESHOLDS)
        assert self.run(group, "--prunegate-decide=early").ret == 1
        found = check(group)
        assert found["decision"]["basis"] == "measured"
        assert found["documents"] == 400
        assert found["reason"].endswith("No rule can stop this metric early: it was measured in full.")

    def test_a_limit_is_one_for_each_task(self, group: Bench) -> None:
        group.models(pruned={"wrong": every(2)})
        group.thresholds(self.THRESHOLDS)
        assert self.run(group, "--prunegate-limit=40").ret == 1
        found = check(group)
        assert found["decision"]["basis"] == "sample"
        assert found["documents"] == 80
        assert found["decision"]["of"] == 400
        low, high = found["interval"]["relative"]
        assert low < 0.5 < high

    def test_the_weights_of_a_sample_are_those_of_the_full_run(self, group: Bench) -> None:
        """All is lost in the small task, which is a quarter of the full run and half of the sample."""
        group.models(pruned={"wrong": list(range(300, 400))})
        group.thresholds(self.THRESHOLDS)
        self.run(group, "--prunegate-limit=60")
        found = check(group)
        assert found["relative"] == pytest.approx(-0.5), "as lm-eval weights what was measured"
        low, high = found["interval"]["relative"]
        assert low < 0.25 < high < 0.4

    def test_no_rule_goes_on_from_a_limit(self, group: Bench) -> None:
        group.models(pruned={"wrong": every(9)})
        group.thresholds(self.THRESHOLDS)
        assert self.run(group, "--prunegate-limit=20", "--prunegate-inconclusive=continue").ret == 11
        assert check(group)["documents"] == 40
        assert "A group's limit is one for each of its tasks, and no rule goes on from there" in check(group)["reason"]

    def test_later_looks_at_a_group_get_half_of_the_error_rate(self, group: Bench) -> None:
        group.models(pruned={"wrong": every(2)})
        group.thresholds(self.THRESHOLDS)
        self.run(group, "--prunegate-limit=40")
        self.run(group, "--prunegate-limit=50")
        found = check(group)
        assert found["decision"]["basis"] == "sample"
        assert found["decision"]["error_rate"] == 0.015, "the first look's, and half of it again"
        assert found["decision"]["earlier_looks"] == ["80"]


class TestPerplexity:
    TEXT = """
        perplexity:
          wikitext2: {{max_relative_increase: 10%, seqlen: 8, {more}dataset: {{path: text, data_files: {{test: data/text.txt}}}}}}
    """

    @pytest.fixture
    def text(self, bench: Bench) -> Bench:
        (bench.path / "data" / "text.txt").write_text(" ".join(f"word{n}" for n in range(200)))
        return bench

    def test_an_early_stop_leaves_it_whole(self, text: Bench) -> None:
        text.models(pruned={"nll": 2.05})
        text.thresholds(self.TEXT.format(more=""))
        assert text.run("--prunegate-decide=early").ret == 0
        assert check(text)["decision"]["basis"] == "measured"
        assert check(text)["documents"] == 25

    @pytest.mark.parametrize(("nll", "exit_code", "outcome"), [(2.05, 0, "pass"), (2.2, 1, "fail")])
    def test_other_windows_decide_where_it_is_asked(
        self, text: Bench, nll: float, exit_code: int, outcome: str
    ) -> None:
        text.models(pruned={"nll": nll})
        text.thresholds(self.TEXT.format(more="decide: confident, "))
        assert text.run().ret == exit_code
        assert check(text)["outcome"] == outcome
        assert (
            "other windows like these would agree (error about 1%), on all 25 windows of 8 tokens."
            in check(text)["reason"]
        )

    def test_a_part_of_the_windows_says_nothing_of_the_text(self, text: Bench) -> None:
        text.models(pruned={"nll": 2.05})
        text.thresholds(self.TEXT.format(more="nsamples: 10, "))
        assert text.run().ret == 0
        assert check(text)["reason"].endswith("No rule tells what all windows would say: those measured decide.")


def test_a_baseline_alone_is_measured_in_full(large: Bench) -> None:
    large.models()
    large.thresholds(EARLY)
    result = large.run("--prunegate-baseline-only", models=("--original=original",))
    result.stdout.fnmatch_lines(["task: *boolq: all 400 documents, *"])
    assert len(asked(large, "original")) == DOCUMENTS
    large.executor.requests.clear()
    large.run()
    assert asked(large, "original") == [], "whatever a pair of models needs is there"
    assert check(large)["decision"]["basis"] == "early"


def test_an_estimate_is_told_in_words(large: Bench) -> None:
    large.models(pruned={"wrong": [7]})
    large.thresholds(EARLY)
    result = large.run()
    sentence = "boolq acc *PASS: the full run would agree (error at most 1%), after * of 400 documents. *"
    result.stdout.fnmatch_lines(["time: *at most about *", f"thresholds.yaml:6: {sentence}"])
    for name in ("comparison_report.md", "comparison_report.html"):
        assert "PASS: the full run would agree (error at most 1%), after" in (large.results / name).read_text()
    assert result.stdout.str().count("PASS: the full run") == 1


@pytest.mark.slow
def test_more_checks_raise_the_bar_for_a_sample_too(large: Bench) -> None:
    large.models(pruned={"wrong": every(4)})
    large.thresholds(TestSamples.THRESHOLDS)

    def outcome_at(limit: int) -> str:
        large.run(f"--prunegate-limit={limit}", f"--prunegate-store=alone-{limit}")
        return str(check(large)["outcome"])

    first = next(limit for limit in range(30, 80, 2) if outcome_at(limit) == "fail")
    metrics = "{acc: {max_relative_drop: 10%, max_absolute_drop: 0.9, min_score: 0.01, min_recovery: 1%}}"
    large.thresholds(TestSamples.THRESHOLDS.replace("[acc]", metrics))
    large.run(f"--prunegate-limit={first}", "--prunegate-store=four")
    assert check(large)["decision"]["checks"] == 4
    assert check(large)["outcome"] == "inconclusive"


def test_nearly_all_documents_are_nearly_sure_of_the_full_run(large: Bench) -> None:
    large.models(pruned={"wrong": every(5)})
    large.thresholds(TestSamples.THRESHOLDS)
    widths = []
    for limit in (200, 396):
        large.run(f"--prunegate-limit={limit}", f"--prunegate-store=of-{limit}")
        low, high = check(large)["interval"]["relative"]
        widths.append(high - low)
    assert widths[1] < 0.15 * widths[0]


class TestNothingIsConcludedThatIsNotKnown:
    """What an adversary would try: each of these was once a verdict that its words did not bear out."""

    def test_an_indifferent_verdict_says_so(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(9)})  # 11.25% are lost, and 10% may be
        large.thresholds(EARLY)
        large.run("--prunegate-indifference=10%")
        found = check(large)
        assert found["decision"]["indifference"] == 0.1
        assert (
            ": the full run would agree, or lie within 10% of the threshold (error at most 1%), after "
            in found["reason"]
        )

    @pytest.mark.slow
    def test_silence_is_not_judged_before_all_documents_are_drawn(self, large: Bench) -> None:
        answered = {n for n in range(DOCUMENTS) if n % 4}
        late = sorted(answered, key=lambda n: n * 7919 % 401)[:8]
        large.models(original={"empty": every(4)}, pruned={"empty": [n for n in range(DOCUMENTS) if n not in late]})
        large.thresholds(
            f"tasks:\n  squadv2:\n    {SQUAD}\n    decide: early\n    metrics: {{f1: 90%}}\n    outputs: {{max_empty: 100%}}\n"
        )
        for seed in range(6):
            large.run(f"--prunegate-seed={seed}", f"--prunegate-store=store-{seed}")
            f1 = summary(large)["checks"][0]
            assert f1["outcome"] == "pass", "a quarter of the questions has no answer, which is what it says"

    def test_a_check_by_another_name_was_looked_at(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        task = f"tasks:\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: "
        large.thresholds(task + '{"exact_match,strict-match": 10%}\n')
        large.run("--prunegate-limit=60")
        large.thresholds(task + "{accuracy: {max_relative_drop: 10%, filter: strict-match, error_rate: 20%}}\n")
        large.run("--prunegate-limit=90")
        assert check(large)["decision"]["earlier_looks"] == ["60"]

    def test_another_metric_is_no_fresh_start(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        task = f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: "
        large.thresholds(task + "{f1: 10%}\n")
        large.run("--prunegate-limit=60")
        large.thresholds(task + "{f1: 10%, best_f1: 10%}\n")
        large.run("--prunegate-limit=90", "--prunegate-seed=7")
        decision = check(large)["decision"]
        assert (decision["earlier_looks"], decision["seed"]) == (["60"], 1234)

    def test_a_metric_without_a_rule_is_inconclusive_on_a_sample(self, large: Bench) -> None:
        large.models(pruned={"wrong": [7]})
        large.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{best_f1: 10%}}\n")
        assert large.run("--prunegate-limit=40").ret == 11
        assert check(large)["reason"].endswith(
            "No rule tells from a part of the documents what all would say of this metric: take the limit out."
        )
        assert large.run().ret == 0

    def test_its_sample_is_its_own_whatever_another_check_draws(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(
            f"tasks:\n  squadv2:\n    {SQUAD}\n    limit: 40\n    metrics: {{best_f1: 10%, f1: {{max_relative_drop: 10%, inconclusive: continue}}}}\n"
        )
        large.run()
        best, f1 = summary(large)["checks"]
        assert f1["documents"] > 40
        assert (best["documents"], best["outcome"]) == (40, "inconclusive")

    @pytest.mark.slow
    def test_an_earlier_look_changes_no_verdict_on_everything(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(14)})
        large.thresholds(TestSamples.THRESHOLDS + "    error_rate: 20%\n")
        large.run("--prunegate-decide=confident", "--prunegate-store=fresh")
        fresh = check(large)
        large.thresholds(TestSamples.THRESHOLDS)
        large.run("--prunegate-limit=60")
        large.thresholds(TestSamples.THRESHOLDS + "    error_rate: 20%\n")
        large.run("--prunegate-decide=confident")
        assert check(large)["decision"] == fresh["decision"]
        assert check(large)["outcome"] == fresh["outcome"]

    @pytest.mark.slow
    def test_a_document_that_nobody_can_score_breaks_those_checks_alone_that_need_it(
        self, large: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lm_eval.api.task import ConfigurableTask

        large.models(pruned={"wrong": every(11)})
        large.thresholds(
            f"tasks:\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    decide: early\n"
            "    metrics: {'exact_match,strict-match': 60%, 'exact_match,flexible-extract': 10%}\n"
        )
        large.run("--prunegate-store=whole")
        soon, late = (found["documents"] for found in summary(large)["checks"])
        assert soon < 32 < late
        seen: set[int] = set()
        process = ConfigurableTask.process_results

        def broken(self: ConfigurableTask, doc: dict[str, Any], results: Any) -> dict[str, float]:
            seen.add(int(re.findall(r"\d+", doc["question"])[0]))
            if len(seen) > 40:
                raise ValueError("no such number")
            found: dict[str, float] = process(self, doc, results)
            return found

        monkeypatch.setattr(ConfigurableTask, "process_results", broken)
        result = large.run("--prunegate-store=broken")
        assert result.ret == 10
        assert [found["outcome"] for found in summary(large)["checks"]] == ["pass", "error"]

    def test_a_test_of_ones_own_is_not_green_where_nothing_is_decided(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(TestSamples.THRESHOLDS)
        large.pytester.makepyfile("def test_each(prunegate_check):\n    assert not prunegate_check.broken\n")
        result = large.run("--prunegate-limit=30", "test_a_test_of_ones_own_is_not_green_where_nothing_is_decided.py")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["thresholds.yaml:6: boolq acc *INCONCLUSIVE on 30 of 400 documents: *"])

    def test_stopping_at_the_first_undecided_check_is_no_error(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(
            TestSamples.THRESHOLDS
            + f"  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,strict-match': 50%}}\n"
        )
        assert large.run("--prunegate-limit=30", "-x").ret == 11

    def test_a_record_keeps_the_error_rate_that_is_asked_for(self, large: Bench) -> None:
        large.models(pruned={"wrong": every(10)})
        large.thresholds(TestSamples.THRESHOLDS)
        large.run("--prunegate-record", "--prunegate-limit=60", "--prunegate-error-rate=5%")
        assert check(large)["decision"]["asked"]["error_rate"] == "0.05"

    def test_a_failing_second_asking_costs_no_verdict(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        from pytest_prunegate.errors import ModelError
        from pytest_prunegate.gate.noise_floor import SecondAsking

        def fail(*_: object) -> None:
            raise ModelError("the original model: out of memory")

        monkeypatch.setattr(SecondAsking, "ask", fail)
        bench.models()
        bench.thresholds(TestSamples.THRESHOLDS)
        result = bench.run("--prunegate-noise-floor")
        assert result.ret == 0
        result.stdout.fnmatch_lines(["boolq: the noise floor could not be measured: the original model: out of memory"])

    @pytest.mark.parametrize("rate", ["1e-400", "snan%", "1e-17", "-1%"])
    def test_odd_error_rates_are_mistakes(self, bench: Bench, rate: str) -> None:
        bench.models()
        bench.thresholds(EARLY)
        assert bench.run(f"--prunegate-error-rate={rate}").ret == 4
        bench.thresholds(EARLY + f"    error_rate: {rate}\n")
        assert bench.run().ret == 4


def test_kept_answers_to_cut_prompts_are_an_error_of_their_task(bench: Bench) -> None:
    rows = [json.loads(line) for line in (bench.path / "data" / "squad.jsonl").read_text().splitlines()]
    rows[3]["context"] = "long " * 3000
    (bench.path / "data" / "squad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.models()
    task = f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%}}\n"
    bench.thresholds(task + "    truncate: allow\n")
    bench.run()
    with sqlite3.connect(bench.path / ".prunegate" / "responses.sqlite") as connection:
        connection.execute(
            "DELETE FROM responses WHERE request = (SELECT MIN(request) FROM responses WHERE response NOT LIKE '%: true%')"
        )
    connection.close()
    bench.thresholds(task)
    result = bench.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*prompts do not fit, and would lose their beginning:*"])
