"""The history: what a run adds, what a crash may leave, what is read again, and what is shown of it."""

from __future__ import annotations

import html.parser
import json
import os
import re
import resource
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.made_summary import made_check, made_model, made_summary, not_measured

from pytest_prunegate.__main__ import main
from pytest_prunegate.report.history.records import HISTORY_FILE, append_run, read_history
from pytest_prunegate.report.summary.check_records import CheckSummary, LossOnScale

if TYPE_CHECKING:
    from pathlib import Path

USAGE = 2


def check(drop: float, *, limit: float = 0.05, name: str = "acc", day: int = 1, **changes: Any) -> CheckSummary:
    """A check of boolq that lost so much."""
    outcome = "pass" if drop <= limit else "fail"
    made = made_check(
        "boolq", name, outcome, 0.8, 0.8 * (1 - drop), thresholds=(f"relative drop at most {limit:.0%}",), measured=when(day)
    )  # fmt: skip
    scale = LossOnScale(drop=drop, low=drop - 0.03, high=drop + 0.03, limit=limit)
    return replace(made, scale=scale, **changes)


def when(day: int) -> str:
    return f"2026-11-{day:02d}T10:00:00+00:00"


def add(folder: Path, day: int, *checks: CheckSummary, name: str | None = "wanda50", fingerprint: str = "1" * 32, **changes: Any) -> None:  # fmt: skip
    """Append a run of that day."""
    models = {"original": made_model("original"), "pruned": made_model("pruned", name=name, fingerprint=fingerprint)}
    append_run(made_summary(checks, changes=0, started=when(day), models=models, **changes), folder)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main(["history", *map(str, arguments)])
        except SystemExit as error:  # argparse
            code = int(str(error.code))
        return code, *capsys.readouterr()

    return run


def test_a_line_has_what_is_shown_later(tmp_path: Path) -> None:
    path = append_run(made_summary(), tmp_path)
    assert path == tmp_path / HISTORY_FILE
    (line,) = path.read_text().splitlines()
    found = json.loads(line)
    assert (found["verdict"], found["started"], found["thresholds_file"]) == ("fail", when(25), "thresholds.yaml")
    assert found["models"]["pruned"] == {
        "name": "wanda50", "path": "/models/pruned", "fingerprint": "1" * 32, "sparsity": pytest.approx(0.4885),
    }  # fmt: skip
    by_name = {f"{one['task']}::{one['name']}": one for one in found["checks"]}
    f1 = by_name["squadv2::f1"]
    assert (f1["original"], f1["pruned"], f1["limit"], f1["lost"], f1["documents"]) == (0.73, 0.67, 0.05, 21, 200)
    assert f1["relative_drop"] == pytest.approx(0.06 / 0.73), "positive is worse"
    assert f1["interval"] == pytest.approx([0.06 / 0.73 - 0.03, 0.06 / 0.73 + 0.03])
    assert by_name["boolq::acc"]["is_earlier"]
    assert by_name["boolq::acc"]["measured"] == when(24)
    assert by_name["gsm8k_cot::accuracy"]["outcome"] == "error"
    (run,) = read_history([tmp_path]).runs
    assert run.candidate == "wanda50"


def test_a_torn_line_spoils_no_other(tmp_path: Path, told: Any) -> None:
    for day in (1, 2):
        add(tmp_path, day, check(0.01, day=day))
    path = tmp_path / HISTORY_FILE
    path.write_bytes(path.read_bytes()[:-300])  # a machine went down
    add(tmp_path, 3, check(0.02, day=3))
    history = read_history([path])
    assert [run.started for run in history.runs] == [when(1), when(3)]
    (problem,) = history.problems
    assert problem == f"{path}:2: is damaged and left out (Input data was truncated)."
    code, out, err = told(tmp_path)
    assert (code, err) == (0, f"{problem}\n")
    assert out.count("boolq::acc") == 1
    assert out.count("2026-11-") == 2


