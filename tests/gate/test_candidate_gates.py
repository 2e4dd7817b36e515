"""Several candidates against one original."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from support.scripted import BOOLQ, GSM8K, ScriptedExecutor, write_checkpoint, write_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import Bench

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.execution.executor import HandOn
    from pytest_prunegate.tasks.requests import Request

THRESHOLDS = f"""
tasks:
  boolq:
    {BOOLQ}
    metrics: {{acc: 20%}}
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{accuracy: {{max_relative_drop: 20%, filter: flexible-extract}}}}
"""
EARLY = f"defaults: {{max_relative_drop: 20%, decide: early}}\ntasks:\n  boolq:\n    {BOOLQ}\n    metrics: [acc]\n"
WRONG = {
    "wanda": [1], "sparse": [1, 2], "llm": [1, 2, 3], "magnitude": range(12), "random": range(15), "none": [],
}  # fmt: skip
BOOLQ_REQUESTS, GSM8K_REQUESTS = 40, 20


@pytest.fixture
def project(bench: Bench) -> Bench:
    """Six candidates whose paths end in the same directory name; two of them lose too much."""
    write_checkpoint(bench.path / "original")
    for name, wrong in WRONG.items():
        write_checkpoint(bench.path / "runs" / name / "final", wrong=list(wrong), who=name)
    bench.thresholds(THRESHOLDS)
    return bench


def models(*names: str) -> tuple[str, ...]:
    return ("--original=original", *(f"--pruned={name}=runs/{name}/final" for name in names or WRONG))


def read(project: Bench, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / f"{name}.json").read_text())
    return found


def outcomes(project: Bench, candidate: str) -> list[str]:
    return [check["outcome"] for check in read(project, f"comparison_results_{candidate}")["checks"]]


def asked(project: Bench) -> dict[str, int]:
    sides = [side for side, _ in project.executor.requests]
    return {side: sides.count(side) for side in set(sides)}


class TestSix:
    def test_each_is_compared_and_the_original_asked_once(self, project: Bench) -> None:
        result = project.run("-v", "--junitxml=junit.xml", "--strict-markers", models=models())
        assert result.ret == 1
        result.assert_outcomes(passed=8, failed=4)
        result.stdout.fnmatch_lines([
            "original: original (*",
            "wanda:    runs/wanda/final (*",
            "magnitude: runs/magnitude/final (*",
            "task:     [[]wanda[]] boolq: all 20 documents, 0 shots, 80 requests, none in the store",
            "task:     [[]sparse, llm, magnitude, random, none[]] boolq: *, 40 requests to the pruned model, none in the store",
        ])  # fmt: skip
        assert asked(project) == {"original": 60, "pruned": 360}
        assert len({(side, request) for side, request in project.executor.requests if side == "original"}) == 60
        assert project.executor.loads.count("pruned") == 2 + 5, "the first in two tasks and before its time is known"
        assert project.executor.loads.count("original") == 2
        node_ids = [line.split()[0] for line in result.outlines if " PASSED" in line or " FAILED" in line]
        expected = [
            f"thresholds.yaml::{check}[{name}]" for name in WRONG for check in ("boolq::acc", "gsm8k::accuracy")
        ]
        assert node_ids == expected, "candidate by candidate"
        cases = [case.get("name") for case in ET.parse(project.path / "junit.xml").getroot().iter("testcase")]  # noqa: S314 - our own file
        assert "gsm8k accuracy[magnitude]" in cases

    def test_each_has_its_files_and_its_table(self, project: Bench) -> None:
        result = project.run(models=models())
        files = {path.name for path in project.results.iterdir()}
        assert files == {
            "evaluation.log", "original_model_results.json", "candidates_results.json", "candidates_report.md", "candidates_report.html",
            "history.jsonl", *(f"changed_{name}.jsonl" for name, wrong in WRONG.items() if wrong),
            *(f"pruned_model_results_{name}.json" for name in WRONG),
            *(f"comparison_{what}" for name in WRONG for what in (f"results_{name}.json", f"report_{name}.md", f"report_{name}.html")),
        }  # fmt: skip
        assert {name: outcomes(project, name) for name in WRONG} == {
            name: ["fail" if len(wrong) > 4 else "pass"] * 2 for name, wrong in WRONG.items()
        }
        assert read(project, "comparison_results_llm")["models"]["pruned"]["path"] == "runs/llm/final"
        assert read(project, "pruned_model_results_llm")["tasks"]["boolq"] == {"acc": 0.85}
        assert read(project, "original_model_results")["tasks"] == {"boolq": {"acc": 1.0}, "gsm8k": {"accuracy": 1.0}}
        titles = [f"*= original against {name} =*" for name in WRONG]
        result.stdout.fnmatch_lines([*titles, "*= candidates =*", "Report: *candidates_report.html"])
        assert (
            sum(line.startswith("boolq") and "0.8500" in line and line.endswith("PASS") for line in result.outlines)
            == 1
        )

    def test_one_that_passes_is_enough(self, project: Bench) -> None:
        result = project.run("--prunegate-require=any", models=models())
        assert result.ret == 0
        result.assert_outcomes(passed=8, failed=4)
        result.stdout.fnmatch_lines(["PASS: 4 of 6 candidates pass (wanda, sparse, llm, none), one has to*"])
        assert project.run("--prunegate-require=any", models=models("magnitude", "random")).ret == 1
        assert project.run("--prunegate-require=any", "-x", models=models("magnitude", "wanda")).ret == 1

    def test_other_tests_count_as_ever(self, project: Bench) -> None:
        project.pytester.makepyfile(test_own="import os\ndef test_mine(): assert 'BREAK' not in os.environ\n")
        arguments = ("--prunegate-require=any", "thresholds.yaml", "test_own.py")
        assert project.run(*arguments, models=models("wanda", "random")).ret == 0
        project.pytester.makepyfile(test_own="def test_mine(): assert False\n")
        assert project.run(*arguments, models=models("wanda", "random")).ret == 1


class TestSelection:
    @pytest.mark.parametrize(
        ("arguments", "selected"),
        [
            (["-k", "[llm]"], ["boolq::acc[llm]", "gsm8k::accuracy[llm]"]),
            (["-k", "llm and gsm8k"], ["gsm8k::accuracy[llm]"]),
            (["thresholds.yaml::gsm8k::accuracy[llm]"], ["gsm8k::accuracy[llm]"]),
            (["thresholds.yaml::gsm8k"], ["gsm8k::accuracy[wanda]", "gsm8k::accuracy[llm]"]),
            (["thresholds.yaml::boolq::acc"], ["boolq::acc[wanda]", "boolq::acc[llm]"]),
            (["-m", "gsm8k"], ["gsm8k::accuracy[wanda]", "gsm8k::accuracy[llm]"]),
            (
                ["thresholds.yaml::gsm8k", "thresholds.yaml::boolq"],
                ["gsm8k::accuracy[wanda]", "boolq::acc[wanda]", "gsm8k::accuracy[llm]", "boolq::acc[llm]"],
            ),
        ],
    )
    def test_pytests_own_ways(self, project: Bench, arguments: list[str], selected: list[str]) -> None:
        result = project.run("--collect-only", "-q", *arguments, models=models("wanda", "llm"))
        assert [line for line in result.outlines if "::" in line] == [f"thresholds.yaml::{one}" for one in selected]

    def test_a_part_of_the_candidates_hides_no_overview(self, project: Bench) -> None:
        project.run(models=models("wanda", "llm"))
        overview = (project.results / "candidates_results.json").read_bytes()
        (project.path / "runs" / "wanda" / "final" / "model.safetensors").unlink()  # it is not even looked at
        result = project.run("-k", "[llm]", models=models("wanda", "llm"))
        assert result.ret == 0
        result.stdout.fnmatch_lines(["INCOMPLETE: 1 of 2 candidates selected (llm)"])
        assert (project.results / "candidates_results.json").read_bytes() == overview

    def test_the_command_of_a_failure(self, project: Bench) -> None:
        result = project.run(models=models("wanda", "random"))
        lines = [line for line in result.outlines if line.startswith("Run it alone: ")]
        assert "--pruned=wanda=runs/wanda/final --pruned=random=runs/random/final" in lines[0]
        assert lines[0].endswith("'thresholds.yaml::boolq::acc[random]'")


class TestNames:
    def test_all_mistakes_at_once(self, project: Bench) -> None:
        given = (
            "runs/wanda/final",
            "b 1=runs/llm/final",
            "A=runs/random/final",
            "a=runs/none/final",
            "c=nowhere/at/all",
        )
        result = project.run(
            "--prunegate-require=some", models=("--original=original", *(f"--pruned={one}" for one in given))
        )
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        for message in (
            "--pruned=runs/wanda/final: of several candidates each needs a name of its own*: --pruned=NAME=runs/wanda/final.",
            "--pruned=b 1=runs/llm/final: *--pruned=NAME=runs/llm/final; it has letters, digits and . _ + -*",
            "--pruned: 2 candidates are named A and a. *",
            "--pruned=c=nowhere/at/all: there is no directory *",
            "--prunegate-require=some: expected one of all, any.",
        ):
            result.stderr.fnmatch_lines([f"*{message}"])

    def test_damaged_models_are_told_together(self, project: Bench) -> None:
        for name in ("wanda", "llm"):
            (project.path / "runs" / name / "final" / "model.safetensors").unlink()
        result = project.run(models=models())
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["*runs/wanda/final: there are no weights*", "*runs/llm/final: there are no weights*"]
        )

    def test_the_same_model_twice_is_noted(self, project: Bench) -> None:
        twice = ("--original=original", "--pruned=a=runs/llm/final", "--pruned=b=runs/llm/final")
        result = project.run("-m", "boolq", models=twice)
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            ["note:     a and b are the same model, asked in the same way; only their names differ."]
        )
        assert asked(project)["pruned"] == BOOLQ_REQUESTS, "it is asked once"

    def test_one_named_candidate_is_as_ever(self, project: Bench) -> None:
        result = project.run("--prunegate-require=any", models=models("llm"))
        assert result.ret == 0
        result.stdout.fnmatch_lines(["*= original against pruned =*", "PASS: 2 of 2 checks measured: 2 passed"])
        assert (project.results / "comparison_results.json").exists()
        assert not (project.results / "candidates_results.json").exists()


def test_a_broken_candidate_breaks_its_own_checks(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.errors import ModelError

    class Broken(ScriptedExecutor):
        def load(self, facts: ModelFacts) -> None:
            if facts.name == "llm":
                raise ModelError("pruned model llm: cannot be loaded")
            super().load(facts)

    project.executor = Broken()
    result = project.run("-v", models=models("wanda", "llm", "none"))
    assert result.ret == 10
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(
        ["thresholds.yaml::boolq::acc[[]llm[]] ERROR*", "thresholds.yaml::boolq::acc[[]none[]] PASSED*"]
    )
    assert outcomes(project, "llm") == ["error", "error"]
    assert project.run("--prunegate-require=any", models=models("llm", "none")).ret == 0


def test_a_broken_original_is_not_tried_for_each_candidate(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_prunegate.errors import ModelError

    tried = []

    class Broken(ScriptedExecutor):
        def load(self, facts: ModelFacts) -> None:
            if facts.side == "original":
                tried.append(facts.name)
                raise ModelError("original model: cannot be loaded")
            super().load(facts)

    project.executor = Broken()
    result = project.run(models=models("wanda", "llm", "none"))
    result.assert_outcomes(errors=6)
    assert len(tried) == 1


def test_a_request_on_which_the_original_raises_is_asked_once(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Raising(ScriptedExecutor):
        def ask(self, facts: ModelFacts, batch: Sequence[Request], hand_on: HandOn) -> None:
            if facts.side == "original" and "number 5?" in batch[0].context:
                self.requests.append((facts.side, batch[0]))
                raise RuntimeError("it broke")
            super().ask(facts, batch, hand_on)

    project.executor = Raising(at_once=1)
    result = project.run("-m", "gsm8k", models=models("wanda", "llm", "none"))
    result.assert_outcomes(errors=3)
    assert asked(project) == {"original": GSM8K_REQUESTS + 1, "pruned": 3 * GSM8K_REQUESTS}, (
        "and that one a second time, alone"
    )


class TestDays:
    def test_other_candidates_on_another_day(self, project: Bench) -> None:
        project.run(models=models("wanda", "llm"))
        before = {
            path.name: path.read_bytes() for path in project.results.iterdir() if path.stem.endswith(("wanda", "llm"))
        }
        assert len(before) == 10
        project.executor.requests.clear()
        project.run(models=models("none", "random"))
        assert "original" not in asked(project), "its answers are in the store"
        assert {name: (project.results / name).read_bytes() for name in before} == before
        assert not (project.results / "archive").exists()

    def test_alone_and_among_several(self, project: Bench) -> None:
        """A single named candidate has the files that it ever had; each set of files is about itself."""
        project.run(models=models("llm"))
        alone = (project.results / "comparison_results.json").read_bytes()
        project.run(models=models("llm", "random"))
        assert (project.results / "comparison_results.json").read_bytes() == alone
        of_random = (project.results / "comparison_results_random.json").read_bytes()
        project.run(models=models("none"))
        assert read(project, "comparison_results")["models"]["pruned"]["name"] == "none"
        assert (project.results / "comparison_results_random.json").read_bytes() == of_random
        assert outcomes(project, "llm") == ["pass", "pass"]
        assert read(project, "pruned_model_results_llm")["tasks"]["boolq"] == {"acc": 0.85}, (
            "the other set has it still"
        )

    def test_the_rest_on_another_day(self, project: Bench) -> None:
        project.run("-m", "boolq", models=models("wanda", "random"))
        result = project.run("-m", "gsm8k", models=models("wanda", "random"))
        assert outcomes(project, "random") == ["fail", "fail"]
        assert [check["is_earlier"] for check in read(project, "comparison_results_wanda")["checks"]] == [True, False]
        result.stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
        assert read(project, "original_model_results")["tasks"] == {"boolq": {"acc": 1.0}, "gsm8k": {"accuracy": 1.0}}

    def test_a_name_for_another_model(self, project: Bench) -> None:
        project.run(models=models("wanda", "llm"))
        result = project.run(
            models=("--original=original", "--pruned=wanda=runs/none/final", "--pruned=llm=runs/llm/final")
        )
        [archive] = (project.results / "archive").iterdir()
        assert {path.name for path in archive.iterdir()} == {
            "comparison_results_wanda.json", "comparison_report_wanda.md", "comparison_report_wanda.html", "pruned_model_results_wanda.json",
            "changed_wanda.jsonl",
        }  # fmt: skip
        result.stdout.fnmatch_lines(["Stale: boolq::acc of *: another pruned model, or loaded otherwise."])
        assert read(project, "comparison_results_llm")["stale"] == []

    def test_another_original(self, project: Bench) -> None:
        """A file of scores is never replaced by those of another model: it is moved away."""
        project.run(models=models("wanda", "llm"))
        fingerprint = read(project, "original_model_results")["fingerprint"]
        project.run("-m", "boolq", models=("--original=runs/none/final", *models("random", "magnitude")[1:]))
        assert read(project, "original_model_results")["fingerprint"] != fingerprint
        [moved] = (project.results / "archive").rglob("*.json")
        assert json.loads(moved.read_text())["fingerprint"] == fingerprint
        assert moved.name == "original_model_results.json"


class TestInterrupted:
    def test_each_says_how_far_it_came(self, project: Bench) -> None:
        project.executor.fail_after = 60 + 60 + 25
        result = project.run(models=models("wanda", "llm", "random"))
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert outcomes(project, "wanda") == ["pass", "pass"]
        assert outcomes(project, "llm") == outcomes(project, "random") == ["not run", "not run"]
        assert read(project, "comparison_results_random")["headline"].startswith("INCOMPLETE")
        notes = " ".join(read(project, "comparison_results_llm")["notes"])
        assert "boolq: not finished; requests answered: original 40 of 40, pruned 2" in notes
        result.stdout.fnmatch_lines(
            ["Interrupted (*To go on from there: pytest --original=original --pruned=wanda=*", "INCOMPLETE*"]
        )
        project.executor.fail_after = None
        assert project.run(models=models("wanda", "llm", "random")).ret == 1
        assert asked(project) == {"original": 60, "pruned": 180}, "nothing was asked twice"


class TestEarly:
    @pytest.fixture
    def large(self, project: Bench) -> Bench:
        write_data(project.path / "data", documents=400)
        project.thresholds(EARLY)
        return project

    def documents(self, project: Bench, results: str) -> tuple[int, dict[str, Any]]:
        [check] = read(project, results)["checks"]
        assert check["outcome"] == "pass"
        return check["documents"], check["decision"]

    def test_the_error_rate_is_shared(self, large: Bench) -> None:
        large.run("--prunegate-store=alone", models=models("none"))
        alone, decision = self.documents(large, "comparison_results")
        assert decision["candidates"] == 1
        large.run(models=models("none", "wanda", "sparse", "llm"))
        shared, decision = self.documents(large, "comparison_results_none")
        assert decision["candidates"] == 4
        assert shared > alone, "to look at four candidates is to look four times"
        assert decision["error_rate"] == 0.01
        result = large.run("-v", models=models("none"))
        again, decision = self.documents(large, "comparison_results")
        assert (again, decision["candidates"]) == (shared, 4), "what was fixed for a pair of models stays"
        assert result.ret == 0

    @pytest.mark.slow
    def test_a_verdict_of_fewer_candidates_is_stale_among_more(self, large: Bench) -> None:
        large.thresholds(
            EARLY
            + f"  gsm8k:\n    num_fewshot: 0\n    {GSM8K}\n    metrics: {{accuracy: {{filter: flexible-extract}}}}\n"
        )
        large.run("-m", "boolq", models=models("none", "wanda"))
        large.run("-m", "gsm8k", models=models("none", "wanda", "llm"))
        assert outcomes(large, "none") == ["not run", "pass"]
        assert [one["name"] for one in read(large, "comparison_results_none")["stale"]] == ["acc"]

    def test_the_originals_file_has_the_scores_on_most_documents(self, large: Bench) -> None:
        write_checkpoint(large.path / "runs" / "close" / "final", wrong=list(range(0, 400, 7)), who="close")
        large.run(models=models("none", "close"))
        used = {name: read(large, f"comparison_results_{name}")["checks"][0]["documents"] for name in ("none", "close")}
        assert used["none"] < used["close"]
        found = read(large, "original_model_results")
        assert found["compared_with"] == {"boolq": {"acc": "close"}}
        assert found["documents"]["boolq"] >= used["close"]
        assert asked(large)["original"] == 2 * found["documents"]["boolq"], "one draw for all"


class TestOtherWays:
    def test_a_preflight(self, project: Bench) -> None:
        result = project.run("--prunegate-preflight", models=models("wanda", "llm", "none"))
        assert result.ret == 0
        result.stdout.fnmatch_lines([
            "task:     [[]llm, none[]] gsm8k: *20 requests to the pruned model*", "estimate: original: *", "estimate: wanda: *", "estimate: llm: *",
            "estimate: answers: about * for each of 240 answers*", "preflight: no problem was found",
        ])  # fmt: skip
        assert result.stdout.str().count("estimate: original: ") == 1
        assert project.executor.loads == []

    def test_the_time_counts_the_original_once(self, project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_prunegate.store.Store.seconds_per_work", lambda *_: 1.0)
        project.run("--prunegate-preflight", models=models("wanda")).stdout.fnmatch_lines(
            ["time:     about 12 h 21 min, *"]
        )
        result = project.run("--prunegate-preflight", models=models("wanda", "llm", "none"))
        result.stdout.fnmatch_lines(["time:     about 24 h 42 min, *"])  # of four models in place of two

    def test_the_noise_floor_is_asked_once(self, project: Bench) -> None:
        result = project.run("-m", "boolq", "--prunegate-noise-floor", models=models("wanda", "llm", "none"))
        assert result.ret == 0
        assert asked(project) == {"original": BOOLQ_REQUESTS, "again": BOOLQ_REQUESTS, "pruned": 3 * BOOLQ_REQUESTS}
        assert read(project, "comparison_results_none")["checks"][0]["noise"] is not None
        assert project.executor.loads.count("pruned") <= 4

    def test_recording(self, project: Bench) -> None:
        result = project.run("--prunegate-record", models=models("wanda", "random"))
        assert result.ret == 0
        assert outcomes(project, "random") == ["recorded", "recorded"]

    def test_baseline_files_as_candidates(self, project: Bench) -> None:
        for name in ("original", "llm", "random"):
            path = "original" if name == "original" else f"runs/{name}/final"
            project.run("--prunegate-baseline-only", f"--prunegate-output=kept/{name}", models=(f"--original={path}",))
        project.executor.requests.clear()
        kept = "kept/{}/baseline.json.gz"
        given = (
            f"--original={kept.format('original')}",
            *(f"--pruned={name}={kept.format(name)}" for name in ("llm", "random")),
        )
        result = project.run("--prunegate-store=empty", models=given)
        assert result.ret == 1
        assert (outcomes(project, "llm"), outcomes(project, "random")) == (["pass"] * 2, ["fail"] * 2)
        assert project.executor.requests == []

    def test_a_baseline_alone_takes_no_candidates(self, project: Bench) -> None:
        result = project.run("--prunegate-baseline-only", "--prunegate-require=any", models=models("llm", "none"))
        result.stderr.fnmatch_lines(
            ["*--prunegate-baseline-only measures the original alone: take --pruned, --prunegate-require out.*"]
        )


class TestFixtures:
    def test_a_test_names_its_candidate(self, project: Bench) -> None:
        project.pytester.makepyfile(
            test_own="""
            from fractions import Fraction
            import pytest
            @pytest.mark.prunegate(tasks=["boolq"])
            def test_mine(prunegate):
                assert prunegate.candidates == ("wanda", "llm")
                assert prunegate.compare("boolq", "acc", candidate="wanda").relative_drop == Fraction(1, 20)
                assert prunegate.compare("boolq", "acc", candidate="llm").relative_drop == Fraction(3, 20)
            @pytest.mark.prunegate(tasks=["boolq"])
            def test_nameless(prunegate):
                prunegate.compare("boolq", "acc")
            @pytest.mark.prunegate(tasks=["boolq"])
            def test_unknown(prunegate):
                prunegate.compare("boolq", "acc", candidate="other")
            """
        )
        result = project.run("test_own.py", models=models("wanda", "llm"))
        result.assert_outcomes(passed=1, errors=2)
        result.stdout.fnmatch_lines([
            "this run has several candidates: candidate= is one of wanda, llm.",
            "this run has no candidate other: candidate= is one of wanda, llm.",
        ])  # fmt: skip

    def test_each_check_of_each_candidate(self, project: Bench) -> None:
        project.pytester.makepyfile(
            test_own="def test_each(prunegate_check): assert prunegate_check.outcome == 'pass'\n"
        )
        result = project.run("test_own.py", "-v", models=models("wanda", "random"))
        result.assert_outcomes(passed=2, failed=2)
        result.stdout.fnmatch_lines(["*test_each?wanda-boolq-acc? PASSED*", "*test_each?random-boolq-acc? FAILED*"])
        project.executor.requests.clear()
        assert (
            project.run("test_own.py", "-k", "wanda", "--prunegate-store=other", models=models("wanda", "random")).ret
            == 0
        )
        assert asked(project)["pruned"] == 60, "the other candidate is not asked"


@pytest.mark.slow
def test_on_a_worker(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.scripted import CONFTEST

    monkeypatch.setenv("PYTEST_ADDOPTS", "--prunegate-device=cpu")
    (project.path / "conftest.py").write_text(CONFTEST)
    arguments = ("-n2", "--prunegate-require=any")
    result = project.run(*arguments, models=models("random", "llm", "none"))
    assert result.ret == 0
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines([
        "none:     runs/none/final (*", "*= original against random =*", "FAIL: 2 of 2 checks measured: 2 failed", "*= original against llm =*",
        "*= original against none =*", "*= candidates =*", "PASS: 2 of 3 candidates pass (llm, none), one has to*",
    ])  # fmt: skip
    lines = (project.path / "asked").read_text().splitlines()
    assert [line.split()[1] for line in lines].count("original") == 60
    assert len({line.split()[0] for line in lines}) == 1, "one process held the models"
    assert project.run("-n2", models=models("random", "llm", "none")).ret == 1
