"""The records of answers that changed: plain values, as the reports show them and as `changed.jsonl` has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CHANGED_FILE = "changed.jsonl"
Marked = tuple[tuple[str, bool], ...]
"""A text in pieces, each with whether the other model's text lacks it."""


@dataclass(frozen=True, kw_only=True)
class ChangedScore:
    """A document's scores on one check. `change` is lost, gained, or same."""

    check: str
    original: float
    pruned: float
    change: str


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """A document that the two models did not answer equally well, by at least one check of its task.

    `change` is lost where it is worse on any metric, else gained; `size` the largest change of a score in that direction.
    Whether its output is empty or cut decides only where no metric's score changed.
    `member` is a group's task, None for a task that is no group. `prompt` has positions in `ChangedAnswers.blocks`, whose
    texts one after another are the prompt. `gold` is the answer that counts as right, empty where the task has none in words.
    Notes are not the model's words: log-probabilities of choices, what a filter made of an output. Very long texts are
    shortened in their middle, which they say.
    """

    task: str
    member: str | None
    doc_id: int
    change: str
    size: float
    scores: tuple[ChangedScore, ...]
    prompt: tuple[int, ...]
    gold: str
    original: Marked
    pruned: Marked
    original_note: str = ""
    pruned_note: str = ""


@dataclass(frozen=True, kw_only=True)
class ChangedAnswers:
    """The answers that changed. `shown` are embedded in the reports, lost ones first; `file` beside them has all.

    `blocks` are the parts of the shown prompts, each once. `total`, `lost` and `gained` count all documents that changed.
    """

    total: int = 0
    lost: int = 0
    gained: int = 0
    shown: tuple[ChangedAnswer, ...] = ()
    blocks: tuple[str, ...] = ()
    file: str | None = None

    def counts(self) -> dict[str, Any]:
        """What the JSON results say of them; the answers themselves are in the file."""
        return {
            "total": self.total,
            "lost": self.lost,
            "gained": self.gained,
            "shown": len(self.shown),
            "file": self.file,
        }
