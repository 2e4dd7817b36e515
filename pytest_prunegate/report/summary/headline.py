"""The first line of every report: one verdict over all checks of the file."""

from __future__ import annotations

from pytest_prunegate.verdict.compare import Outcome


def verdict(outcomes: list[Outcome]) -> str:
    """The worst outcome of what was run; an incomplete run without anything bad is called so."""
    for outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE):
        if outcome in outcomes:
            return outcome.value
    for outcome in (Outcome.BASELINE, Outcome.RECORDED):
        if outcome in outcomes:
            return outcome.value
    return "incomplete" if Outcome.NOT_RUN in outcomes or not outcomes else Outcome.PASS.value


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
