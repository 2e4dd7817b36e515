"""Which of the answers that changed are shown in a report, and how much of them, their differences marked: bounded, and nothing twice."""

from __future__ import annotations

import difflib
import html
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_prunegate.plain import plain
from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedLine
from pytest_prunegate.report.summary.values import json_line
from pytest_prunegate.verdict.outcome import LOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pytest_prunegate.report.summary.changed_records import ChangedScore, Marked
    from pytest_prunegate.verdict.answers import Texts
    from pytest_prunegate.verdict.outcome import Direction


_SHOWN = 500  # answers
_MOST_OF_OUTPUTS, _MOST_OF_ALL = 1_200_000, 2_400_000  # bytes, as HTML has them
_LONGEST_PROMPT, _LONGEST_OUTPUT, _LONGEST_GOLD, _LONGEST_NOTE = 16_000, 8_000, 1_000, 1_000  # characters
_SHORTEST = 250
_BLOCK, _LINE = 1_000, 8_000  # characters: a block that is longer is cut at its lines, and a longer line anywhere
_PARAGRAPHS = re.compile(r".+?(?:\n\s*\n|\Z)", re.DOTALL)
_LINES = re.compile(rf"[^\n]{{0,{_LINE}}}(?:\n|(?<=[^\n]))", re.DOTALL)
_WORDS = re.compile(r"\s*\S+|\s+")
_MOST_WORDS = 2000  # of both texts, beyond what they begin and end with alike
_MOST_PAIRS = 40_000  # of equal words, which is what comparing costs: a model that repeats one word makes millions


@dataclass(frozen=True, kw_only=True)
class Change:
    """A document that changed, with its scores on all checks of its task that have one; `texts` makes its texts.

    `is_output` tells whether only its output's being empty or cut changed.
    """

    task: str
    member: str | None
    doc_id: int
    scores: tuple[ChangedScore, ...]
    change: Direction
    size: float
    is_output: bool
    texts: Callable[[], Texts]

    def line(self) -> bytes:
        """Its line in the file."""
        texts = self.texts()
        line = ChangedLine(
            task=self.task, member=self.member, doc_id=self.doc_id, change=self.change, size=self.size, scores=self.scores,
            prompt=texts.prompt, gold=texts.gold, original=texts.original.text, pruned=texts.pruned.text,
            original_note=texts.original.note, pruned_note=texts.pruned.note,
        )  # fmt: skip
        return json_line(line)


