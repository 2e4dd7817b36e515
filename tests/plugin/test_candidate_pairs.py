"""Candidates compared with each other, through whole runs of scripted models on one store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scripted import BOOLQ, write_checkpoint

from pytest_prunegate.report.candidate_lines import candidate_lines
from pytest_prunegate.report.candidates import CandidateEntry, build_candidates, write_candidates
from pytest_prunegate.session import GateSession

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.report.candidate_records import CandidatePair, CandidatesSummary


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[CandidateEntry]:
    """What each inner run measured and said, as a candidate."""
    found: list[CandidateEntry] = []
    finish = GateSession.finish

    def spy(self: GateSession, *, interrupted: bool) -> None:
        finish(self, interrupted=interrupted)
        if self.summary is not None:
            name = self._gate.facts["pruned"].name
            assert name is not None
            found.append(CandidateEntry(name=name, gate=self._gate, summary=self.summary))

    monkeypatch.setattr(GateSession, "finish", spy)
    return found


def run(bench: Bench, name: str, *arguments: str, **script: Any) -> None:
    if not (bench.path / name).exists():
        write_checkpoint(bench.path / name, **script)
    bench.run(
        *arguments, f"--prunegate-output=results-{name}", models=("--original=original", f"--pruned={name}={name}")
    )


def pair(summary: CandidatesSummary, candidate: str, against: str, task: str = "boolq") -> CandidatePair:
    check = next(check for check in summary.checks if check.task == task)
    return next(pair for pair in check.pairs if (pair.candidate, pair.against) == (candidate, against))


def test_answers_are_counted_document_by_document(bench: Bench, entries: list[CandidateEntry]) -> None:
    """good misses 1 and 2; bad misses 2, 3, 4 and 5: 1 is for bad, 3 to 5 are for good."""
    bench.models()
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n")
    run(bench, "bad", wrong=[2, 3, 4, 5])
    run(bench, "good", wrong=[1, 2])
    summary = build_candidates(entries, require="all")
    found = pair(summary, "bad", "good")
    assert (found.better, found.worse, found.documents, found.total_documents) == (1, 3, 20, 20)
    assert (found.score, found.score_against) == (0.8, 0.9)
    assert found.difference == pytest.approx(-0.1)
    assert summary.checks[0].best == "good"
    assert found.low is not None
    assert found.high is not None
    assert found.low < -0.1 < found.high
    assert found.conclusion == "open"
    paths = write_candidates(summary, bench.path / "out")
    assert [path.name for path in paths] == [
        "candidates_results.json",
        "candidates_report.md",
        "candidates_report.html",
    ]
    assert "\n".join(line for line, _ in candidate_lines(summary))
