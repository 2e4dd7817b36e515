"""All that a run leaves for a reader, and whether it tells one story: screen, Markdown, HTML, JSON, JUnit, job summary, history."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    import pytest
    from conftest import Bench

INTERRUPTED = 2
_EXITS = {"FAIL": 1, "ERROR": 10, "INCONCLUSIVE": 11}
_LEVELS = {"fail": "error", "error": "error", "inconclusive": "warning"}
_NOT_MEASURED = {"not run", "error"}
_FIGURES = (
    "original",
    "pruned",
    "difference",
    "relative",
    "recovery",
    "interval",
    "lost",
    "gained",
    "documents",
    "scale",
)


def text_of(page: str) -> str:
    """The words of a piece of HTML, without those for its script and its plots."""
    page = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def history_of(bench: Bench) -> list[dict[str, Any]]:
    """The lines of history in the output folder."""
    path = bench.results / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """The outputs of one comparison; `name` is None where it is the only one, and `screen` its part of the screen."""

    folder: Path
    name: str | None
    screen: tuple[str, ...]

    def file(self, stem: str, ending: str) -> Path:
        """A file of its own, by the name that is the same for all of them."""
        return self.folder / f"{stem}{f'_{self.name}' if self.name else ''}.{ending}"

    @cached_property
    def results(self) -> dict[str, Any]:
        """The JSON results."""
        found: dict[str, Any] = json.loads(self.file("comparison_results", "json").read_text())
        return found

    @cached_property
    def markdown(self) -> str:
        return self.file("comparison_report", "md").read_text()

    @cached_property
    def page(self) -> str:
        return self.file("comparison_report", "html").read_text()

    @cached_property
    def changed(self) -> list[dict[str, Any]]:
        """The lines of the answers that changed; none where there is no file."""
        path = self.file("changed", "jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def checks(self) -> list[dict[str, Any]]:
        """Of the JSON results."""
        found: list[dict[str, Any]] = self.results["checks"]
        return found


class Outputs:
    """What a run of the bench left.

    Args:
        bench: its project.
        result: the run; it wrote junit.xml, and the job's summary to step.md.
        names: of several candidates.
        known: lines of history before it.
    """

    def __init__(self, bench: Bench, result: pytest.RunResult, *, names: tuple[str, ...], known: int) -> None:
        self.known = known
        self.bench, self.code, self.lines = bench, int(result.ret), result.outlines
        self.screen = "\n".join(self.lines)
        self.words = " ".join(self.screen.split())
        self.step = (bench.path / "step.md").read_text()
        self.junit = ET.parse(bench.path / "junit.xml").getroot()  # noqa: S314 - our own file
        self.history = history_of(bench)
        self.candidates = [
            Candidate(folder=bench.results, name=name, screen=tuple(self._section(name))) for name in names or (None,)
        ]

    @property
    def only(self) -> Candidate:
        """The only comparison."""
        (found,) = self.candidates
        return found

    @property
    def headline(self) -> str:
        """The last word of the screen."""
        overview = self.bench.results / "candidates_results.json"
        return str((json.loads(overview.read_text()) if overview.exists() else self.only.results)["headline"])

    def _section(self, name: str | None) -> list[str]:
        title = re.compile(rf"=+ original against {name or 'pruned'} =+")
        begin = next(number for number, line in enumerate(self.lines) if title.fullmatch(line))
        rest = self.lines[begin + 1 :]
        end = next((number for number, line in enumerate(rest) if re.match(r"=+ .* =+$", line)), len(rest))
        return rest[:end]

    def case(self, check: dict[str, Any], name: str | None) -> dict[str, str] | None:
        """What JUnit has of a check; None where it has no such test."""
        wanted = f"{check['task']} {check['name']}" + (f"[{name}]" if name else "")
        for case in self.junit.iter("testcase"):
            if case.get("name") == wanted:
                return {entry.attrib["name"]: entry.attrib["value"] for entry in case.iter("property")}
        return None


def assert_one_story(outputs: Outputs, *, interrupted: bool = False) -> None:
    """All outputs of a run agree with each other, with the exit code, and with the files that are there.

    Raises:
        AssertionError: a reader of one would believe something else than a reader of another.
    """
    for own in outputs.candidates:
        _headlines(outputs, own)
        _tables(own)
        _changed(own)
        _model_results(own)
        for check in own.checks:
            _unmeasured(check)
            _junit(outputs, own, check)
            _annotation(outputs, own, check)
    _last_word(outputs, interrupted=interrupted)
    _named_files(outputs)


def _headlines(outputs: Outputs, own: Candidate) -> None:
    said = own.results["headline"]
    assert own.markdown.splitlines()[0] == f"# {said}"
    assert text_of("".join(re.findall(r"<h1[^>]*>(.*?)</h1>", own.page))) == said
    assert text_of(re.findall(r"<title>(.*?)</title>", own.page)[0]) == said
    assert f"# {said}" in outputs.step.splitlines()
    assert said in own.screen
    measured = [check for check in own.checks if check["outcome"] not in _NOT_MEASURED]
    assert f"{len(measured)} of {len(own.checks)} checks measured" in said
    assert said.startswith("INCOMPLETE") == (len(measured) < len(own.checks))
    partial = sum(check["documents"] != check["total_documents"] for check in measured)
    earlier = sum(check["is_earlier"] for check in measured)
    assert (" in part" in said) == bool(partial)
    assert ("by earlier runs" in said) == bool(earlier)


def _tables(own: Candidate) -> None:
    """Outcome, n, lost and gained of each check, in all tables."""
    in_markdown = [[cell.strip() for cell in row.strip("|").split("|")] for row in own.markdown.split("## Task Results")[1].splitlines()
                   if row.startswith("| ")][2:]  # fmt: skip
    in_page = [[text_of(cell) for cell in re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", row)]
               for row in re.findall(r'<tr id="check-\d+".*?</tr>', own.page, re.DOTALL)]  # fmt: skip
    assert len(in_page) == len(own.checks)
    for check, shown, row in zip(own.checks, in_markdown, in_page, strict=False):
        title = f"{check['task']} {check['name']}"
        counted = "-" if check["documents"] is None else f"{check['documents']} of {check['total_documents']}"
        moved = ["-" if check[name] is None else str(check[name]) for name in ("lost", "gained")]
        outcome = check["outcome"].upper()
        assert [shown[0], *shown[7:10], shown[10].split(" (")[0].strip("*")] == [title, counted, *moved, outcome]
        assert [row[0], *row[7:10], row[10].split(" (")[0]] == [title, counted, *moved, outcome]
        (line,) = (line.split() for line in own.screen if line.split()[:2] == [check["task"], check["name"]])
        assert line[-1].strip("*") == ("-" if check["outcome"] == "not run" else outcome)
        n = {
            counted,
            counted.replace(" of ", "/"),
            *([str(check["documents"])] if check["documents"] == check["total_documents"] else []),
        }
        assert line[-2] in n or check["documents"] is None


def _changed(own: Candidate) -> None:
    """The counts of lost and gained are those of the file, of the sentence and of the page."""
    told = own.results["changed"]
    counts = {way: sum(line["change"] == way for line in own.changed) for way in ("lost", "gained")}
    assert (told["total"], told["lost"], told["gained"]) == (len(own.changed), counts["lost"], counts["gained"])
    assert told["file"] == (own.file("changed", "jsonl").name if own.changed else None)
    for check in own.checks:
        scores = [
            score
            for line in own.changed
            for score in line["scores"]
            if (line["task"], score["check"]) == (check["task"], check["name"])
        ]
        for way in ("lost", "gained"):
            assert (check[way] or 0) == sum(score["change"] == way for score in scores)
    page, sentence = text_of(own.page), f"{counts['lost']} lost, {counts['gained']} gained"
    assert (sentence in page) == (sentence in own.markdown) == bool(own.changed)
    compared = any(check["lost"] is not None for check in own.checks)
    assert ("No answer changed" in page) == (compared and not own.changed)
    assert ("No answers were compared" in page) == (not compared)


def _model_results(own: Candidate) -> None:
    files = {"pruned": own.file("pruned_model_results", "json")}
    if own.name is None:
        files["original"] = own.folder / "original_model_results.json"
    for side, path in files.items():
        found = json.loads(path.read_text())
        for check in own.checks:
            assert found["tasks"][check["task"]][check["name"]] == check[side]
            assert found["scored"][check["task"]][check["name"]] == check["documents"]


def _unmeasured(check: dict[str, Any]) -> None:
    """What was not measured has no figure of either side. Where the original scores 0 it was, and no verdict follows."""
    if check["outcome"] in _NOT_MEASURED and "the original model scores 0" not in check["reason"]:
        assert {name: check[name] for name in _FIGURES if check[name] is not None} == {}


def _junit(outputs: Outputs, own: Candidate, check: dict[str, Any]) -> None:
    case = outputs.case(check, own.name)
    ran = check["outcome"] != "not run" and not check["is_earlier"]
    assert (case is not None) == ran
    if case is not None:
        assert case["prunegate_verdict"] == check["outcome"]
        for name in ("lost", "gained", "documents"):
            assert case.get(f"prunegate_{name}") == (None if check[name] is None else str(check[name]))


def _annotation(outputs: Outputs, own: Candidate, check: dict[str, Any]) -> None:
    """One on the check's line for each that did not pass, as bad as it is."""
    title = (
        f"title={check['task']}%3A%3A{check['name']}{f'[{own.name}]' if own.name else ''} {check['outcome'].upper()}"
    )
    found = [line for line in outputs.lines if line.startswith("::") and title in line]
    if check["outcome"] not in _LEVELS:
        assert not found
        return
    level = "notice" if check["is_earlier"] else _LEVELS[check["outcome"]]
    assert [line.split(",title=")[0] for line in found] == [f"::{level} file=thresholds.yaml,line={check['line']}"]


