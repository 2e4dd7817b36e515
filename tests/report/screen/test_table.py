"""The table in the terminal: it fits, it keeps checks apart, and it loses nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support.golden import assert_golden
from support.hostile_texts import HOSTILE
from support.made_summary import made_check, made_summary, not_measured

from pytest_prunegate.report.screen.marked_lines import text_of, width_of, wrapped
from pytest_prunegate.report.screen.table import table_lines, table_rows
from pytest_prunegate.report.screen.terminal import said_lines

if TYPE_CHECKING:
    from pytest_prunegate.report.summary.check_records import CheckSummary


def lines(*checks: CheckSummary, width: int = 80) -> list[str]:
    return [text_of(line) for line in table_lines(table_rows(made_summary(checks or None)), width)]


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_golden(width: int) -> None:
    assert_golden(f"table_{width}.txt", "\n".join([*lines(width=width), ""]))


def many_kinds() -> list[CheckSummary]:
    """Whatever makes a row wide."""
    long, windows = "leaderboard_math_counting_and_{}_hard_with_a_rather_long_name", "windows of 2048 tokens"
    several = ("relative drop at most 12.50%", "absolute drop at most 0.0300", "score at least 0.123456789012345678")
    changes: list[dict[str, Any]] = [
        {"task": long.format("geometry")}, {"task": long.format("probability")}, {"name": "exact_match,a-very-long-filter-of-ones-own"},
        {"task": "x" * 170}, {"task": "中文阅读理解与推理" * 6, "name": "准确率"}, {"thresholds": several}, {"thresholds": ()},
        {"outcome": "baseline", "is_earlier": True}, {"outcome": "recorded"}, {"outcome": "inconclusive", "documents": 99_999, "total_documents": 999_999},
        {"documents": 14, "total_documents": 1410, "unit": windows, "pruned": 3.2e30, "relative": -4.5e29, "difference": 3.2e30},
        {"original": -12345.678, "pruned": -123456.789, "relative": -98.7654},
    ]  # fmt: skip
    usual: dict[str, Any] = {"task": "boolq", "name": "acc", "outcome": "fail", "original": 0.4, "pruned": 0.3}
    return [made_check(**(usual | change)) for change in changes] + [not_measured("rte", "acc", "error", "because")]


@pytest.mark.parametrize("width", [0, 40, 80, 81, 97, 113, 129, 151, 200, 400])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Each check by itself, and all together; a terminal narrower than 80 gets 80."""
    checks = many_kinds()
    for shown in ([*checks], *([check] for check in checks), checks[2:5], checks[5:9]):
        for line in lines(*shown, width=width):
            assert width_of(line) <= max(80, width)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_names_are_whole_and_told_apart(width: int) -> None:
    text = "".join(line.strip() for line in lines(*many_kinds(), width=width))
    for check in many_kinds():
        assert check.task in text
        assert check.name in text


def test_a_long_name_takes_a_line_and_no_column_from_others() -> None:
    table = lines(
        made_check("boolq", "acc", "pass", 0.4, 0.39), made_check("m" * 60, "acc", "fail", 0.4, 0.3), width=110
    )
    assert table[1].split() == ["boolq", "acc", "0.4000", "0.3900", "-0.0100", "-2.50%", "drop", "5%", "200", "PASS"]
    assert table[2] == f"{'m' * 60}  acc"
    assert table[3].split() == ["0.4000", "0.3000", "-0.1000", "-25.00%", "drop", "5%", "200", "FAIL"]
    assert table[3].index("0.4000") == table[1].index("0.4000")


