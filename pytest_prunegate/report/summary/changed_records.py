"""The records of answers that changed: plain values, as the reports show them and as `changed.jsonl` has them."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_prunegate.report.summary.values import Count
from pytest_prunegate.verdict.outcome import Direction, Moved

CHANGED_FILE = "changed.jsonl"
ANSWERS_FILE = "answers.jsonl"
Marked = tuple[tuple[str, bool], ...]
"""A text in pieces, each with whether the other model's text lacks it."""


@dataclass(frozen=True, kw_only=True)
class ChangedScore:
    """A document's scores on one check.

    Attributes:
        check: The check's name within its task.
        original: Score of the original.
        pruned: Score of the pruned model.
        change: Whether that is lost, gained, or the same.
    """

    check: str
    original: float
    pruned: float
    change: Moved


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """A document that the two models did not answer equally well, by at least one check of its task.

    Very long texts are shortened in their middle, which they say.

    Attributes:
        task: The task.
        member: The group's task; null for a task that is no group.
        doc_id: Number of the document in its task.
        change: lost where it is worse on any metric, else gained. Whether its output is empty or cut decides only where
            no metric's score changed.
        size: The largest change of a score in that direction.
        scores: Its scores on each check of the task.
        prompt: Positions in `summary.changed.blocks`, whose texts one after another are the prompt.
        gold: The right answer; empty where there is none in words.
        original: What the original answered: pairs of a piece of the text and whether the other model's text lacks it.
        pruned: What the pruned model answered, in the same pairs.
        original_note: What is told of the original's answer and is not its words: log-probabilities of choices, what a
            filter made of it.
        pruned_note: The same of the pruned model's.
    """

    task: str
    member: str | None
    doc_id: Count
    change: Direction
    size: float
    scores: tuple[ChangedScore, ...]
    prompt: tuple[Count, ...]
    gold: str
    original: Marked
    pruned: Marked
    original_note: str = ""
    pruned_note: str = ""


@dataclass(frozen=True, kw_only=True)
class ChangedLine:
    """A document that changed, as a line of `changed.jsonl` has it, with its whole texts.

    Attributes:
        task: The task.
        member: The group's task; null for a task that is no group.
        doc_id: Number of the document in its task, as lm-eval has it.
        change: lost where it is worse on any metric, else gained.
        size: The largest change of a score in that direction.
        scores: Its scores on each check of the task.
        prompt: The prompt, rendered by the chat template where there is one.
        gold: The right answer; several are divided by " / ".
        original: What the original answered.
        pruned: What the pruned model answered.
        original_note: What is told of the original's answer and is not its words.
        pruned_note: The same of the pruned model's.
    """

    task: str
    member: str | None
    doc_id: Count
    change: Direction
    size: float
    scores: tuple[ChangedScore, ...]
    prompt: str
    gold: str
    original: str
    pruned: str
    original_note: str
    pruned_note: str


@dataclass(frozen=True, kw_only=True)
class AnswerLine:
    """A document that both models answered, changed or not, as a line of `answers.jsonl` has it, with its whole texts.

    Attributes:
        task: The task.
        member: The group's task; null for a task that is no group.
        doc_id: Number of the document in its task, as lm-eval has it.
        drawn: Its place in the order in which the task's documents are drawn; 1 is the first.
        scores: Its scores on each check of the task that has one for it.
        prompt: The prompt, rendered by the chat template where there is one.
        gold: The right answer; several are divided by " / ".
        original: What the original answered.
        pruned: What the pruned model answered.
        original_note: What is told of the original's answer and is not its words.
        pruned_note: The same of the pruned model's.
    """

    task: str
    member: str | None
    doc_id: Count
    drawn: Count
    scores: tuple[ChangedScore, ...]
    prompt: str
    gold: str
    original: str
    pruned: str
    original_note: str
    pruned_note: str


@dataclass(frozen=True, kw_only=True)
class ChangedCounts:
    """How many answers changed, as the JSON results have it.

    Attributes:
        total: Documents whose answers changed.
        lost: Those that got worse by any check.
        gained: Those that got better.
        shown: How many are embedded in the HTML report.
        file: The file beside this one that has all of them; null where none changed.
    """

    total: Count
    lost: Count
    gained: Count
    shown: Count
    file: str | None


@dataclass(frozen=True, kw_only=True)
class ChangedAnswers:
    """The answers that changed.

    Attributes:
        total: Documents whose answers changed.
        lost: Those that got worse by any check.
        gained: Those that got better.
        shown: The first of them, lost ones first, as they are embedded in the HTML report; in the JSON results only
            how many.
        blocks: The texts that their prompts are made of, each once.
        file: The file beside the reports that has all of them; null where none changed.
    """

    total: Count = 0
    lost: Count = 0
    gained: Count = 0
    shown: tuple[ChangedAnswer, ...] = ()
    blocks: tuple[str, ...] = ()
    file: str | None = None

    @property
    def counts(self) -> ChangedCounts:
        """What the JSON results say of them; the answers themselves are in the file."""
        return ChangedCounts(
            total=self.total, lost=self.lost, gained=self.gained, shown=len(self.shown), file=self.file
        )