def _last_word(outputs: Outputs, *, interrupted: bool) -> None:
    """The headline stands last on the screen, in JUnit, and fits the exit code; a line of history is a finished run."""
    assert outputs.headline in outputs.lines
    (said,) = (
        entry.attrib["value"]
        for suite in outputs.junit.iter("testsuite")
        for entry in suite.findall("./properties/property")
    )
    assert said == outputs.headline
    words = outputs.headline.split(":")[0].split(", ")
    expected = next((code for word, code in _EXITS.items() if word in words), 0)
    assert outputs.code == (INTERRUPTED if interrupted else expected)
    new = outputs.history[outputs.known :]
    assert len(new) == (0 if interrupted else len(outputs.candidates))
    for own, line in zip(outputs.candidates, new, strict=False):
        assert [check["outcome"] for check in line["checks"]] == [check["outcome"] for check in own.checks]
        assert line["started"] == own.results["started"]


def _named_files(outputs: Outputs) -> None:
    """Every file that is named is there; a job's summary, which has no files beside it, links to none."""
    folder = outputs.bench.results
    for path in re.findall(r"^Report: (.*)$", outputs.screen, re.MULTILINE):
        assert Path(path).is_file()
    for page, beside in re.findall(r"the rest: +(\S+),\s+(\S+)\s+beside it", outputs.screen):
        assert (outputs.bench.path / page).is_file()
        assert (outputs.bench.path / page).with_name(beside).is_file()
    for path in folder.glob("*.md"):
        text = path.read_text()
        for name in (*re.findall(r"\]\(([^)]+)\)", text), *re.findall(r"`([\w.]+\.jsonl)`", text)):
            assert (folder / name).is_file()
    for path in folder.glob("*.html"):
        for name in re.findall(r'<a [^>]*href="([^"#]+)"', path.read_text()):
            assert (folder / name.split("#")[0]).is_file()
    assert "](" not in outputs.step