def test_what_has_no_room_is_said_below() -> None:
    """Days of earlier runs, and what a perplexity is over, stand in the table where there is room, and below it elsewhere."""
    wiki = made_check(
        "wikitext2",
        "perplexity",
        "fail",
        18.42,
        20.61,
        documents=14,
        total_documents=141,
        unit="windows of 2048 tokens",
    )
    earlier = [
        made_check(task, "acc", "pass", 0.8, 0.79, is_earlier=True, measured=f"2026-11-2{day}T10")
        for task, day in (("a", 3), ("b", 4), ("c", 3))
    ]
    narrow, wide = lines(wiki, *earlier), lines(wiki, *earlier, width=200)
    assert narrow[-2:] == [
        "* Measured by an earlier run: a acc, c acc on 2026-11-23; b acc on 2026-11-24.",
        "wikitext2 perplexity: on 14 of 141 windows of 2048 tokens.",
    ]
    assert [line.split()[-1] for line in narrow[1:5]] == ["FAIL", "PASS*", "PASS*", "PASS*"]
    assert len(wide) == 5
    assert wide[1].endswith("14 of 141 windows of 2048 tokens  FAIL")
    assert wide[2].endswith("PASS (2026-11-23)")


def test_every_threshold_stands_in_its_column() -> None:
    both = ("relative drop at most 5%", "score at least 0.1")
    _, first, second = lines(made_check("boolq", "acc", "fail", 0.4, 0.3, thresholds=both))
    assert second.strip() == "score 0.1"
    assert second.index("score 0.1") == first.index("drop 5%")


def test_only_the_verdict_is_coloured() -> None:
    rows = table_rows(made_summary())
    kinds = {line[-1] for line in table_lines(rows, 80) if len(line) > 1}
    assert {
        ("PASS", "good"),
        ("PASS*", "good"),
        ("FAIL", "bad"),
        ("ERROR", "doubt"),
        ("INCONCLUSIVE", "doubt"),
        ("-", "dim"),
    } < kinds
    assert all(kind in {"", "strong"} for line in table_lines(rows, 80) for _, kind in line[:-1])


def test_sentences_are_wrapped_between_words_and_outside_of_commands() -> None:
    command = "pytest --original='/models/a b' --pruned=/models/" + "x" * 90
    text = f"Every answer so far is kept, whatever happens in what follows this rather long sentence. To go on from there: {command}"
    *said, last = wrapped(text, 80)
    assert last == command
    assert " ".join([*said, last]) == text
    assert max(map(len, said)) <= 80
    path = "/a/path/" + "y" * 100
    assert list(wrapped(f"In {path}: nothing  stays", 80, indent="  ")) == ["In", f"  {path}:", "  nothing  stays"]


@pytest.mark.parametrize("name", HOSTILE)
def test_foreign_names_stay_inert_and_bounded(name: str) -> None:
    text = HOSTILE[name][:20_000]
    check = made_check(text, text, "fail", 0.4, 0.3, thresholds=(text[:50],), unit=text, measured=text, is_earlier=True)
    for width in (80, 200):
        table = lines(check, width=width)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", "".join(table))
        rows = table[: next((number for number, line in enumerate(table) if line.startswith("* Measured")), None)]
        assert all(width_of(line) <= width for line in rows)


@pytest.mark.parametrize(
    ("line", "least"),
    [("original: /models/a (x)", 0), ("wanda-50: /models/b (x)", 0), ("settings: thresholds.yaml", 0), ("task:     gsm8k: all", 0), ("", 0),
     ("check:    gsm8k acc: 20 documents resolve", 1), ("time:     about 3 s", -1), ("note:     expect it", -1), ("          Both are the same model: x", -2), ("problem:  it cannot run", -2),
     ("preflight: no problem was found", -2), ("/out/evaluation.log is not whole: disk full", -2)],
)  # fmt: skip
def test_what_quiet_runs_say_beforehand(line: str, least: int) -> None:
    for verbosity in (1, 0, -1, -2):
        assert list(said_lines(line, width=80, verbosity=verbosity)) == ([line] if verbosity >= least else [])


def test_settings_are_wrapped_behind_their_label() -> None:
    line = "task:     gsm8k: all 1319 documents, 5 shots, 2638 requests, 12 of them in the store"
    assert list(said_lines(line, width=40, verbosity=0)) == [
        "task:     gsm8k: all 1319 documents, 5 shots, 2638 requests, 12 of them in the",
        "          store",
    ]