def test_a_full_disk_costs_this_line_alone(tmp_path: Path) -> None:
    """The kernel takes a part of the line, as it does on a disk that is full."""
    add(tmp_path, 1, check(0.01))
    path = tmp_path / HISTORY_FILE
    size = path.stat().st_size
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
        try:
            add(tmp_path, 2, check(0.02))
        except OSError as error:
            os._exit(7 if "could not be added to (" in str(error) else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7, "it is an error that is told"
    assert path.stat().st_size == size + 100, "a part was written"
    add(tmp_path, 3, check(0.03))
    history = read_history([path])
    assert [run.started for run in history.runs] == [when(1), when(3)]
    assert len(history.problems) == 1


@pytest.mark.parametrize(
    ("change", "told_as"),
    [
        (lambda line: line.replace('"version": 1', '"version": 9'), "version 9; 1 is known"),
        (lambda line: line.replace('"original": 0.8', '"original": "0.8"'), "Expected `float | null`, got `str` - at `$.checks[0].original`"),
        (lambda line: line.replace('"original": 0.8', '"original": NaN'), "JSON is malformed: invalid character"),
        (lambda line: line.replace('"original": 0.8', '"original": true'), "Expected `float | null`, got `bool` - at `$.checks[0].original`"),
        (lambda line: line.replace('"outcome"', '"otucome"'), "missing required field `outcome` - at `$.checks[0]`"),
        (lambda line: line.replace(when(1), "yesterday"), "Invalid isoformat"),
        (lambda line: "[" * 100_000, "maximum recursion depth exceeded"),
        (lambda line: "[]", "version None; 1 is known"),
        (lambda line: "\udcff", "JSON is malformed"),
        (lambda line: line.replace('"interval": [', '"interval": ["x", '), "Expected `array` of length 2, got 3 - at `$.checks[0].interval`"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_told_with_its_number(tmp_path: Path, change: Any, told_as: str) -> None:
    add(tmp_path, 1, check(0.01))
    path = tmp_path / HISTORY_FILE
    good = path.read_text().rstrip()
    path.write_text(f"{good}\n\n{change(good)}\n", errors="surrogateescape")
    history = read_history([path])
    assert len(history.runs) == 1
    (problem,) = history.problems
    assert problem.startswith(f"{path}:3: ")
    assert told_as in problem


def test_the_table(tmp_path: Path, told: Any) -> None:
    add(tmp_path, 1, check(0.02, day=1))
    add(tmp_path, 2, check(0.07, day=2), name="a-very-long-name-of-a-candidate-2of4")
    add(tmp_path, 3, check(0.02, day=3), fingerprint="2" * 32)
    add(tmp_path, 4, check(0.04, limit=0.03, day=4), fingerprint="2" * 32)
    add(tmp_path, 5, not_measured("boolq", "acc", "error", "broke", thresholds=("relative drop at most 3%",)), fingerprint="2" * 32)  # fmt: skip
    add(tmp_path, 6, check(0.04, limit=0.03, day=4, is_earlier=True), fingerprint="2" * 32)
    code, out, err = told(tmp_path)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert re.findall(r"^2026-11-(\d\d) 10:00 \S+ +(\S+) +(\S+) .* (\S+) ([A-Z]+(?: =)?)$", out, re.MULTILINE) == [
        ("01", "0.7840", "+2.00%", "5%", "PASS"), ("02", "0.7440", "+7.00%", "5%", "FAIL"), ("03", "0.7840", "+2.00%", "5%", "PASS"),
        ("04", "0.7680", "+4.00%", "3%", "FAIL"), ("05", "-", "-", "-", "ERROR"), ("06", "0.7680", "+4.00%", "3%", "FAIL ="),
    ]  # fmt: skip
    assert out.count("- another pruned model under the same name (11111111 before, 22222222 now)") == 1
    assert out.count("- threshold: relative drop at most 3% (before: relative drop at most 5%)") == 1
    assert "=: measured by an earlier run." in out


def test_what_is_chosen(tmp_path: Path, told: Any) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    for day in range(1, 26):
        add(first, day, check(0.01, day=day), check(0.02, day=day, name="f1"))
    add(second, 26, check(0.03, day=26), name="other")
    code, out, _ = told(first, second / HISTORY_FILE, "--metric=acc")
    assert code == 0
    assert out.count("2026-11-") == 20, "the last twenty"
    assert "6 earlier runs are not printed: --last=26 prints all." in out
    assert told(first, second, "--metric=acc", "--last=26")[1].count("2026-11-") == 26
    assert told(first, second, "--candidate=other", "--task=boolq")[1].count("2026-11-") == 1
    assert "f1" not in told(first, "--metric", "acc", "--last", 2)[1]
    for option, known in (("--task=mmlu", "boolq"), ("--metric=em", "acc, f1"), ("--candidate=x", "wanda50")):
        code, out, err = told(first, option)
        assert (code, out) == (USAGE, "")
        assert err == f"{option.replace('=', ' ')}: the history has none of that name. It has: {known}.\n"
    assert "a whole number from 1 on" in told(first, "--last=0")[2]


def test_a_run_that_two_files_have_counts_once(tmp_path: Path) -> None:
    add(tmp_path, 1, check(0.01))
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((tmp_path / HISTORY_FILE).read_bytes())
    assert len(read_history([tmp_path, copy]).runs) == 1


def test_a_missing_file_names_the_way(tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = told()
    assert (code, out) == (USAGE, "")
    assert err.startswith(
        "prunegate-results: is not there. Every finished run of two models adds a line to history.jsonl"
    )
    (tmp_path / "results").mkdir()
    assert told("results")[2].startswith("results/history.jsonl: is not there.")
    (tmp_path / "results" / HISTORY_FILE).write_text("")
    assert told("results", "--html=page.html")[:2] == (0, "No finished run is in the history.\n")
    assert "No finished run is in it." in (tmp_path / "page.html").read_text()
    assert "--html=none/page.html: there is no folder none." in told("results", "--html=none/page.html")[2]


class Page(html.parser.HTMLParser):
    """What a page holds: its figures as XML, its tables' rows, and everything that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.figures = [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314 - our own
        self.rows = [row for row in re.findall(r'<tr class="(\w+)( again)?">', text) if row[0] != "since"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page(tmp_path: Path, told: Any, *arguments: object) -> Page:
    code, _, err = told(*arguments, f"--html={tmp_path / 'history.html'}")
    assert code == 0, err
    return Page((tmp_path / "history.html").read_text())


def paths(figure: ET.Element, colour: str) -> list[str]:
    """The drawn lines of a colour."""
    return [
        element.attrib["d"] for element in figure.iter()
        if element.tag.endswith("path") and f"stroke: {colour}" in element.get("style", "") and "d" in element.attrib
    ]  # fmt: skip


def test_the_page(tmp_path: Path, told: Any) -> None:
    add(tmp_path, 1, check(0.02, day=1), check(0.02, day=1, name="f1"))
    add(
        tmp_path, 2, not_measured("boolq", "acc", "error", "broke"), check(0.04, day=2, name="f1"), fingerprint="2" * 32
    )
    add(
        tmp_path,
        3,
        check(0.04, limit=0.03, day=3),
        check(0.04, day=2, name="f1", is_earlier=True),
        fingerprint="2" * 32,
    )
    found = page(tmp_path, told, tmp_path)
    assert [title.text for figure in found.figures for title in figure.iter() if title.tag.endswith("title")] == [
        "boolq::acc over 3 runs", "boolq::f1 over 3 runs",
    ]  # fmt: skip
    text = (tmp_path / "history.html").read_text()
    assert "2 measurements of wanda50." in text, "f1 of the third run is that of the second"
    assert found.rows == [("fail", ""), ("error", ""), ("pass", ""), ("pass", " again"), ("pass", ""), ("pass", "")]
    acc = "".join(found.figures[0].itertext())
    assert "no figure: an error" in acc
    assert "another model of that name" in acc
    threshold = max(paths(found.figures[0], "var(--fail, #e5484d)"), key=len)
    assert len({point.split()[1] for point in re.split("[ML]", threshold) if point.split()[1:]}) == 2, "a step"
    broken = [line for line in paths(found.figures[0], "var(--accent, #3b82f6)") if line.count("M") == 2]
    assert broken, "no line goes over the run that has no figure"
    assert not [tag for tag, _ in found.tags if tag in {"script", "link", "img", "iframe"}]
    assert not re.search(r"""(?:src|href)=["'](?!#)""", text), "nothing comes from anywhere"


def test_five_hundred_runs(tmp_path: Path, told: Any) -> None:
    add(tmp_path, 1, check(0.02))
    path = tmp_path / HISTORY_FILE
    line = path.read_text()
    moments = (f"2026-{1 + n // 50:02d}-{1 + n % 28:02d}T{n % 24:02d}:{n % 60:02d}:00+00:00" for n in range(500))
    path.write_text("".join(line.replace(when(1), moment) for moment in moments))
    found = page(tmp_path, told, tmp_path)
    assert len(found.rows) == 500
    labels = re.findall(r"\b2026-\d\d-\d\d\b", "".join(found.figures[0].itertext()))
    assert len(labels) <= 4, "an axis that can be read"
    assert (tmp_path / "history.html").stat().st_size < 1_000_000


def test_one_run_and_a_check_without_a_drop(tmp_path: Path, told: Any) -> None:
    """Sparsity has no drop, and so no second panel; nothing has a line with one run alone."""
    sparsity = made_check(
        "sparsity", "min", "pass", 0.0, 0.5, metric="sparsity", relative=None, interval=None, scale=None
    )
    add(tmp_path, 1, sparsity, check(0.01))
    found = page(tmp_path, told, tmp_path)
    assert ["relative drop" in "".join(figure.itertext()) for figure in found.figures] == [False, True]


def test_plots_that_cannot_be_drawn_cost_no_table(tmp_path: Path, told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    add(tmp_path, 1, check(0.01))
    monkeypatch.setattr("pytest_prunegate.report.history.page.new_axes", lambda *_, **__: 1 / 0)
    found = page(tmp_path, told, tmp_path)
    assert found.rows == [("pass", "")]
    assert "They could not be drawn: ZeroDivisionError" in (tmp_path / "history.html").read_text()


def test_unbounded_intervals_are_drawn_and_said(tmp_path: Path, told: Any) -> None:
    interval = made_check("boolq", "acc", "pass", 0.5, 0.5).interval
    assert interval is not None
    add(tmp_path, 1, check(0.01, interval=replace(interval, relative=(None, None))))
    add(tmp_path, 2, check(0.01, interval=replace(interval, relative=(-0.02, None))))
    assert len(page(tmp_path, told, tmp_path).figures) == 1
    out = told(tmp_path)[1]
    assert "unbounded" in out
    assert "-2.0% or more" in out


HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*[x](y)\n#"


def test_hostile_names_stay_text(tmp_path: Path, told: Any) -> None:
    evil = replace(check(0.01), task=HOSTILE, name=HOSTILE, thresholds=(HOSTILE,))
    add(tmp_path, 1, evil, name=None)
    models = {"original": made_model("original"), "pruned": made_model("pruned", name=HOSTILE, fingerprint=HOSTILE)}
    append_run(made_summary((replace(evil, thresholds=("x",)),), changes=0, started=when(2), models=models), tmp_path)
    append_run(made_summary((evil,), changes=0, started=when(3), models={**models, "pruned": made_model("pruned", name=HOSTILE)}), tmp_path)  # fmt: skip
    found = page(tmp_path, told, tmp_path)
    text = (tmp_path / "history.html").read_text()
    assert not [tag for tag, _ in found.tags if tag == "script"]
    assert "\x1b" not in text
    assert "\u202e" not in text
    _, out, _ = told(tmp_path)
    assert "\x1b" not in out
    assert len(out.splitlines()) < 20, "no name breaks a line"
