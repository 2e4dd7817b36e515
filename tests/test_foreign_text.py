"""What others wrote stays text for whoever reads a job's output; secrets stand nowhere; and what is huge or crafted ends in a message."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import BOOLQ, GSM8K, ScriptedExecutor, write_data

from pytest_prunegate.__main__ import main
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.errors import ModelError
from pytest_prunegate.input.trust import secret_problems
from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.screen.marked_lines import folded, last_words, wrapped
from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Bench

ONE = f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"
HOSTILE = ("::error::x", "  ::x::y", "a ::add-mask::b", "x-::error::y", "##[error]x", "a##[group]b", "##vso[task.complete]x", "##teamcity[x y='z']", "x\n::x::y", "x\r::x::y")  # fmt: skip


def commands(line: str) -> list[str]:
    """What a runner takes a line for: GitHub's ActionCommand.TryParseV2 and TryParse, Azure's and TeamCity's marks.

    GitHub's runner asks whether it knows the name; all that it knows begin with a letter, so any such name counts here.
    """
    found = []
    start = line.lstrip()
    if start.startswith("::") and (end := start.find("::", 2)) >= 0 and start[2].isalpha():
        found.append(start[2:end].partition(" ")[0])
    marks = [mark for mark in ("##[", "##vso[", "##teamcity[") if "]" in line.partition(mark)[2]]
    return [*found, *marks]


def test_the_reference_reads_commands() -> None:
    assert [bool(commands(line)) for text in HOSTILE for line in text.splitlines()].count(True) >= 8
    assert commands("thresholds.yaml::boolq::acc PASSED") == []


@given(
    st.lists(st.sampled_from([*HOSTILE, "::", "#", "##", "[", "]", ":", " ", "\t", "-", "word", "a" * 30, "/", ".", "error", "`"]), max_size=12),
    st.integers(2, 40),
)  # fmt: skip
def test_no_text_becomes_a_command_however_it_is_wrapped(pieces: list[str], width: int) -> None:
    text = "".join(pieces)
    shown = [
        *plain(text).split("\n"),
        one_line(text),
        *wrapped(plain(text), width),
        *folded(one_line(text), width),
        last_words(one_line(text), width),
    ]
    assert [line for line in shown if commands(line)] == []


def test_an_excerpt_does_not_begin_with_a_command() -> None:
    assert last_words(plain("a" * 30 + "::error::x"), 10) == "error::x"


def test_names_of_nodes_and_classes_stay_as_they_are() -> None:
    assert (
        plain("thresholds.yaml::boolq::acc, std::vector<int>, C:: and a:b")
        == "thresholds.yaml::boolq::acc, std::vector<int>, C:: and a:b"
    )
    assert plain("::error::x") == r"\::error::x"
    assert plain("see ##[error]x") == r"see #\#[error]x"


class Shouting(ScriptedExecutor):
    """A model that writes commands."""

    def ask(self, facts: Any, batch: Any, hand_on: Any) -> None:
        for request in batch:
            hand_on(request, Response(text="\n".join(HOSTILE) if facts.side == "pruned" else " 4", cut=False))


def test_no_line_of_a_run_is_a_command_but_the_gates_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.executor = Shouting()
    bench.models()
    rows = [{"question": f"{text} number 4", "answer": f"{text}\n#### 4"} for text in HOSTILE]
    (bench.path / "data" / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.thresholds(
        f"tasks:\n  gsm8k:\n    {GSM8K}\n    num_fewshot: 0\n    metrics: {{'exact_match,flexible-extract': 5%}}\n"
    )
    result = bench.run("-rA", "-v")
    assert result.ret == 1
    lines = [*result.outlines, *result.errlines, *(bench.results / "evaluation.log").read_text().splitlines()]
    assert any("add-mask" in line for line in lines), "they are shown"
    assert [line for line in lines if commands(line)] == []
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    own = [line for line in bench.run().outlines if commands(line)]
    assert own
    assert all(line.startswith("::error ") for line in own)


def test_the_history_prints_no_command(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.models()
    bench.thresholds(ONE)
    bench.run()
    path = bench.results / "history.jsonl"
    run = json.loads(path.read_text())
    for number, text in enumerate(HOSTILE):
        changed = run | {"started": f"2030-01-0{number % 9 + 1}T00:00:0{number % 10}", "commit": text, "command": text}
        changed["models"] = {
            side: model | {"name": text, "path": text, "fingerprint": text} for side, model in run["models"].items()
        }
        with path.open("a") as file:
            file.write(json.dumps(changed) + "\n")
    assert main(["history", str(bench.results)]) == 0
    lines = [line for text in capsys.readouterr() for line in text.splitlines()]
    assert any("error" in line for line in lines)
    assert [line for line in lines if commands(line)] == []


SECRET = "hf_" + "SECRET" * 3


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "hf_token",
        "use_auth_token",
        "api_key",
        "password",
        "client_secret",
        "AUTHORIZATION",
        "access_key",
        "anything",
    ],
)
def test_a_secret_is_refused_without_being_told(bench: Bench, key: str) -> None:
    bench.models()
    bench.thresholds(ONE)
    result = bench.run(f"--prunegate-pruned-args={key}={SECRET}", "--prunegate-original-args=trust_remote_code=false")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--prunegate-pruned-args: {key}: holds a secret*set * in the environment."])
    assert SECRET not in "\n".join([*result.outlines, *result.errlines])
    assert not bench.results.exists()
    assert not (bench.path / ".prunegate").exists()


def test_what_does_not_parse_is_not_repeated(bench: Bench) -> None:
    bench.models()
    bench.thresholds(ONE)
    result = bench.run(f"--prunegate-pruned-args={SECRET}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert SECRET not in "\n".join([*result.outlines, *result.errlines])


@pytest.mark.parametrize("place", ["gen_kwargs", "chat_template_kwargs"])
def test_a_secret_in_the_thresholds_file_is_refused(bench: Bench, place: str) -> None:
    bench.models()
    bench.thresholds(ONE + f"    {place}: {{nested: {{api_key: {SECRET}}}}}\n")
    result = bench.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*thresholds.yaml:5: *{place}: nested: api_key: holds a secret*"])
    assert SECRET not in "\n".join(result.errlines)


def test_usual_arguments_are_no_secrets() -> None:
    usual = {"think_end_token": "</think>", "add_bos_token": True, "tokenizer": "x", "max_gen_toks": 3, "eos_token": "</s>", "pad_token": "<pad>",
             "dtype": "auto", "token": None, "prefix_token_id": 3, "author": "x", "passage": "y"}  # fmt: skip
    assert list(secret_problems("x", usual)) == []


def test_files_with_answers_are_their_owners_alone(bench: Bench) -> None:
    before = os.umask(0o022)
    try:
        bench.models()
        bench.thresholds(ONE)
        bench.run("--prunegate-store=kept/store")
        (bench.results / "comparison_report.md").chmod(0o644)  # whoever shares a report says so
        bench.run("--prunegate-store=kept/store")
    finally:
        os.umask(before)
    files = [
        path
        for folder in (bench.results, bench.path / "kept" / "store")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    assert len(files) > 8
    open_to_others = {path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077}
    assert open_to_others - {".gitignore", "responses.sqlite.lock"} == {"comparison_report.md"}


@pytest.mark.parametrize("name", ["evaluation.log", "history.jsonl"])
def test_no_link_is_written_through(bench: Bench, name: str) -> None:
    bench.models()
    bench.thresholds(ONE)
    target = bench.path / "precious.txt"
    target.write_text("precious")
    bench.results.mkdir()
    (bench.results / name).symlink_to(target)
    result = bench.run()
    assert target.read_text() == "precious"
    assert result.ret != 0
    assert any("symbolic link" in line for line in [*result.outlines, *result.errlines])


@pytest.mark.parametrize("number", ["1e-9999999", "1e99999999", "-1e-999999999", "0." + "1" * 400])
@pytest.mark.parametrize("rule", ["max_absolute_drop", "max_relative_drop", "min_score"])
def test_a_number_beyond_arithmetic_is_a_mistake(bench: Bench, number: str, rule: str) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: {{{rule}: {number}}}}}\n")
    result = bench.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*thresholds.yaml:4: *"])


@pytest.mark.parametrize("option", ["error-rate", "indifference", "limit"])
def test_an_option_beyond_arithmetic_is_a_mistake(bench: Bench, option: str) -> None:
    bench.models()
    bench.thresholds(ONE)
    for number in ("1e-9999999", "1e99999999"):
        assert bench.run(f"--prunegate-{option}={number}").ret == pytest.ExitCode.USAGE_ERROR


def nested(depth: int = 200_000) -> str:
    return "[" * depth + "]" * depth


def safetensors(path: Path, header: str) -> Path:
    text = header.encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 64)
    return path


@pytest.mark.parametrize(
    "header",
    [
        nested(), '{"a": ' + nested() + "}", '{"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8.5]}}', '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": 3, "shape": [2], "data_offsets": [0, 8]}}', '{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 8]}}',
        '{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
    ],
)  # fmt: skip
def test_a_crafted_header_is_blamed_on_its_own_file(tmp_path: Path, header: str) -> None:
    path = safetensors(tmp_path / "model.safetensors", header)
    with pytest.raises(ModelError, match=r"model\.safetensors: the header of this safetensors file is damaged"):
        read_header(path)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer_config.json"])
def test_a_deeply_nested_configuration_is_an_error(bench: Bench, name: str) -> None:
    bench.models()
    bench.thresholds(ONE)
    (bench.path / "pruned" / name).write_text(nested())
    result = bench.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{name}: not valid JSON*"])


def test_deeply_nested_results_and_history_cost_themselves_alone(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.models()
    bench.thresholds(ONE)
    bench.run()
    with (bench.results / "history.jsonl").open("a") as file:
        file.write(nested() + "\n")
    (bench.results / "comparison_results.json").write_text(nested())
    assert bench.run().ret == 0
    capsys.readouterr()
    assert main(["history", str(bench.results)]) == 0
    assert "history.jsonl:2: is damaged and left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON responses BEGIN DELETE FROM protocols; END", "CREATE VIEW v AS SELECT * FROM responses",
        "CREATE TRIGGER t AFTER INSERT ON timings BEGIN DELETE FROM responses; END",
    ],
)  # fmt: skip
def test_what_acts_in_a_store_is_set_aside(bench: Bench, statement: str) -> None:
    bench.models()
    bench.thresholds(ONE)
    bench.run()
    path = bench.path / ".prunegate" / "responses.sqlite"
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    bench.executor.requests.clear()
    result = bench.run()
    assert result.ret == 0
    assert any("a trigger or view that this package did not make" in line for line in result.outlines)
    assert bench.executor.requests == [], "its answers are salvaged"
    names = sqlite3.connect(path).execute("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchall()
    assert names == []


CARD = (
    "---\nlicense: mit\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: {}\n---\n# Data\n"
)


def test_a_card_that_names_an_address_is_refused(bench: Bench) -> None:
    bench.models()
    folder = bench.path / "set"
    write_data(folder)
    (folder / "README.md").write_text(CARD.format("https://example.invalid/x.jsonl"))
    bench.thresholds("tasks:\n  boolq:\n    dataset: {path: set}\n    metrics: {acc: 50%}\n")
    result = bench.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*thresholds.yaml:3: *README.md names https://example.invalid/x.jsonl as data, which would be fetched.*"]
    )
    (folder / "README.md").write_text(CARD.format("boolq.jsonl") + "see https://example.invalid\n")
    assert "as data" not in "\n".join(bench.run().errlines)
