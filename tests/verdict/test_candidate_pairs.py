"""Candidates compared with each other, through whole runs of scripted models on one store."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import BOOLQ, GSM8K, SQUAD, write_checkpoint, write_data

from pytest_prunegate.input.options import Require
from pytest_prunegate.report.summary.candidates import CandidateEntry, build_candidates
from pytest_prunegate.session.session import GateSession

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.report.summary.candidate_records import CandidatePair, CandidatesSummary

ONE_TASK = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"
EARLY = f"defaults: {{max_relative_drop: 10%, decide: early}}\ntasks:\n  boolq:\n    {BOOLQ}\n    metrics: [acc]\n"


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[CandidateEntry]:
    """What each inner run measured and said, as a candidate."""
    found: list[CandidateEntry] = []
    finish = GateSession.finish

    def spy(self: GateSession, *, interrupted: bool) -> None:
        finish(self, interrupted=interrupted)
        for ended in self.reports.ended:
            if not ended.gate.baseline_only:
                name = ended.gate.facts["pruned"].name
                assert name is not None
                found.append(CandidateEntry(name=name, gate=ended.gate, summary=ended.summary))

    monkeypatch.setattr(GateSession, "finish", spy)
    return found


@pytest.fixture
def large(bench: Bench) -> Bench:
    """A project with 200 documents."""
    write_data(bench.path / "data", documents=200)
    bench.models()
    return bench


def run(bench: Bench, name: str, *arguments: str, model: str | None = None, **script: Any) -> None:
    """Compare a candidate of that name with the original; it is written where it is not there yet."""
    if model is None and not (bench.path / name).exists():
        write_checkpoint(bench.path / name, **script)
    models = ("--original=original", f"--pruned={name}={model or name}")
    bench.run(*arguments, f"--prunegate-output=results-{name}", models=models)


def pair(summary: CandidatesSummary, candidate: str, against: str, task: str = "boolq") -> CandidatePair:
    check = next(check for check in summary.checks if check.task == task)
    return next(pair for pair in check.pairs if (pair.candidate, pair.against) == (candidate, against))


def test_answers_are_counted_document_by_document(bench: Bench, entries: list[CandidateEntry]) -> None:
    """good misses 1 and 2; bad misses 2, 3, 4 and 5: 1 is for bad, 3 to 5 are for good. By hand: the differences of 20
    documents are one +1, three -1, sixteen 0, to which one change each way is added; Student's 97.5% at 19 is 2.0930."""
    bench.models()
    bench.thresholds(ONE_TASK)
    run(bench, "bad", wrong=[2, 3, 4, 5])
    run(bench, "good", wrong=[1, 2])
    summary = build_candidates(entries, require=Require.ALL)
    found = pair(summary, "bad", "good")
    assert (found.better, found.worse, found.documents, found.total_documents) == (1, 3, 20, 20)
    assert (found.score, found.score_against) == (0.8, 0.9)
    squares = 4 - 20 * 0.1**2
    half = 2.0930 * math.sqrt((squares + 2) / (20 * 19))
    assert (found.low, found.high) == pytest.approx((-0.1 - half, -0.1 + half), abs=1e-4)
    assert (found.conclusion, found.of_full_run) == ("open", False)
    assert found.confidence == pytest.approx(0.95)
    assert summary.checks[0].best == "good"
    assert summary.checks[0].original == 1


def test_three_candidates_share_the_error_rate(bench: Bench, entries: list[CandidateEntry]) -> None:
    bench.models()
    bench.thresholds(ONE_TASK)
    for name, wrong in (("worst", list(range(20))), ("best", []), ("middle", [3, 4])):
        run(bench, name, wrong=wrong)
    summary = build_candidates(entries, require=Require.ANY)
    (check,) = summary.checks
    assert [(found.candidate, found.against) for found in check.pairs] == [
        ("middle", "best"), ("worst", "best"), ("worst", "middle"),
    ]  # fmt: skip
    assert [found.confidence for found in check.pairs] == pytest.approx([1 - 0.05 / 3] * 3)
    assert [found.conclusion for found in check.pairs] == ["open", "worse", "worse"]
    middle, best, worst = check.against_best[2], check.against_best[1], check.against_best[0]
    assert best is None
    assert (middle and middle.difference, worst and worst.difference) == pytest.approx((-0.1, -1))
    assert "98.33%" in summary.pairs_note


def test_only_shared_documents_count_where_candidates_stopped_elsewhere(
    large: Bench, entries: list[CandidateEntry]
) -> None:
    """The one that fails plainly stops first; the interval then holds wherever it stopped."""
    large.thresholds(EARLY)
    run(large, "plain", wrong=list(range(0, 200, 2)))
    run(large, "close", wrong=list(range(0, 200, 15)))
    summary = build_candidates(entries, require=Require.ALL)
    executed = [len(entry.gate.measurements["boolq"][0].prepared.documents) for entry in entries]
    assert executed[0] < executed[1] <= 200
    found = pair(summary, "plain", "close")
    assert (found.documents, found.total_documents) == (executed[0], 200)
    assert found.is_anytime
    assert found.of_full_run
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.5 + 14 / 200 < found.high, "what all documents say"
    assert found.low < found.difference < found.high  # type: ignore[operator]
    assert found.conclusion == "worse"


