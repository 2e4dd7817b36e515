"""A failing check in the terminal: short lines, bounded, and inert whatever the models said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._io import TerminalWriter
from support.golden import assert_golden
from support.hostile_texts import HOSTILE, NAMES

from pytest_prunegate.input.file_rules import MIN_SPARSITY
from pytest_prunegate.input.rules import (
    MAX_ABSOLUTE_DROP,
    MAX_RELATIVE_DROP,
    MAX_RELATIVE_INCREASE,
    MAX_SHARE,
    MIN_RECOVERY,
    MIN_SCORE,
)
from pytest_prunegate.input.thresholds import Threshold
from pytest_prunegate.report.screen.failed_check import FailedCheck, LostAnswer, failed_check
from pytest_prunegate.report.screen.marked_lines import width_of
from pytest_prunegate.report.summary.wording import loss_text
from pytest_prunegate.tasks.checks import Check, Measure
from pytest_prunegate.verdict.compare import Comparison, broken_thresholds
from pytest_prunegate.verdict.outcome import Basis, Outcome
from pytest_prunegate.verdict.verdicts import CheckResult, Verdict

if TYPE_CHECKING:
    from pytest_prunegate.input.rule import Rule


def check_of(*thresholds: tuple[Rule, str], metric: str = "acc") -> Check:
    found = tuple(Threshold(rule=rule, value=_value(text), text=text, line=7) for rule, text in thresholds)
    return Check(
        task="boolq",
        name="acc",
        measure=Measure.METRIC,
        metric=metric,
        filter="none",
        thresholds=found,
        file="thresholds.yaml",
        line=7,
    )


def _value(text: str) -> Decimal:
    return Decimal(text.rstrip("%")) / (100 if text.endswith("%") else 1)


def result_of(check: Check, original: Fraction | None, pruned: Fraction, **changes: Any) -> CheckResult:
    """A check that failed, judged by its figures on 200 documents."""
    drop = None if original is None else original - pruned
    relative = drop / original if drop is not None and original else None
    comparison = Comparison(
        check=check, original=original, pruned=pruned, difference=None if drop is None else -drop, drop=drop, relative_drop=relative,
        recovery=None if relative is None else 1 - relative, documents=200, lost=21, gained=6,
        broken=broken_thresholds(check, pruned, drop, relative), silent=None,
    )  # fmt: skip
    values: dict[str, Any] = {"outcome": Outcome.FAIL, "documents": 200, "total": 200, "unit": "documents"} | changes
    verdict = Verdict(
        outcome=values["outcome"], basis=Basis.MEASURED, used=200, total=values["total"], needed=(120, 300)
    )
    return CheckResult(
        check=check, comparison=replace(comparison, **values.pop("compared", {})), verdict=verdict, **values
    )


def shown(result: CheckResult, *answers: LostAnswer, **changes: Any) -> FailedCheck:
    values: dict[str, Any] = {
        "name": "acc", "path": "/project/thresholds.yaml", "rest": "prunegate-results/comparison_report.html, changed.jsonl beside it",
        "command": "pytest --original=a --pruned=b thresholds.yaml::boolq::acc", "in_full": False, "is_one_line": False,
    }  # fmt: skip
    return failed_check(result, answers, **(values | changes))


DROP = result_of(check_of((MAX_RELATIVE_DROP, "5%")), Fraction(8, 10), Fraction(7, 10))
LONG = "A quite long story of which only some matters, as it is told and told again. " * 20
ANSWER = LostAnswer(
    document="mmlu_law document 17",
    question=f"{LONG}Is it so?",
    gold="yes",
    original=f"First.{LONG}So: yes.",
    pruned="no",
)


@pytest.mark.parametrize(
    ("rule", "threshold", "expected"),
    [
        (MAX_RELATIVE_DROP, "5%", "relative drop 12.50%, threshold 5%"),
        (MAX_RELATIVE_DROP, "12.499%", "relative drop 12.500%, threshold 12.499%"),
        (MAX_RELATIVE_INCREASE, "5%", "relative increase 12.50%, threshold 5%"),
        (MAX_ABSOLUTE_DROP, "0.03", "absolute drop 0.1000, threshold 0.03"),
        (MIN_RECOVERY, "95%", "recovery 87.50%, threshold 95%"),
        (MIN_SCORE, "0.75", "score 0.7000, threshold 0.75"),
        (MAX_SHARE, "60%", "share 70.00%, threshold 60%"),
        (MIN_SPARSITY, "75%", "sparsity 70.00%, threshold 75%"),
    ],
)
def test_one_line_says_what_was_lost(rule: Rule, threshold: str, expected: str) -> None:
    """Beside its threshold, with as many decimals as tell them apart."""
    failed = shown(result_of(check_of((rule, threshold)), Fraction(8, 10), Fraction(7, 10)))
    assert failed.reprcrash.message == expected
    assert str(failed.reprcrash) == f"thresholds.yaml:7: boolq acc: {expected}"
    assert str(failed).startswith(f"{failed.reprcrash}\n")


def test_only_what_broke_is_in_the_line() -> None:
    check = check_of((MAX_RELATIVE_DROP, "20%"), (MIN_SCORE, "0.75"), (MAX_ABSOLUTE_DROP, "0.05"))
    result = result_of(check, Fraction(8, 10), Fraction(7, 10))
    assert loss_text(result) == "score 0.7000, threshold 0.75; absolute drop 0.1000, threshold 0.05"
    assert "Broken: score at least 0.75; absolute drop at most 0.05." in str(shown(result))
    assert loss_text(replace(result, outcome=Outcome.INCONCLUSIVE)).startswith(
        "inconclusive: relative drop 12.50%, threshold 20%; score"
    )
    silent = result_of(
        check, Fraction(8, 10), Fraction(0), compared={"silent": "all outputs of the pruned model are empty"}
    )
    assert loss_text(silent) == "all outputs of the pruned model are empty"


def test_golden() -> None:
    assert_golden("failing.txt", f"{shown(DROP, ANSWER, ANSWER)}\n")
    assert_golden("failing_in_full.txt", f"{shown(DROP, ANSWER, in_full=True)}\n")


def test_a_sparsity_says_zeros_and_weights() -> None:
    result = result_of(check_of((MIN_SPARSITY, "50%"), metric="sparsity"), Fraction(0), Fraction(12_345, 30_000), unit="weights",
                       documents=30_000, total=30_000, compared={"documents": 30_000, "lost": None, "gained": None})  # fmt: skip
    assert str(shown(result)).splitlines()[1:3] == ["scores:    0.0% -> 41.1%", "zeros:     12,345 of 30,000 weights"]


def test_inconclusive_says_what_would_decide() -> None:
    lines = str(
        shown(
            replace(result_of(DROP.check, Fraction(8, 10), Fraction(7, 10), outcome=Outcome.INCONCLUSIVE, total=1000))
        )
    ).splitlines()
    assert lines[0] == "thresholds.yaml:7: boolq acc: inconclusive: relative drop 12.50%, threshold 5%"
    assert "to decide: With about 300 more it decides in four cases of five; the full run" in lines


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("in_full", [False, True])
def test_answers_are_inert_and_bounded(name: str, in_full: bool) -> None:  # noqa: FBT001 - parametrized
    text = HOSTILE[name]
    failed = shown(
        DROP,
        LostAnswer(document=text, question=text, gold=text, original=text, pruned=text),
        name=text,
        in_full=in_full,
    )
    lines = str(failed).split("\n")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", "".join(lines))
    answers = lines[next(number for number, line in enumerate(lines) if line.startswith("    question")) :]
    assert all(width_of(line) <= 80 for line in answers if not line.startswith("Run it alone"))
    if not in_full:
        assert len(answers) <= 4 * 2 + 2
    str(failed).encode()


def test_the_same_in_another_process() -> None:
    failed = shown(DROP, ANSWER)
    again = FailedCheck.from_json(json.loads(json.dumps(failed.as_json())))
    assert again == failed


@pytest.mark.parametrize("has_markup", [False, True])
def test_one_line_asked_for_hides_the_others(has_markup: bool) -> None:  # noqa: FBT001 - parametrized
    """pytest writes the line itself; JUnit still has all of them."""
    for failed, is_empty in ((shown(DROP, ANSWER), False), (shown(DROP, ANSWER, is_one_line=True), True)):
        file = StringIO()
        writer = TerminalWriter(file)
        writer.hasmarkup = has_markup
        failed.toterminal(writer)
        assert (file.getvalue() == "") is is_empty
        assert ("\x1b" in file.getvalue()) is (has_markup and not is_empty)
        assert "\x1b" not in str(failed)
        assert "document 17" in str(failed)
