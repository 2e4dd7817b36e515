"""Checks that were measured, and of which no verdict follows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from support.scripted import THREE_TASKS

if TYPE_CHECKING:
    from conftest import Bench


def test_what_was_measured_is_shown_where_no_verdict_follows(bench: Bench) -> None:
    """The original scores 0: no relative drop, and figures all the same, with an answer from which one sees why."""
    bench.models(original={"wrong": list(range(20))}, pruned={"wrong": list(range(19))})
    bench.thresholds(THREE_TASKS)
    result = bench.run("-m", "gsm8k", "--junitxml=junit.xml")
    (check,) = [check for check in checks_of(bench) if check["task"] == "gsm8k"]
    assert (check["outcome"], check["original"], check["pruned"], check["documents"], check["total_documents"]) == (
        "error",
        0.0,
        0.05,
        20,
        20,
    )
    assert (check["difference"], check["relative"], check["lost"], check["gained"]) == (0.05, None, 0, 1)
    assert 'For example gsm8k, document 0: right is "' in check["reason"]
    assert '#### 0"; the original said " 99999" (strict-match: [invalid]); the pruned said " 99999" ' in check["reason"]
    assert result.ret == 10
    result.stdout.fnmatch_lines(["gsm8k *0.0000 *0.0500 *20 * ERROR"])
    log = (bench.results / "evaluation.log").read_text()
    assert "gsm8k, document 0: right is " in log
    written = (bench.path / "junit.xml").read_text()
    for figure in ("documents", "original", "pruned"):
        assert f'name="prunegate_{figure}"' in written
    bench.run("-m", "boolq")
    (kept,) = [check for check in checks_of(bench) if check["task"] == "gsm8k"]
    assert kept["outcome"] == "not run", "an error of yesterday is no figure of today's report"


def checks_of(bench: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((bench.results / "comparison_results.json").read_text())["checks"]
    return found