def test_a_sample_is_asked_what_all_documents_would_say(large: Bench, entries: list[CandidateEntry]) -> None:
    large.thresholds(ONE_TASK)
    run(large, "one", "--prunegate-limit=100", wrong=list(range(0, 200, 7)))
    run(large, "two", "--prunegate-limit=100", wrong=list(range(0, 200, 11)))
    found = pair(build_candidates(entries, require=Require.ALL), "one", "two")
    assert (found.documents, found.total_documents, found.of_full_run, found.is_anytime) == (100, 200, True, False)
    low, high = found.low, found.high
    entries.clear()
    run(large, "one")
    run(large, "two")
    found = pair(build_candidates(entries, require=Require.ALL), "one", "two")
    assert (found.documents, found.of_full_run) == (200, False)
    assert low < -10 / 200 < high  # type: ignore[operator]


@pytest.mark.slow
def test_samples_of_other_seeds_share_what_both_drew(large: Bench, entries: list[CandidateEntry]) -> None:
    """A fixed sample of each: those in both are a random sample, too. Where data decided when to stop, they are not."""
    large.thresholds(ONE_TASK)
    run(large, "one", "--prunegate-limit=100", "--prunegate-seed=1", wrong=list(range(0, 200, 7)))
    run(large, "two", "--prunegate-limit=100", "--prunegate-seed=2", wrong=list(range(0, 200, 11)))
    found = pair(build_candidates(entries, require=Require.ALL), "one", "two")
    drawn = [
        {document.doc_id for document in entry.gate.measurements["boolq"][0].prepared.documents} for entry in entries
    ]
    assert found.documents == len(drawn[0] & drawn[1])
    assert 20 < len(drawn[0] & drawn[1]) < 80
    assert found.of_full_run
    assert found.interval
    summary = build_candidates(entries, require=Require.ALL)
    assert any("different documents" in note for note in summary.notes) == (summary.checks[0].originals is not None)
    entries.clear()
    large.thresholds(EARLY)
    shutil.rmtree(large.path / ".prunegate")
    run(large, "one", "--prunegate-seed=1")
    run(large, "two", "--prunegate-seed=2")
    found = pair(build_candidates(entries, require=Require.ALL), "one", "two")
    assert found.difference is not None
    assert (found.interval, found.conclusion) == (None, None)
    assert found.problem == "their documents were drawn in different orders, and the data decided when to stop"


def test_what_cannot_be_compared_is_told(bench: Bench, entries: list[CandidateEntry]) -> None:
    """Measured by an earlier run, or ended in an error."""
    bench.models()
    bench.thresholds(f"{ONE_TASK}  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%}}\n")
    run(bench, "old", wrong=[1])
    entries.clear()
    run(bench, "old", "-m", "squadv2")
    run(bench, "new", wrong=[2])
    run(bench, "broken", max_length=4)
    summary = build_candidates(entries, require=Require.ALL)
    check = next(check for check in summary.checks if check.task == "boolq")
    assert [own.outcome for own in check.candidates] == ["pass", "pass", "error"]
    assert len(check.pairs) == 1
    assert check.pairs[0].difference is None
    assert (
        check.pairs[0].problem
        == "not compared: old measured by an earlier run, whose scores by document are not at hand"
    )
    assert pair(summary, "new", "old", "squadv2").difference is not None
    assert summary.verdict == "error"


def test_a_candidate_from_a_baseline_file(bench: Bench, entries: list[CandidateEntry]) -> None:
    bench.models()
    bench.thresholds(ONE_TASK)
    write_checkpoint(bench.path / "other", wrong=[4, 5, 6])
    bench.run("--prunegate-baseline-only", models=("--original=other",))
    shutil.move(bench.results / "baseline.json.gz", bench.path / "other.json.gz")
    shutil.rmtree(bench.path / "other")
    run(bench, "file", model="other.json.gz")
    run(bench, "model", wrong=[4])
    found = pair(build_candidates(entries, require=Require.ALL), "file", "model")
    assert (found.better, found.worse) == (0, 2)
    assert found.difference == pytest.approx(-0.1)


def test_less_perplexity_is_better(bench: Bench, entries: list[CandidateEntry]) -> None:
    """Its difference is a relative one, negative for the worse, and exact where all windows differ alike."""
    bench.models()
    (bench.path / "data" / "text.txt").write_text(" ".join(f"word{number}" for number in range(400)))
    bench.thresholds(
        "perplexity:\n  wikitext2:\n    max_relative_increase: 900%\n    seqlen: 64\n"
        "    dataset: {path: text, data_files: {test: data/text.txt}}\n"
    )
    run(bench, "worse", nll=2.3)
    run(bench, "better", nll=2.1)
    summary = build_candidates(entries, require=Require.ALL)
    found = pair(summary, "worse", "better", "wikitext2")
    assert summary.checks[0].best == "better"
    assert (found.score, found.score_against) == pytest.approx((math.exp(2.3), math.exp(2.1)), rel=1e-6)
    assert found.relative == pytest.approx(1 - math.exp(0.2))
    assert (found.low, found.high) == pytest.approx((found.relative, found.relative), abs=1e-6)
    assert (found.better, found.worse, found.conclusion) == (None, None, "worse")


def test_shares_of_outputs(bench: Bench, entries: list[CandidateEntry]) -> None:
    """Less of them is better."""
    bench.models()
    bench.thresholds(
        f"tasks:\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,strict-match': 90%}}\n    outputs: {{max_empty: 90%}}\n"
    )
    run(bench, "silent", empty=list(range(0, 20, 2)))
    run(bench, "talks", empty=[1])
    check = next(check for check in build_candidates(entries, require=Require.ALL).checks if check.name == "max_empty")
    assert check.best == "talks"
    (found,) = check.pairs
    assert (found.better, found.worse, found.conclusion) == (1, 10, "worse")
    assert found.difference == pytest.approx(0.45)
