"""What the HTML report carries beside the summary."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_summary import made_changes, made_check, made_summary, not_measured

from pytest_prunegate.report.page import embedded, shorten
from pytest_prunegate.report.rendering import render

if TYPE_CHECKING:
    from pytest_prunegate.report.records import CheckSummary


def test_what_fits_is_whole() -> None:
    changed = made_changes(40)
    found = json.loads(embedded(changed))
    assert found["blocks"] == list(changed.blocks)
    assert [row["gold"] for row in found["rows"]] == [answer.gold for answer in changed.shown]
    assert found["rows"][0]["pruned"] == [["the ", 0], [changed.shown[0].pruned[1][0], 1]]


@pytest.mark.parametrize("length", [30_000, 1_000_000])
def test_the_page_stays_small_and_says_what_it_leaves_out(length: int) -> None:
    changed = made_changes(500)
    begin, end = "the first words ", " the last words"
    blocks = tuple(f"{begin}{number}{'é' * length}{end}" for number in range(500))
    shown = tuple(replace(answer, prompt=(number,)) for number, answer in enumerate(changed.shown))
    page = render(made_summary(changed=replace(changed, blocks=blocks, shown=shown)), "report.html.j2")
    assert len(page.encode()) < 5_000_000
    assert page.count("characters are left out here") >= 500
    assert page.count(end) >= 500, "a prompt's question stands at its end"
    assert page.count(begin) >= 500


@pytest.mark.parametrize("sizes", [(30,), (10, 10, 10), (1,) * 30, (0, 29, 1), (15, 0, 15)])
def test_only_the_middle_is_lost(sizes: tuple[int, ...]) -> None:
    text = "abcdefghijklmnopqrstuvwxyzABCD"
    pieces, at = [], 0
    for number, size in enumerate(sizes):
        pieces.append((text[at : at + size], bool(number % 2)))
        at += size
    assert "".join(piece for piece, _ in shorten(tuple(pieces), 30)) == text
    found = list(shorten(tuple(pieces), 10))
    note = "\n[... 20 characters are left out here ...]\n"
    assert "".join(piece for piece, _ in found) == f"abcde{note}zABCD"
    marked = {letter: is_marked for piece, is_marked in pieces for letter in piece}
    assert all(marked[letter] == is_marked for piece, is_marked in found if piece != note for letter in piece)


EARLIER = made_check("boolq", "acc", "pass", 0.8, 0.79, is_earlier=True)
UNCHANGED = made_check("boolq", "acc", "pass", 0.8, 0.8, lost=0, gained=0)
BROKEN = not_measured("gsm8k", "accuracy", "error", "it broke")


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (EARLIER, "were not compared in this run"),
        (UNCHANGED, "No answer changed: both models did equally well"),
        (BROKEN, "No answers were compared, so that none is known to have changed"),
    ],
)
def test_no_answers_to_show_and_why(check: CheckSummary, said: str) -> None:
    page = render(made_summary((check,), changes=0), "report.html.j2")
    assert said in page
    assert "changed-data" not in page.partition("<main>")[2].partition("</main>")[0]
