"""What a user reads in the terminal: failing checks, the table, -q and -v, colours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.golden import assert_golden
from support.scripted import BOOLQ, GSM8K, SQUAD

if TYPE_CHECKING:
    from conftest import Bench

CODE = "\x1b["


@pytest.fixture
def project(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Two checks that fail, one that passes, and one that a sample does not decide."""
    for name in ("FORCE_COLOR", "PY_COLORS", "NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    bench.models(pruned={"wrong": [3, 4, 5, 6, 7, 8], "empty": [10, 11]})
    bench.thresholds(f"""
        tasks:
          gsm8k:
            num_fewshot: 0
            {GSM8K}
            metrics: {{accuracy: {{max_relative_drop: 5%, filter: flexible-extract}}}}
          boolq:
            {BOOLQ}
            limit: 12
            metrics: {{acc: {{max_relative_drop: 40%}}}}
          squadv2:
            {SQUAD}
            metrics: {{f1: 80%, HasAns_f1: {{max_absolute_drop: 0.03, min_score: 0.5}}}}
        """)
    return bench


def screen(project: Bench, *arguments: str) -> str:
    """What a run shows, without what differs from machine to machine."""
    text = "\n".join(project.run("-p", "no:cacheprovider", *arguments).outlines)
    text = re.sub(r"--prunegate-cache-dir=\S+", "--prunegate-cache-dir=CACHE", text).replace(str(project.path), "DIR")
    text = re.sub(r"[\d.]+ [MG]iB memory", "... MiB memory", re.sub(r"(in|about) [\d.]+ ?s\b", r"\1 ... s", text))
    return re.sub(r"=+ (\d+ failed.*) =+$", r"\1", text, flags=re.MULTILINE)


def test_golden(project: Bench) -> None:
    """A whole run but pytest's header, in 80 columns; commands and paths alone are longer."""
    _, _, text = screen(project).partition("collected 4 items\n")
    assert_golden("screen.txt", f"{text}\n")
    assert all(len(line) <= 80 or line.startswith(("Run it alone: ", "Report: ")) for line in text.splitlines())


def test_golden_quiet(project: Bench) -> None:
    assert_golden("screen_quiet.txt", f"{screen(project, '-q', '--tb=line')}\n")


def test_quiet_is_shorter_and_says_what_matters(project: Bench) -> None:
    usual, quiet, silent = (screen(project, "--tb=no", *arguments) for arguments in ((), ("-q",), ("-qq",)))
    for text in (usual, quiet, silent):
        assert "FAIL: 4 of 4 checks measured (1 in part): 2 failed, 1 inconclusive, 1 passed" in text
    for text in (usual, quiet):
        assert re.search(r"^gsm8k +accuracy .* FAIL$", text, re.MULTILINE)
        assert re.search(r"^boolq +acc .* INCONCLUSIVE$", text, re.MULTILINE)
        assert "Report: DIR/prunegate-results/comparison_report.html" in text
    assert re.search(r"^squadv2 +f1 .* PASS$", usual, re.MULTILINE)
    assert not re.search(r"^squadv2 +f1 ", quiet, re.MULTILINE)
    assert "settings:" not in quiet + silent
    assert "MiB" not in quiet + silent
    assert "time:" in quiet
    assert "time:" not in silent
    assert len(silent.splitlines()) < len(quiet.splitlines()) < len(usual.splitlines())


def test_verbose_says_why_a_check_passed(project: Bench) -> None:
    why = "squadv2 f1 0.7500 -> 0.4500: -0.3000, -40.00% relative (threshold: relative drop at most 80%). PASS on all 20 documents."
    assert why in " ".join(screen(project, "-v").split())
    assert why not in " ".join(screen(project).split())


def test_very_verbose_shows_all_lost_answers(project: Bench) -> None:
    usual, verbose = screen(project, "-k", "gsm8k"), screen(project, "-k", "gsm8k", "-vv")
    assert re.findall(r"^  document (\d+)$", usual, re.MULTILINE) == ["3", "4", "5"]
    assert re.findall(r"^  document (\d+)$", verbose, re.MULTILINE) == ["3", "4", "5", "6", "7", "8", "10", "11"]
    assert "    pruned    (empty) (flexible-extract: [invalid])" in verbose
    assert "original   The total is 3.\n              #### 3" in verbose, "as it was said"


def test_colours_are_pytests(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = screen(project, "--color=yes")
    assert "\x1b[31mthresholds.yaml:6: gsm8k accuracy: relative drop 40.00%, threshold 5%\x1b[0m" in coloured
    assert re.search(r"^gsm8k .*  \x1b\[31mFAIL\x1b\[0m$", coloured, re.MULTILINE)
    assert re.search(r"^squadv2 .*  \x1b\[32mPASS\x1b\[0m$", coloured, re.MULTILINE)
    assert re.search(r"^boolq .*  \x1b\[33mINCONCLUSIVE\x1b\[0m$", coloured, re.MULTILINE)
    assert "\x1b[1m\x1b[31mFAIL: 4 of 4" in coloured
    plain = screen(project, "--color=no")
    assert CODE not in plain
    assert CODE not in screen(project), "no terminal"
    monkeypatch.setenv("PY_COLORS", "1")
    assert CODE in screen(project)
    assert CODE not in screen(project, "--color=no")
    monkeypatch.delenv("PY_COLORS")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert CODE not in screen(project)


@pytest.mark.parametrize("arguments", [(), ("--color=yes", "--tb=line"), ("--tb=no",)])
def test_junit_has_the_lines_and_no_colours(
    project: Bench, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    project.run("--junitxml=junit.xml", *arguments)
    text = (project.path / "junit.xml").read_text()
    assert "\x1b" not in text
    assert "#x1B" not in text
    failures = [failure.text or "" for failure in ET.fromstring(text).iter("failure")]  # noqa: S314 - our own file
    assert [failure.splitlines()[0].partition(": ")[2] for failure in failures] == [
        "gsm8k accuracy: relative drop 40.00%, threshold 5%",
        "boolq acc: inconclusive: relative drop 25.00%, threshold 40%",
        "squadv2 HasAns_f1: absolute drop 0.4000, threshold 0.03",
    ]
    assert all(failure.count("    original  ") == 3 for failure in failures)
    assert "to decide: With about 8 more it decides in four cases of five; the full run" in failures[1]


def test_the_short_summary_says_what_was_lost(project: Bench) -> None:
    lines = screen(project, "-rA", "--tb=no").splitlines()
    assert "FAILED thresholds.yaml::gsm8k::accuracy - relative drop 40.00%, threshold 5%" in lines
    assert "PASSED thresholds.yaml::squadv2::f1" in lines


def test_less_of_the_summary(project: Bench) -> None:
    """--tb=no and --no-summary hide the failing checks' lines, and not the table; --tb=line shows one line of each."""
    one_line = "thresholds.yaml:6: gsm8k accuracy: relative drop 40.00%, threshold 5%"
    inconclusive = "thresholds.yaml:10: boolq acc: inconclusive: relative drop 25.00%, threshold 40%"
    for hiding in (
        "--tb=no",
        *(["--no-summary"] if pytest.version_tuple >= (9, 2) else []),
        "--tb=line",
    ):  # earlier ones hide all of it
        lines = screen(project, hiding).splitlines()
        assert [line for line in lines if line.startswith(("scores:", "Run it alone"))] == []
        assert [line for line in lines if line in {one_line, inconclusive}] == [one_line, inconclusive] * (
            hiding == "--tb=line"
        )
        assert any(line.startswith("gsm8k ") and line.endswith(" FAIL") for line in lines)
        assert "FAIL: 4 of 4 checks measured (1 in part): 2 failed, 1 inconclusive, 1 passed" in lines


def test_a_perplexity_has_no_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And names no file that would hold any."""
    bench.models(original={"nll": 2.0}, pruned={"nll": 3.0})
    (bench.path / "wiki.txt").write_text("one two three four five six seven eight nine ten " * 40)
    bench.thresholds("""
        perplexity:
          wikitext2: {max_relative_increase: 10%, seqlen: 64, dataset: {path: text, data_files: {test: wiki.txt}}}
        """)
    lines = screen(bench).splitlines()
    start = lines.index("thresholds.yaml:3: wikitext2 perplexity: relative increase 171.83%, threshold")
    assert [line.partition(":")[0] for line in lines[start + 2 : start + 7]] == [
        "scores",
        "threshold",
        "verdict",
        "how sure",
        "Run it alone",
    ]
