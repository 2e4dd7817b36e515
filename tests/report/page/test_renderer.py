"""What the HTML report carries beside the summary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.made_summary import made_changes, made_check, made_summary, not_measured

from pytest_prunegate.report.page.renderer import embedded, render

if TYPE_CHECKING:
    from pytest_prunegate.report.summary.check_records import CheckSummary


def test_the_answers_are_whole() -> None:
    changed = made_changes(40)
    found = json.loads(embedded(changed))
    assert found["blocks"] == list(changed.blocks)
    assert [row["gold"] for row in found["rows"]] == [answer.gold for answer in changed.shown]
    assert found["rows"][0]["pruned"] == [["the ", 0], [changed.shown[0].pruned[1][0], 1]]


EARLIER = made_check("boolq", "acc", "pass", 0.8, 0.79, is_earlier=True)
UNCHANGED = made_check("boolq", "acc", "pass", 0.8, 0.8, lost=0, gained=0)
BROKEN = not_measured("gsm8k", "accuracy", "error", "it broke")


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (EARLIER, "are not at hand"),
        (UNCHANGED, "No answer changed: both models did equally well"),
        (BROKEN, "No answers were compared, so that none is known to have changed"),
    ],
)
def test_no_answers_to_show_and_why(check: CheckSummary, said: str) -> None:
    page = render(made_summary((check,), changes=0), "report.html.j2")
    assert said in page
    assert "changed-data" not in page.partition("<main>")[2].partition("</main>")[0]