def chosen(changes: Sequence[Change], most: int = _SHOWN) -> list[Change]:
    """The changes that a report shows, in their order.

    Half of the places are shared out among the tasks alike, so that none is crowded out; what a task does not need of them
    and the other half go to lost answers, then to gained ones, shared out in the same way. Within a task the order decides.
    """
    by_task: dict[str, list[Change]] = {}
    for change in changes:
        by_task.setdefault(change.task, []).append(change)
    counts = {task: len(own) for task, own in by_task.items()}
    lost = {task: sum(change.change == LOST for change in own) for task, own in by_task.items()}
    granted = _shared(counts, most // 2)
    for wanted in (lost, counts):
        more = _shared({task: max(wanted[task] - granted[task], 0) for task in counts}, most - sum(granted.values()))
        granted = {task: granted[task] + more[task] for task in counts}
    places = dict.fromkeys(counts, 0)
    found = []
    for change in changes:
        places[change.task] += 1
        if places[change.task] <= granted[change.task]:
            found.append(change)
    return found


def embedded(changes: Iterable[Change], file: str) -> tuple[tuple[ChangedAnswer, ...], tuple[str, ...]]:
    """Changes with their texts, marked and shortened as far as must be; and the blocks of their prompts, each once.

    Args:
        changes: those that are shown.
        file: has all of every text.
    """
    found = [_Excerpts.of(change) for change in changes]
    limit, used = _largest_limit(_LONGEST_OUTPUT, _MOST_OF_OUTPUTS, lambda limit: sum(one.weight(limit) for one in found))  # fmt: skip
    of_prompts, _ = _largest_limit(
        _LONGEST_PROMPT, _MOST_OF_ALL - used, lambda limit: sum(map(_weight, _blocks_of(found, limit, file)))
    )
    places = _blocks_of(found, of_prompts, file)
    return tuple(one.answer(limit, of_prompts, places, file) for one in found), tuple(places)


def blocks(prompt: str) -> list[str]:
    """A prompt in pieces that others may share: cut at blank lines, what is long at its lines. Together they are the prompt."""
    found: list[str] = []
    for paragraph in _PARAGRAPHS.findall(prompt):
        found += [paragraph] if len(paragraph) <= _BLOCK else filter(None, _LINES.findall(paragraph))
    return found


@dataclass(frozen=True, kw_only=True)
class _Excerpt:
    """The beginning and the end of a text, as much of it as can be shown."""

    start: str
    end: str
    length: int
    longest: int

    @classmethod
    def of(cls, text: str, longest: int) -> _Excerpt:
        return cls(start=text[:longest], end=text[-longest:], length=len(text), longest=longest)

    def shown(self, limit: int, file: str) -> str:
        """The text; of one that is longer than the limit a quarter of that from its beginning, and the rest from its end."""
        limit = min(limit, self.longest)
        if self.length <= limit:
            return self.start
        first = limit // 4
        left_out = f"... {self.length - limit:,} characters left out, all of them in {file} ..."
        return f"{self.start[:first]}\n{left_out}\n{self.end[first - limit :]}"


@dataclass(frozen=True, kw_only=True)
class _Excerpts:
    """A change with as much of its texts as can be shown."""

    change: Change
    prompt: _Excerpt
    gold: _Excerpt
    outputs: tuple[_Excerpt, _Excerpt]
    notes: tuple[_Excerpt, _Excerpt]

    @classmethod
    def of(cls, change: Change) -> _Excerpts:
        texts = change.texts()
        sides = (texts.original, texts.pruned)
        first, second = (_Excerpt.of(answer.text, _LONGEST_OUTPUT) for answer in sides)
        note, other = (_Excerpt.of(answer.note, _LONGEST_NOTE) for answer in sides)
        return cls(
            change=change, prompt=_Excerpt.of(texts.prompt, _LONGEST_PROMPT), gold=_Excerpt.of(texts.gold, _LONGEST_GOLD),
            outputs=(first, second), notes=(note, other),
        )  # fmt: skip

    def weight(self, limit: int) -> int:
        """Bytes of all but the prompt."""
        return sum(_weight(one.shown(limit, "")) for one in (*self.outputs, self.gold, *self.notes))

    def answer(self, limit: int, of_prompts: int, places: Mapping[str, int], file: str) -> ChangedAnswer:
        change = self.change
        original, pruned = marked(*(output.shown(limit, file) for output in self.outputs))
        note, other = (note.shown(limit, file) for note in self.notes)
        return ChangedAnswer(
            task=change.task, member=change.member, doc_id=change.doc_id, change=change.change, size=change.size, scores=change.scores,
            prompt=tuple(places[block] for block in blocks(self.prompt.shown(of_prompts, file))),
            gold=self.gold.shown(limit, file), original=original, pruned=pruned, original_note=note, pruned_note=other,
        )  # fmt: skip


def _blocks_of(found: Iterable[_Excerpts], limit: int, file: str) -> dict[str, int]:
    """The blocks of all prompts with their positions."""
    places: dict[str, int] = {}
    for one in found:
        for block in blocks(one.prompt.shown(limit, file)):
            places.setdefault(block, len(places))
    return places


def _largest_limit(longest: int, most: int, weigh: Callable[[int], int]) -> tuple[int, int]:
    """The limit for one text, of those that halve it again and again, under which all together weigh at most so much."""
    limit = longest
    while (weight := weigh(limit)) > most and limit > _SHORTEST:
        limit //= 2
    return limit, weight


def _weight(text: str) -> int:
    """Bytes that a text takes in a page."""
    return len(html.escape(plain(text)).encode())


def _shared(wanted: Mapping[str, int], places: int) -> dict[str, int]:
    """Places shared out alike, where none gets more than it wants."""
    granted = {}
    for left, task in zip(range(len(wanted), 0, -1), sorted(wanted, key=lambda task: wanted[task]), strict=True):
        granted[task] = min(wanted[task], places // left)
        places -= granted[task]
    return granted


def marked(original: str, pruned: str) -> tuple[Marked, Marked]:
    """Both texts in pieces, each with whether the other text lacks it; a text's pieces one after another are the text.

    A word is compared with the white space before it. Where comparing would take long, all between a common beginning and a
    common end counts as different.
    """
    before, after = _WORDS.findall(original), _WORDS.findall(pruned)
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    inner, other = before[start : len(before) - end], after[start : len(after) - end]
    head, tail = [("".join(before[:start]), False)], [("".join(before[len(before) - end :]), False)]
    left, right = _differences(inner, other)
    return _joined([*head, *left, *tail]), _joined([*head, *right, *tail])


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words two texts begin with alike."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _differences(inner: list[str], other: list[str]) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    counts = Counter(other)
    pairs = sum(count * counts[word] for word, count in Counter(inner).items())
    if len(inner) + len(other) > _MOST_WORDS or pairs > _MOST_PAIRS:
        return [("".join(inner), True)], [("".join(other), True)]
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for operation, a, b, c, d in difflib.SequenceMatcher(None, inner, other, autojunk=False).get_opcodes():
        left.append(("".join(inner[a:b]), operation != "equal"))
        right.append(("".join(other[c:d]), operation != "equal"))
    return left, right


def _joined(pieces: Iterable[tuple[str, bool]]) -> Marked:
    """Pieces that follow each other alike as one, and none that is empty."""
    told = [piece for piece in pieces if piece[0]]
    return tuple(
        ("".join(text for text, _ in group), lacks)
        for lacks, group in itertools.groupby(told, key=lambda piece: piece[1])
    )
