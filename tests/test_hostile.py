"""Hostile input: whatever a thresholds file holds ends in a message, and whatever a text holds stays text."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.hostile_texts import HOSTILE, NAMES, Page, parsed, structure, summary_with
from support.scripted import BOOLQ, BOOLQ_AND_GSM8K, GSM8K

from pytest_prunegate.errors import InputError, TaskError
from pytest_prunegate.input.thresholds import TaskOptions
from pytest_prunegate.plain import markdown, markdown_code, markdown_item, one_line, plain
from pytest_prunegate.report.page.renderer import render
from pytest_prunegate.resources import resource_path
from pytest_prunegate.tasks.index import TaskIndex
from pytest_prunegate.tasks.thresholds_file import load_thresholds, resolve_tasks

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench


VALID = resource_path("thresholds.yaml").read_text() + BOOLQ_AND_GSM8K
WORDS = [
    "defaults",
    "tasks",
    "perplexity",
    "sparsity",
    "metrics",
    "outputs",
    "limit",
    "num_fewshot",
    "fewshot_seed",
    "repeats",
    "max_gen_toks",
    "gen_kwargs",
    "apply_chat_template",
    "chat_template_kwargs",
    "system_instruction",
    "fewshot_as_multiturn",
    "dataset",
    "truncate",
    "cluster_by",
    "slice_by",
    "marks",
    "decide",
    "error_rate",
    "indifference",
    "inconclusive",
    "max_relative_drop",
    "max_absolute_drop",
    "min_recovery",
    "min_score",
    "max_relative_increase",
    "max_empty",
    "max_cut",
    "filter",
    "path",
    "name",
    "data_files",
    "data_dir",
    "seqlen",
    "nsamples",
    "min",
    "gsm8k",
    "squadv2",
    "boolq",
    "hellaswag",
    "mmlu",
    "ai2_arc",
    "wikitext2",
    "accuracy",
    "acc",
    "f1",
    "exact_match",
    "EM",
    "full",
    "early",
    "confident",
    "allow",
    "json",
    "text",
    "5%",
    "0.05",
    "1e999",
    "-1",
    ".nan",
    ".inf",
    "0x1F",
    "1_000",
    "1:30",
    "~",
    "yes",
    "2024-01-01",
    "99999999999999999999999",
    "!!binary",
    "''",
    '""',
    "5",
]
TAGS = (
    "!!python/object/apply:os.system",
    "!!python/name:os.system",
    "!function",
    "!!set",
    "!!omap",
    "!!binary",
    "!!timestamp",
    "!x",
    "!!str",
)

scalars = st.one_of(
    st.sampled_from(WORDS), st.integers().map(str), st.floats().map(str), st.text(max_size=8).map(json.dumps)
)
structures = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(scalars, inner), max_size=5).map(lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items) + "}"),
        st.tuples(st.sampled_from(TAGS), inner).map(" ".join),
        inner.map(lambda value: f"&a [{value}, *a]"),
    ),
    max_leaves=25,
)  # fmt: skip
files = st.lists(st.tuples(st.sampled_from([*WORDS[:5], "x"]), structures), max_size=4).map(
    lambda entries: "".join(f"{key}: {value}\n" for key, value in entries)
)
tasks_of_words = st.lists(st.tuples(st.sampled_from(WORDS), structures), max_size=4).map(
    lambda entries: "tasks:\n" + "".join(f"  {key}: {value}\n" for key, value in entries)
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid file with pieces taken out, doubled, or replaced."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 30)))
        piece = draw(
            st.one_of(
                st.just(""),
                st.sampled_from(WORDS),
                st.sampled_from(TAGS),
                st.just(text[start:stop] * 2),
                st.text(max_size=4),
            )
        )
        text = text[:start] + piece + text[stop:]
    return text


ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
FAST = settings(derandomize=True, deadline=2000, database=None, suppress_health_check=list(HealthCheck))


def outcome(path: Path, data: bytes, tasks: TaskIndex) -> str:
    """What reading a file ends in: a message, or nothing where it is valid."""
    path.write_bytes(data)
    built_in, _ = load_thresholds(resource_path("thresholds.yaml"), display="built-in", built_in=True)
    try:
        file, mistakes = load_thresholds(path, display="thresholds.yaml")
        resolve_tasks(file, tasks, mistakes, only=(), options=TaskOptions(), built_in=built_in)
        message = str(InputError(mistakes.render()))
    except InputError as error:
        message = str(error)
        assert message.strip()
    assert len(message) < 250_000
    assert not ACTIVE.search(message)
    return message


@pytest.fixture(scope="module")
def few(tasks: TaskIndex) -> TaskIndex:
    """The index without the thousands of names in which a suggestion is sought."""
    kept = {name: record for name, record in tasks._records.items() if name in {*WORDS, "arc_easy", "arc_challenge"}}
    return TaskIndex(kept, tasks._folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed") / "thresholds.yaml"


@settings(FAST, max_examples=300)
@given(text=files)
@pytest.mark.slow
def test_random_structures(place: Path, few: TaskIndex, text: str) -> None:
    outcome(place, text.encode("utf-8", "surrogatepass"), few)


@settings(FAST, max_examples=300)
@given(text=tasks_of_words)
@pytest.mark.slow
def test_random_tasks(place: Path, few: TaskIndex, text: str) -> None:
    outcome(place, text.encode("utf-8", "surrogatepass"), few)


@settings(FAST, max_examples=300)
@given(text=mutated())
def test_mutated_files(place: Path, few: TaskIndex, text: str) -> None:
    outcome(place, text.encode("utf-8", "surrogatepass"), few)


@settings(FAST, max_examples=200)
@given(
    data=st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_random_bytes(place: Path, few: TaskIndex, data: bytes) -> None:
    outcome(place, data, few)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
CRAFTED = {
    "alias bomb": BOMB,
    "alias bomb in a dataset": f"{BOMB}tasks: {{boolq: {{metrics: [acc], dataset: {{path: *l}}}}}}",
    "alias bomb in generation arguments": f"{BOMB}tasks: {{gsm8k: {{metrics: [accuracy], gen_kwargs: {{until: *l}}}}}}",
    "alias bomb in template arguments": f"{BOMB}tasks: {{gsm8k: {{metrics: [accuracy], chat_template_kwargs: {{x: *l}}}}}}",
    "alias bomb of mistakes": f"{BOMB}tasks: {{gsm8k: {{metrics: *l, marks: *l}}}}",
    "an alias that contains itself": "tasks: &t {gsm8k: *t}",
    "a list that contains itself": "tasks: {gsm8k: {gen_kwargs: {until: &a [*a]}}}",
    "deep list": "tasks: " + "[" * 200_000,
    "deep closed list": "tasks: " + "[" * 100_000 + "]" * 100_000,
    "deep mapping": "tasks: " + "{a: " * 100_000 + "1" + "}" * 100_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1_000)),
    "huge number": "tasks: {gsm8k: {limit: " + "9" * 100_000 + "}}",
    "huge exponent": "tasks: {gsm8k: {limit: 1e999999999, metrics: {accuracy: 1e-999999999}}}",
    "huge exponent elsewhere": "tasks: {gsm8k: {metrics: [accuracy], gen_kwargs: {a: 1e99999999999, b: 1E+999999, c: !!int 1e9999999}}}",
    "many mistakes": "tasks:\n" + "".join(f"  task{n}: {{nonsense: 1}}\n" for n in range(500)),
    "long key": "? " + "k" * 2_000_000 + "\n: 1\n",
    "10 MB on a line": "tasks: {gsm8k: {metrics: {" + "x" * 10_000_000 + ": 5%}}}",
    "python object": "!!python/object/apply:os.system ['true']",
    "python object inside": "tasks: {gsm8k: {metrics: !!python/object/new:dict {accuracy: 5%}}}",
    "several documents": "tasks: {}\n---\ntasks: {}\n",
    "directives": "%YAML 9.9\n%TAG ! tag:x,2000:\n---\ntasks: {}\n",
    "escapes in keys": 'tasks: {"\\e[31m\\u202e\\0": {"\\x9b": 1}}',
    "merge keys": "tasks: {gsm8k: {<<: {metrics: [accuracy]}}}",
    "utf-16": "tasks: {}".encode("utf-16").decode("latin-1"),
    "a device": "tasks: {boolq: {metrics: [acc], dataset: {path: json, data_files: {validation: /dev/zero}}}}",
    "a name that no file can have": 'tasks: {boolq: {metrics: [acc], dataset: {path: json, data_files: {validation: "a\\0b"}}}}',
    "a name that is too long": f"tasks: {{boolq: {{metrics: [acc], dataset: {{path: json, data_files: {{validation: {'y' * 5000}}}}}}}}}",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_files(place: Path, tasks: TaskIndex, name: str) -> None:
    assert outcome(place, CRAFTED[name].encode("latin-1" if name == "utf-16" else "utf-8"), tasks)


@pytest.mark.parametrize(
    "name", ["alias bomb of mistakes", "deep mapping", "python object inside", "escapes in keys", "10 MB on a line"]
)
def test_crafted_files_in_a_whole_run(bench: Bench, name: str) -> None:
    bench.models()
    bench.thresholds(CRAFTED[name])
    result = bench.run()
    output = "\n".join(result.outlines + result.errlines)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "thresholds.yaml:" in output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert "\x1b" not in output
    assert max(map(len, result.errlines)) < 11_000


@pytest.fixture(scope="module")
def usual() -> Page:
    return parsed(render(summary_with("usual"), "report.html.j2"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_the_page_comes_of_a_text(name: str, usual: Page) -> None:
    """The very elements and attributes that a harmless text gives."""
    document = render(summary_with(HOSTILE[name]), "report.html.j2")
    page = parsed(document)
    assert page.elements == usual.elements
    document.encode("utf-8")
    assert not set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]", page.text))
    assert len(document) < 200 * 210_000
    json.loads(page.scripts["application/json"])
    if len(HOSTILE[name]) < 1000 and HOSTILE[name].isascii() and HOSTILE[name].isprintable():
        assert HOSTILE[name] in page.text, "nothing is lost"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_the_markdown_comes_of_a_text(name: str) -> None:
    document = render(summary_with(HOSTILE[name]), "report.md.j2")
    assert structure(document) == structure(render(summary_with("usual"), "report.md.j2"))
    without_code = re.sub(r"^```$.*?^```$|(?<!\\)`[^`\n]*`", "", document, flags=re.DOTALL | re.MULTILINE)
    assert "<" not in without_code
    assert not re.search(r"(?<!\\)(?:\\\\)*\[", without_code), "no link"
    assert not re.search(r"^- (?:[#>+=~-]|\d+[.)])", without_code, re.MULTILINE)
    columns = {line.count("|") - line.count(r"\|") for line in document.splitlines() if line.startswith("| ")}
    usual = {
        line.count("|") for line in render(summary_with("usual"), "report.md.j2").splitlines() if line.startswith("| ")
    }
    assert columns == usual
    assert "\x1b" not in document
    document.encode("utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("function", [plain, one_line, markdown, markdown_item, markdown_code])
def test_plain_text_is_bounded_and_written_out(name: str, function: Any) -> None:
    text = function(HOSTILE[name])
    assert len(text) < 210_000
    assert max(map(len, text.split("\n"))) < 21_000
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", text)


def test_usual_text_stays_as_it_is() -> None:
    text = "Ähnlich: 你好, \u05d0\u05d1, 👩\u200d💻\n\tgsm8k::accuracy[x] -93.75% (5 of 6)"
    assert plain(text) == text
    assert str(TaskError(text)) == text
    assert markdown("-93.75% a_b (5 of 6) -> 3 & 4") == "-93.75% a_b (5 of 6) -> 3 & 4"


SCORED = (
    "task: mine\noutput_type: generate_until\ndataset_path: json\ntest_split: test\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
    "process_results: !function code.scores\nmetric_list: [{metric: m, aggregation: mean, higher_is_better: true}]\n"
)


@pytest.mark.parametrize(
    "name",
    [
        "end of the title",
        "ANSI",
        "direction",
        "table",
        "half a character",
        pytest.param("10 MB", marks=pytest.mark.slow),
    ],
)
def test_a_scorer_that_raises_with_it(bench: Bench, name: str) -> None:
    """Through a whole run: screen, log, JUnit, Markdown, HTML and JSON."""
    folder = bench.path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(SCORED)
    text = f"'A' * {10_000_000}" if name == "10 MB" else ascii(HOSTILE[name])
    (folder / "code.py").write_text(f"def scores(doc, results):\n    raise ValueError({text})\n")
    bench.models()
    bench.thresholds(
        f"tasks:\n  mine:\n    {GSM8K}\n    metrics: {{m: 5%}}\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"
    )
    result = bench.run(f"--prunegate-include-path={folder}", "--junitxml=junit.xml")
    assert result.ret == 10
    log, markdown_report, page_report, junit = (
        (bench.path / file).read_text(encoding="utf-8")
        for file in ("prunegate-results/evaluation.log", "prunegate-results/comparison_report.md", "prunegate-results/comparison_report.html", "junit.xml")
    )  # fmt: skip
    json.loads((bench.results / "comparison_results.json").read_text())
    ET.fromstring(junit)  # noqa: S314 - pytest's own file
    for output in ("\n".join(result.outlines), log, markdown_report, page_report, junit):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", output)
        assert max(map(len, output.split("\n"))) < 30_000
    page = parsed(
        re.sub(r"<svg.*?</svg>", "", page_report, flags=re.DOTALL)
    )  # tests/report/page/test_plots.py looks into those
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "ul", "li", "span", "code", "div", "table", "thead", "tr", "th", "tbody",
        "td", "p", "pre", "header", "main", "section", "nav", "a", "b", "dl", "dt", "dd", "details", "summary", "button", "script", "h3",
        "figure", "figcaption", "label", "input", "select", "option", "noscript", "mark",
    }  # fmt: skip
    assert len([tag for tag, _ in page.elements if tag == "title"]) == 1
    assert page.text.count("cannot be scored") == 1


def test_names_and_paths(bench: Bench) -> None:
    """A folder may be called anything."""
    name = "pru\x1b[31m\u202e<img src=x>|`"
    bench.models()
    (bench.path / "pruned").rename(bench.path / name)
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n")
    result = bench.run(models=("--original=original", f"--pruned={name}"))
    assert result.ret == 0
    page = parsed((bench.results / "comparison_report.html").read_text(encoding="utf-8"))
    assert "img" not in {tag for tag, _ in page.elements}
    assert "pru\\x1b[31m\\u202e<img src=x>|`" in page.text
    assert not re.search("[\x1b\u202e]", "\n".join(result.outlines))
