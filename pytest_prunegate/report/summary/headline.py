"""The first line of every report: one verdict over all checks of the file, and one over all candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.input.options import Require
from pytest_prunegate.report.summary.values import RunVerdict
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_prunegate.report.summary.candidate_records import CandidateRow


_WORST_FIRST = (RunVerdict.FAIL, RunVerdict.ERROR, RunVerdict.INCONCLUSIVE, RunVerdict.INCOMPLETE)
_WAYS = {
    RunVerdict.FAIL: ("fails", "fail"),
    RunVerdict.ERROR: ("ended in an error", "ended in errors"),
    RunVerdict.INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
    RunVerdict.INCOMPLETE: ("was not measured in full", "were not measured in full"),
    RunVerdict.RECORDED: ("is recorded and not judged", "are recorded and not judged"),
}


def verdict(outcomes: list[Outcome]) -> RunVerdict:
    """The worst outcome of what was run; an incomplete run without anything bad is called so."""
    for outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE, Outcome.BASELINE, Outcome.RECORDED):
        if outcome in outcomes:
            return RunVerdict(outcome)
    return RunVerdict.INCOMPLETE if Outcome.NOT_RUN in outcomes or not outcomes else RunVerdict.PASS


def measured(outcomes: list[Outcome]) -> int:
    """Checks with a verdict (or a baseline); one that ended in an error has none."""
    return sum(outcome not in {Outcome.NOT_RUN, Outcome.ERROR} for outcome in outcomes)


def headline(outcomes: list[Outcome], *, partial: int, earlier: int) -> str:
    """The verdict with its counts.

    Args:
        outcomes: of all checks of the file.
        partial: how many of the measured ones rest on a part of their documents.
        earlier: how many of them an earlier run measured.
    """
    counts = {outcome: outcomes.count(outcome) for outcome in Outcome}
    total, done = len(outcomes), measured(outcomes)
    words = {
        Outcome.FAIL: "failed",
        Outcome.ERROR: "ended in an error",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.PASS: "passed",
        Outcome.RECORDED: "recorded and not judged",
        Outcome.BASELINE: "of the original alone, nothing compared",
    }
    parts = ", ".join(f"{counts[outcome]} {word}" for outcome, word in words.items() if counts[outcome])
    incomplete = "INCOMPLETE, " if done < total else ""
    word = verdict(outcomes).upper().replace("INCOMPLETE", "")
    lead = f"{incomplete}{word}".rstrip(", ")
    how = how_measured(partial=partial, earlier=earlier)
    return f"{lead}: {done} of {total} checks measured{how}" + (f": {parts}" if parts else "")


def how_measured(*, partial: int, earlier: int) -> str:
    """In brackets, how many of the measured checks rest on less than a reader would take for granted; nothing where none does."""
    words = [f"{count} {how}" for count, how in ((partial, "in part"), (earlier, "by earlier runs")) if count]
    return f" ({', '.join(words)})" if words else ""


def overall_verdict(verdicts: Sequence[RunVerdict], require: Require) -> RunVerdict:
    """One verdict over the verdicts of all candidates.

    Where all have to pass, it is the worst of them. Where one is enough, it is the best: a failure only where all of them fail,
    because one that broke, or is inconclusive, might have passed.

    Args:
        verdicts: of each candidate, as `headline.verdict` gives them.
        require: how many have to pass.
    """
    order = _WORST_FIRST if require is Require.ALL else (RunVerdict.PASS, *reversed(_WORST_FIRST))
    return next(
        (verdict for verdict in order if verdict in verdicts), verdicts[0] if verdicts else RunVerdict.INCOMPLETE
    )


def overall_headline(rows: Sequence[CandidateRow], require: Require, *, partial: int, earlier: int) -> str:
    """The verdict over all candidates with who passes, what was asked, and how the others ended.

    Args:
        rows: the candidates.
        require: how many have to pass.
        partial: how many of all measured checks rest on a part of their documents.
        earlier: how many of them an earlier run measured.
    """
    verdict = overall_verdict([row.verdict for row in rows], require)
    total = sum(row.checks_total for row in rows)
    done = total - sum(row.not_run + row.errored for row in rows)
    words = [] if done == total else ["INCOMPLETE"]
    words += [] if verdict is RunVerdict.INCOMPLETE else [verdict.upper()]
    passing = [row.name for row in rows if row.verdict is RunVerdict.PASS]
    who = f" ({', '.join(passing)})" if passing and len(passing) < len(rows) else ""
    verb = "passes" if len(passing) == 1 else "pass"
    asked = "all have to" if require is Require.ALL else "one has to"
    counts = {way: sum(row.verdict == way for row in rows) for way in _WAYS}
    others = [f"{count} {_WAYS[way][count > 1]}" for way, count in counts.items() if count]
    ended = f"; {', '.join(others)}" if others else ""
    how = how_measured(partial=partial, earlier=earlier)
    counted = f". {done} of {total} checks measured{how}" if done < total or how else ""
    return f"{', '.join(words)}: {len(passing)} of {len(rows)} candidates {verb}{who}, {asked}{ended}{counted}"
