"""Overviews of candidates for tests: made up from made-up summaries, with differences between candidates as wanted."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.input.options import Require
from pytest_prunegate.report.summary.candidates import CandidateEntry, build_candidates
from pytest_prunegate.report.summary.check_records import LossOnScale
from support.made_summary import made_check, made_model, made_summary, not_measured, ten_checks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.report.summary.candidate_records import CandidatePair, CandidatesSummary
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.verdict.outcome import Conclusion

NAMES = ("wanda50", "sparsegpt50", "magnitude50", "wanda2to4", "gptq4bit", "llm-pruner20")


def made_entry(name: str, checks: tuple[CheckSummary, ...], **model: Any) -> CandidateEntry:
    """A candidate with these checks; nothing of its run is at hand."""
    made = {"original": made_model("original"), "pruned": made_model("pruned", name=name, **model)}
    gate: Any = SimpleNamespace(measurements={}, judging=None, checks=())
    return CandidateEntry(name=name, gate=gate, summary=made_summary(checks, changes=0, models=made))


def six_entries() -> list[CandidateEntry]:
    """Six candidates in folders of one name: as measured, better, worse, one with errors alone, one quantised, one not run."""
    checks = tuple(_moved(check, 1.0) for check in ten_checks())
    made: list[tuple[tuple[CheckSummary, ...], dict[str, Any]]] = [
        (checks, {}),
        (tuple(_moved(check, 0.3) for check in checks), {"sparsity": 0.501}),
        (tuple(_moved(check, 2.5) for check in checks), {"sparsity": 0.495}),
        (tuple(_broken(check, "error") for check in checks), {"sparsity": 0.42}),
        (tuple(_moved(check, 0.5) for check in checks), {"sparsity": None, "sparsity_problem": "its weights are packed (gptq)", "quantised": "gptq, 4 bit"}),
        (tuple(_broken(check, "not run") for check in checks), {"sparsity": 0.2}),
    ]  # fmt: skip
    return [
        made_entry(name, own, path=f"/runs/{number}/checkpoint-final", fingerprint=str(number) * 32, **model)
        for number, (name, (own, model)) in enumerate(zip(NAMES, made, strict=True), 1)
    ]


def made_candidates(
    entries: Sequence[CandidateEntry] | None = None, *, require: Require = Require.ALL
) -> CandidatesSummary:
    """The overview of these candidates, with differences between them that are made up where they have figures."""
    summary = build_candidates(six_entries() if entries is None else entries, require=require)
    draw = random.Random(6)  # noqa: S311 - no secret
    checks = tuple(
        replace(check, pairs=tuple(_made_pair(pair, check.unit, draw) for pair in check.pairs))
        for check in summary.checks
    )
    return replace(summary, checks=checks)


def _moved(check: CheckSummary, times: float) -> CheckSummary:
    """The check of another candidate, which lost so many times as much."""
    if check.original is None or check.pruned is None or check.metric == "sparsity":
        return check
    pruned = check.original + times * (check.pruned - check.original)
    outcome = check.outcome if times == 1 or check.outcome == "inconclusive" else "fail" if times > 1 else "pass"
    assert check.relative is not None
    changes: dict[str, Any] = {
        "thresholds": check.thresholds,
        "lost": check.lost,
        "unit": check.unit,
        "line": check.line,
    }
    made = made_check(check.task, check.name, outcome, check.original, pruned, documents=check.documents,
                      total_documents=check.total_documents, measured=check.measured, is_earlier=check.is_earlier and times == 1, **changes)  # fmt: skip
    relative = check.relative * times
    scale = check.scale and LossOnScale(
        drop=-relative, low=-relative - 0.03, high=-relative + 0.03, limit=check.scale.limit
    )
    interval = made.interval and replace(
        made.interval,
        relative_change=(relative - 0.03, relative + 0.03),
        text=f"{relative - 0.03:+.1%} to {relative + 0.03:+.1%}",
    )
    return replace(made, relative=relative, scale=scale, interval=interval, location=check.location)


def _broken(check: CheckSummary, outcome: str) -> CheckSummary:
    reason = (
        "not run" if outcome == "not run" else f"{check.task}: the pruned model raised on document 3 (ValueError: nan)."
    )
    return not_measured(check.task, check.name, outcome, reason, metric=check.metric, thresholds=check.thresholds)


def _made_pair(pair: CandidatePair, unit: str, draw: random.Random) -> CandidatePair:
    if pair.problem is None or "at hand" not in pair.problem or "earlier" in pair.problem:
        return pair
    difference = -abs(round(draw.gauss(0, 0.05), 4))
    half = 0.04
    conclusion: Conclusion = "worse" if difference + half < 0 else "open"
    if unit != "documents":
        return replace(
            pair, documents=141, total_documents=141, score=20.61, score_against=19.4, difference=1.21, relative=-0.0624, low=-0.074,
            high=-0.051, interval="-7.40% to -5.10%", confidence=0.9967, conclusion="worse", problem=None,
        )  # fmt: skip
    return replace(
        pair, documents=200, total_documents=200, score=0.6, score_against=0.6 - difference, difference=difference, low=difference - half,
        high=difference + half, interval=f"{difference - half:+.4f} to {difference + half:+.4f}", confidence=0.9967, better=7,
        worse=7 - round(200 * difference), conclusion=conclusion, problem=None,
    )  # fmt: skip
