"""A user's own templates: what is documented is there, what is inert, and whose fault is told where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.made_summary import made_check, made_model, made_summary

from pytest_prunegate.errors import InputError
from pytest_prunegate.report.files.report_files import BASELINE
from pytest_prunegate.report.page import own_templates
from pytest_prunegate.report.page.own_templates import check_templates, write_own
from pytest_prunegate.report.page.renderer import environment
from pytest_prunegate.report.summary import changed_records
from pytest_prunegate.report.summary.file_names import COMPARISONS, FileNames

if TYPE_CHECKING:
    from pytest_prunegate.report.summary.records import Summary

PAGE = (Path(__file__).parents[3] / "docs" / "templates.md").read_text()
EVIL = "<b>*x*</b>\x1b[31m"


def test_every_filter_is_documented() -> None:
    from jinja2.filters import FILTERS

    ours = environment(Path(), "x.md").filters.keys() - FILTERS.keys()
    section = PAGE.split("## Filters")[1].split("## Fields")[0]
    assert set(re.findall(r"^- `(\w+)`", section, re.MULTILINE)) == ours


def written(folder: Path, name: str, text: str, summary: Summary | None = None) -> str:
    """What a template of this name writes."""
    (folder / name).write_text(text)
    check_templates([folder / name], folder / "out")
    (folder / "out").mkdir(exist_ok=True)
    [path], problems = write_own(summary or made_summary(), [folder / name], folder / "out", FileNames())
    assert problems == []
    return path.read_text()


def test_the_page_s_example(tmp_path: Path) -> None:
    example = re.search(r"```jinja\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    assert written(tmp_path, "chat.md.j2", example[1]).splitlines() == [
        "**FAIL** wanda50: 8 of 10 checks measured",
        "- wikitext2 perplexity: 18.420 -> 20.610 (-11.89%, +8.9% to +14.9%)",
        "- squadv2 f1: 0.7300 -> 0.6700 (-8.22%, -11.2% to -5.2%)",
        "18 answers lost, 6 gained",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.html.j2", r"&lt;b&gt;*x*&lt;/b&gt;\x1b[31m"),
        ("x.XML", r"&lt;b&gt;*x*&lt;/b&gt;\x1b[31m"),
        ("x.md", r"&lt;b>\*x\*&lt;/b>\\x1b\[31m"),
        ("x.txt.j2", r"<b>*x*</b>\x1b[31m"),
        ("x.csv", r"<b>*x*</b>\x1b[31m"),
    ],
)
def test_a_text_is_inert_as_the_name_says(tmp_path: Path, name: str, text: str) -> None:
    summary = made_summary(notes=(EVIL,))
    assert written(tmp_path, name, "{{ summary.notes[0] }}", summary) == text
    assert written(tmp_path, name, "{{ summary.notes[0] | safe }}", summary) == EVIL


def test_json_is_json(tmp_path: Path) -> None:
    summary = made_summary((made_check("a", "b", "fail", 0.5, 0.4, reason=EVIL),))
    found = json.loads(written(tmp_path, "own.json.j2", "{{ summary.as_json() | tojson }}", summary))
    assert found["checks"][0]["reason"] == EVIL


def test_parts_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "part.md").write_text("{% macro bold(text) %}**{{ text }}**{% endmacro %}")
    text = '{% from "below/part.md" import bold %}{{ bold(summary.seed) }} {{ bold("*") }}{% include "none" ignore missing %}'
    assert written(tmp_path, "x.md.j2", text) == r"**1234** **\***"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{% if x %}", "x.md.j2:2: Unexpected end of template"),
        ("a\nb\n{{ x | nofilter }}", "x.md.j2:3: No filter named 'nofilter'"),
        ('{% include "other.md" %}', "x.md.j2: it includes other.md, which is not in its folder."),
        ('{% extends "../up.md" %}', "it includes ../up.md, which is not in its folder."),
        ('{% import "broken.md" as b %}', "broken.md:4: "),
        (b"caf\xe9", "x.md.j2 is not UTF-8 text."),
    ],
)
def test_mistakes_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path.parent / "up.md").write_text("up")
    (tmp_path / "broken.md").write_text("\n\n\n{% endif %}")
    path = tmp_path / "x.md.j2"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as told:
        check_templates([path], tmp_path / "out")
    assert message in str(told.value)
    assert str(tmp_path) not in str(told.value), "a path as the user knows it"


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    names = [
        "comparison_report.md.j2",
        "Changed_x.JSONL",
        ".j2",
        "a.md",
        "missing.md.j2",
        "folder.md",
        "b/x.md.j2",
        "c/X.md",
    ]
    for name in ("folder.md", "b", "c"):
        (tmp_path / name).mkdir()
    for name in names:
        if name not in {"missing.md.j2", "folder.md"}:
            (tmp_path / name).write_text("")
    with pytest.raises(InputError) as told:
        check_templates([tmp_path / name for name in names], tmp_path)
    for name, what in zip(names, ("a name of our own", "a name of our own", "a name of our own", "would replace it", "no such file", "this is no file", "", "as that of"), strict=True):  # fmt: skip
        assert not what or any(f"{name}: " in line and what in line for line in str(told.value).splitlines()), name


def test_no_file_of_ours_can_be_taken(tmp_path: Path) -> None:
    ours = [
        *COMPARISONS,
        BASELINE,
        "baseline.json.gz",
        "evaluation.log",
        "archive",
        changed_records.CHANGED_FILE,
        "history.jsonl",
    ]
    ours += [*FileNames().all, *FileNames("wanda50").all]
    ours += ["comparison_report_wanda50.html", "changed_wanda50.jsonl", "candidates_report.md"]
    for name in ours:
        (tmp_path / f"{name}.j2").write_text("")
        with pytest.raises(InputError, match="a name of our own"):
            check_templates([tmp_path / f"{name}.j2"], tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb {{ summary.headlin }}", r"x.md.j2:2: UndefinedError: .* has no attribute 'headlin'"),
        ("a\n{{ ''.__class__.__mro__ }}", r"x.md.j2:2: SecurityError: access to attribute '__class__'"),
        ("{% for n in range(10 ** 7) %}x{% endfor %}", r"x.md.j2:1: OverflowError: Range too big"),
        ("a\n{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", r"x.md.j2:\d: RecursionError"),
        ("{{ 1 / 0 }}", r"x.md.j2:1: ZeroDivisionError"),
        ('x\n{% include "part.md" %}', r"part.md:3: UndefinedError: 'nothing' is undefined"),
        ("{% for a in range(3000) %}{{ 'x' * 9000 }}{% endfor %}", r"x.md.j2: ValueError: it writes more than"),
        (
            "{% for a in range(100000) %}{% for b in range(10) %}{% endfor %}{% endfor %}",
            r"x.md.j2:1: TimeoutError: it was not done",
        ),
    ],
)
def test_a_mistake_that_shows_late_loses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "Timeout" in message:
        monkeypatch.setattr(own_templates, "_PATIENCE", 0.01)
    (tmp_path / "part.md").write_text("\n\n{{ nothing }}")
    for name, content in (("x.md.j2", text), ("good.txt", "good")):
        (tmp_path / name).write_text(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.md").write_text("of an earlier run")
    paths, [problem] = write_own(
        made_summary(), [tmp_path / "x.md.j2", tmp_path / "good.txt"], tmp_path / "out", FileNames()
    )
    assert re.match(message, problem)
    assert "x.md was not written" in problem
    assert paths == [tmp_path / "out" / "good.txt"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.txt"]


def test_a_name_for_each_candidate(tmp_path: Path) -> None:
    (tmp_path / "chat.md.j2").write_text("{{ summary.models.pruned.name }}")
    for name in ("wanda50", "sparsegpt50"):
        summary = made_summary(models={"original": made_model("original"), "pruned": made_model("pruned", name=name)})
        (tmp_path / "out").mkdir(exist_ok=True)
        write_own(summary, [tmp_path / "chat.md.j2"], tmp_path / "out", FileNames(name))
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "chat_wanda50.md": "wanda50", "chat_sparsegpt50.md": "sparsegpt50",
    }  # fmt: skip
