"""Two texts with their differences marked, word by word, in bounded time."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_prunegate.report.summary.changed_records import Marked

_WORDS = re.compile(r"\s*\S+|\s+")
_MOST_WORDS = 2000  # of both texts, beyond what they begin and end with alike
_MOST_PAIRS = 40_000  # of equal words, which is what comparing costs: a model that repeats one word makes millions


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
