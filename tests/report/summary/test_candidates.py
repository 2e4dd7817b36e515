"""The overview of several candidates: its first line, its tables, its files, and that nothing comes of foreign texts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jsonschema
import pytest
from markdown_it import MarkdownIt
from support import hostile_texts
from support.golden import assert_golden
from support.hostile_texts import HOSTILE, interval_in_words, parsed, structure, summary_with
from support.made_candidates import NAMES, made_candidates, made_entry, six_entries
from support.made_summary import made_check, not_measured

from pytest_prunegate.input.options import Require
from pytest_prunegate.report.files.report_files import write_candidates
from pytest_prunegate.report.page import candidate_page
from pytest_prunegate.report.screen.table import candidate_lines
from pytest_prunegate.report.summary.candidates import CandidateEntry, build_candidates
from pytest_prunegate.report.summary.headline import overall_verdict
from pytest_prunegate.report.summary.values import RunVerdict
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_prunegate.report.summary.candidate_records import CandidatesSummary

SCHEMA: dict[str, Any] = json.loads(resource_path("candidates.schema.json").read_text(encoding="utf-8"))


def written(summary: CandidatesSummary, folder: Path) -> tuple[dict[str, Any], str, str]:
    """The JSON results, the Markdown and the page."""
    results, markdown, page = (path.read_text(encoding="utf-8") for path in write_candidates(summary, folder))
    return json.loads(results), markdown, page


def passing(name: str = "good") -> CandidateEntry:
    return made_entry(name, (made_check("boolq", "acc", "pass", 0.8, 0.79),))


def failing(name: str = "bad") -> CandidateEntry:
    return made_entry(name, (made_check("boolq", "acc", "fail", 0.8, 0.6),))


def errored(name: str = "broken") -> CandidateEntry:
    return made_entry(name, (not_measured("boolq", "acc", "error", "boolq: the model raised."),))


def idle(name: str = "idle") -> CandidateEntry:
    return made_entry(name, (not_measured("boolq", "acc", "not run", "not run"),))


@pytest.mark.parametrize(
    ("entries", "require", "line"),
    [
        ([passing(), passing("other")], Require.ALL, "PASS: 2 of 2 candidates pass, all have to"),
        ([passing(), failing()], Require.ALL, "FAIL: 1 of 2 candidates passes (good), all have to; 1 fails"),
        ([passing(), failing()], Require.ANY, "PASS: 1 of 2 candidates passes (good), one has to; 1 fails"),
        ([failing(), failing("worse")], Require.ANY, "FAIL: 0 of 2 candidates pass, one has to; 2 fail"),
        ([failing(), errored()], Require.ANY, "INCOMPLETE, ERROR: 0 of 2 candidates pass, one has to; 1 fails, 1 ended in an error. 1 of 2 checks measured"),
        ([failing(), errored()], Require.ALL, "INCOMPLETE, FAIL: 0 of 2 candidates pass, all have to; 1 fails, 1 ended in an error. 1 of 2 checks measured"),
        ([passing(), idle()], Require.ANY, "INCOMPLETE, PASS: 1 of 2 candidates passes (good), one has to; 1 was not measured in full. 1 of 2 checks measured"),
        ([passing(), idle()], Require.ALL, "INCOMPLETE: 1 of 2 candidates passes (good), all have to; 1 was not measured in full. 1 of 2 checks measured"),
        ([errored()], Require.ALL, "INCOMPLETE, ERROR: 0 of 1 candidates pass, all have to; 1 ended in an error. 0 of 1 checks measured"),
    ],
)  # fmt: skip
def test_the_first_line(entries: list[CandidateEntry], require: Require, line: str, tmp_path: Path) -> None:
    summary = build_candidates(entries, require=require)
    assert summary.headline == line
    results, markdown, page = written(summary, tmp_path)
    assert markdown.startswith(f"# {line}\n")
    assert f">{line}</h1>" in page
    assert results["headline"] == line


@pytest.mark.parametrize("require", Require)
def test_one_inconclusive_candidate(require: Require) -> None:
    is_all, unsure = require is Require.ALL, RunVerdict.INCONCLUSIVE
    assert overall_verdict([RunVerdict.FAIL, unsure], require) == ("fail" if is_all else unsure)
    assert overall_verdict([RunVerdict.PASS, unsure], require) == (unsure if is_all else "pass")


def test_the_markdown_of_six_candidates(tmp_path: Path) -> None:
    """All in folders of one name; one with errors alone, one that is quantised, one not run, one measured on an earlier day."""
    summary = made_candidates()
    _, markdown, _ = written(summary, tmp_path)
    assert_golden("candidates.md", markdown)
    assert len(markdown.splitlines()) < 60
    rows = [token for token in MarkdownIt("commonmark").enable("table").parse(markdown) if token.type == "tr_open"]
    assert len(rows) == (1 + 6) + (1 + 10) + (1 + 7)
    cells = {line.count("|") - line.count(r"\|") for line in markdown.splitlines() if line.startswith("| ")}
    assert cells == {12, 10, 9}, "every row is as wide as its table"


def test_the_terminal_table(tmp_path: Path) -> None:
    lines = list(candidate_lines(made_candidates()))
    assert_golden("candidates_terminal.txt", "".join(f"{line}\n" for line, _ in lines))
    long = [made_entry(name * 100, (made_check("t" * 90, "acc", "fail", 0.8, 0.6),)) for name in "xz"]
    lines += candidate_lines(build_candidates(long, require=Require.ALL))
    assert max(len(line) for line, _ in lines) <= 80
    assert {outcome for line, outcome in lines if line.startswith("wanda50 ")} == {"fail"}


def test_the_page_leads_to_each_candidates_own_reports(tmp_path: Path) -> None:
    results, _, page = written(made_candidates(), tmp_path)
    links = {str(dict(attributes)["href"]) for tag, attributes in parsed(page).elements if tag == "a"}
    for name in NAMES:
        assert f"comparison_report_{name}.html" in links
        assert f"comparison_report_{name}.html#check-2" in links
    assert {file["name"] for row in results["candidates"] for file in row["files"]} >= {
        "comparison_report_wanda50.md", "comparison_results_wanda50.json",
    }  # fmt: skip
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|url\((?!#)|@import", page), "no network, no script"


def test_a_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    name = "../x y)](http://evil.example)#?%2f"
    _, markdown, page = written(build_candidates([passing(name), failing()], require=Require.ALL), tmp_path)
    addresses = [str(dict(attributes)["href"]) for tag, attributes in parsed(page).elements if tag == "a"]
    own = [address.partition("#check")[0] for address in addresses if address.startswith("comparison")]
    assert {unquote(address) for address in own} >= {f"comparison_report_{name}.html"}
    assert all(re.fullmatch(r"[\w.~%-]+", address) for address in own)
    links = [child.attrs["href"] for token in MarkdownIt("commonmark").enable("table").parse(markdown)
             for child in token.children or () if child.type == "link_open"]  # fmt: skip
    assert len(links) == 6
    assert all(str(link).startswith(("comparison_report_", "comparison_results_")) for link in links)


def test_the_plot_has_a_panel_for_each_check(tmp_path: Path) -> None:
    """With a mark for each candidate that has a figure and a sparsity; the others are named with the reason."""
    summary = made_candidates()
    assert [panel.name for panel in summary.plot] == [
        "perplexity", "f1", "exact_match", "HasAns_f1", "accuracy", "acc", "acc_norm",
    ]  # fmt: skip
    assert {point.name for panel in summary.plot for point in panel.points} == {"wanda50", "sparsegpt50", "magnitude50"}
    assert {one.name: one.reason for one in summary.unplaced} == {
        "wanda2to4": "no check of it has a figure",
        "gptq4bit": "its sparsity is not known: its weights are packed (gptq)",
        "llm-pruner20": "no check of it has a figure",
    }
    page = parsed(written(summary, tmp_path)[2])
    drawn = [str(dict(attributes)["aria-label"]) for tag, attributes in page.elements if tag == "svg"]
    assert len(drawn) == 7
    assert "wanda50: sparsity 48.9%, -8.22%, fail; sparsegpt50: sparsity 50.1%, -2.47%, pass" in drawn[1]
    ids = [str(dict(attributes)["id"]) for _, attributes in page.elements if "id" in dict(attributes)]
    assert len(ids) == len(set(ids))


def test_candidates_that_have_no_place_at_all(tmp_path: Path) -> None:
    entries = [
        made_entry(name, (made_check("boolq", "acc", "pass", 0.8, 0.79),), sparsity=None, sparsity_problem="served")
        for name in "ab"
    ]
    summary = build_candidates(entries, require=Require.ALL)
    _, _, page = written(summary, tmp_path)
    assert "<svg" not in page
    assert "No candidate has both a known sparsity and a figure." in page
    assert page.count("its sparsity is not known: served") == 2


def test_a_page_without_plots_where_they_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_summary: CandidatesSummary) -> list[str]:
        raise ImportError("no matplotlib <b>")

    monkeypatch.setattr(candidate_page, "candidate_plots", broken)
    _, _, page = written(made_candidates(), tmp_path)
    assert "The plots could not be drawn: ImportError: no matplotlib &lt;b&gt;." in page
    assert "Against the best candidate" in page


def test_who_comes_nearest_to_a_threshold() -> None:
    rows = made_candidates().candidates
    assert [row.worst and (row.worst.name, round(row.worst.relative, 4), row.worst.limit) for row in rows] == [
        ("f1", -0.0822, -0.05), ("f1", -0.0247, -0.05), ("perplexity", -0.2973, -0.1), None, ("f1", -0.0411, -0.05), None,
    ]  # fmt: skip


def test_what_must_be_known_first() -> None:
    twin = replace(passing("twin"), summary=passing().summary)
    same = made_entry("same", passing().summary.checks, fingerprint="0" * 32)
    elsewhere = made_entry(
        "elsewhere", (made_check("boolq", "acc", "pass", 0.75, 0.74, documents=90),), fingerprint="9" * 32
    )
    notes = build_candidates([passing(), twin, same, elsewhere], require=Require.ALL).notes
    assert notes[0] == "The pruned model's chat template differs from the original's."
    assert notes[1] == "good and twin are the same checkpoint."
    assert notes[2] == "same is the original itself."
    assert notes[3].startswith(
        "Judged on different documents, so that the original's score differs between candidates: boolq.acc."
    )


def test_a_single_candidate_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    summary = build_candidates([passing()], require=Require.ALL)
    results, markdown, page = written(summary, tmp_path)
    assert (summary.pairs_confidence, summary.checks[0].pairs) == (None, ())
    assert "Against the best" not in markdown + page
    refuse(results)


def hostile(text: str) -> CandidatesSummary:
    """Two candidates in whose summaries every text that can be foreign is this one; one of them is not measured."""
    made = summary_with(text)
    summary = replace(made, checks=tuple(replace(check, interval=interval_in_words(text)) for check in made.checks))
    entries = [CandidateEntry(name=name, gate=passing().gate, summary=summary) for name in ("one", "two")]
    overview = build_candidates(entries, require=Require.ALL)
    told = replace(made_candidates().checks[2].pairs[0], candidate="one", against="two", problem=text)
    checks = [replace(check, pairs=(told, replace(told, difference=None)), best="two") for check in overview.checks]
    return replace(overview, checks=tuple(checks), notes=(text,))


@pytest.mark.parametrize("name", hostile_texts.NAMES)
def test_nothing_comes_of_a_text(name: str, tmp_path: Path) -> None:
    usual_results, usual_markdown, usual_page = written(hostile("usual"), tmp_path)
    results, markdown, page = written(hostile(HOSTILE[name]), tmp_path)
    assert results.keys() == usual_results.keys()
    assert structure(markdown) == structure(usual_markdown)
    without_code = re.sub(r"^```$.*?^```$|(?<!\\)`[^`\n]*`", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in without_code
    assert [element[0] for element in parsed(page).elements] == [element[0] for element in parsed(usual_page).elements]
    assert len(page) < 60 * 210_000
    for output in (markdown, parsed(page).text, *(line for line, _ in candidate_lines(hostile(HOSTILE[name])))):
        output.encode()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", output)


def refuse(found: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(found)


def test_the_results_are_what_their_schema_says(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for number, summary in enumerate((made_candidates(), made_candidates(six_entries()[5:]))):
        results, _, _ = written(summary, tmp_path / str(number))
        refuse(results)
    results["checks"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        refuse(results)


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_candidates(made_candidates(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"candidates_results.json", "candidates_report.md", "candidates_report.html"}
    monkeypatch.setattr(
        "pytest_prunegate.report.page.renderer._shipped", None
    )  # rendering breaks before the first file
    with pytest.raises(TypeError):
        write_candidates(build_candidates([passing()], require=Require.ALL), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
