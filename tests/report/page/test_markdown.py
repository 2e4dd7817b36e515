"""The Markdown report: what stands in it, and that a renderer makes of it what is meant."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from support.golden import assert_golden
from support.hostile_texts import HOSTILE, summary_with
from support.made_summary import made_check, made_summary, ten_checks

from pytest_prunegate.input.thresholds import Decision
from pytest_prunegate.report.page.renderer import render
from pytest_prunegate.report.summary.changed_records import ChangedAnswers
from pytest_prunegate.report.summary.check_records import DecisionSummary, PartSummary
from pytest_prunegate.report.summary.provenance import asked_decision
from pytest_prunegate.verdict.outcome import Basis, Outcome

if TYPE_CHECKING:
    from markdown_it.token import Token

    from pytest_prunegate.report.summary.records import Summary


def report(summary: Summary) -> str:
    return render(summary, "report.md.j2")


def parsed(text: str) -> list[Token]:
    """As GitHub reads it: CommonMark, tables and strikethrough."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, row by row, the head first."""
    found: list[list[list[str]]] = []
    tokens = parsed(text)
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in {"th_open", "td_open"}:
            found[-1][-1].append(after.content)
    return found


def headings(text: str) -> list[str]:
    tokens = parsed(text)
    return [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]


def test_the_report_of_every_kind_of_check() -> None:
    text = report(made_summary())
    assert_golden("report.md", text)
    assert len(text.splitlines()) < 60


def test_a_renderer_finds_the_verdict_and_a_row_for_each_check() -> None:
    summary = made_summary()
    text = report(summary)
    assert parsed(text)[0].tag == "h1"
    assert headings(text)[:4] == [summary.headline, "Model Information", "Summary", "Task Results"]
    [results] = [table for table in tables(text) if "Verdict" in table[0]]
    assert [row[0] for row in results[1:]] == [f"{check.task} {check.name}" for check in summary.checks]
    assert [row[-1].strip("*").split(" (")[0].lower() for row in results[1:]] == [
        check.outcome for check in summary.checks
    ]
    assert {len(row) for row in results} == {11}
    fences = [token.content for token in parsed(text) if token.type == "fence"]
    assert fences == [f"{summary.command}\n"]


def test_each_bad_check_says_why_and_the_worst_stand_first() -> None:
    items = [token.content for token in parsed(report(made_summary())) if token.type == "inline" and token.level == 3]
    assert [item.split("`")[0] for item in items[:5]] == [
        "**FAIL** ",
        "**FAIL** ",
        "**ERROR** ",
        "**INCONCLUSIVE** ",
        "**NOT RUN** ",
    ]
    for check in made_summary().checks:
        if check.outcome in {"fail", "error", "inconclusive"}:
            assert any(check.reason in item and check.location in item for item in items)


@pytest.mark.parametrize("name", [name for name in HOSTILE if len(HOSTILE[name]) < 1000])
def test_a_renderer_makes_nothing_of_a_text(name: str) -> None:
    """The blocks and marks that a harmless text gives; what it holds is text."""

    def shape(text: str) -> list[tuple[str, list[str]]]:
        return [
            (token.type, [child.type for child in token.children or () if child.type != "text"])
            for token in parsed(report(summary_with(text)))
        ]

    assert shape(HOSTILE[name]) == shape("usual")


def test_a_pass_on_a_part_says_of_what_it_is_an_estimate() -> None:
    decision = DecisionSummary(
        asked=asked_decision(Decision()), outcome=Outcome.PASS, basis=Basis.EARLY, error_rate=0.01, indifference=0.0, documents=90, of=400, is_estimate=True, estimate_of=None,
        needed=None, seed=1, checks=1, candidates=1, earlier_looks=(), strictest={}, note=None,
    )  # fmt: skip
    check = made_check(
        "boolq", "acc", "pass", 0.8, 0.79, decision=decision, reason="boolq acc: PASS after 90 of 400 documents."
    )
    assert "- boolq acc: PASS after 90 of 400 documents." in report(made_summary((check,)))
    full = replace(check, decision=replace(decision, is_estimate=False))
    assert "after 90" not in report(made_summary((full,))), "its row says it all"


def test_many_parts_are_the_worst_ones_and_the_rest_is_told_of() -> None:
    parts = tuple(
        PartSummary(by="subject", name=f"s{number}", documents=10, original=0.5, pruned=0.5 - number / 100, difference=-number / 100,
                    relative=-number / 50, lost=number, gained=0)
        for number in range(57)
    )  # fmt: skip
    text = report(made_summary((*ten_checks(), made_check("mmlu", "acc", "fail", 0.5, 0.4, parts=parts))))
    [table] = [table for table in tables(text) if table[0][1] == "Part"]
    assert [row[1] for row in table[1:] if row[0] == "mmlu acc"] == [
        f"subject: s{number}" for number in range(56, 48, -1)
    ]
    assert "at most 8 of each check" in text


def test_nothing_is_said_of_answers_that_nobody_compared() -> None:
    assert "Changed answers" not in report(made_summary(changed=ChangedAnswers()))
    assert "`changed.jsonl`" in report(made_summary())
