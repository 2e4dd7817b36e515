"""The answers that changed: in the summary and in `changed.jsonl`, over days, after early verdicts, and by part."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support import scripted
from support.families import CHOICES_OF_TWO, write_group, write_jsonl, write_task
from support.hostile_texts import HOSTILE
from support.scripted import BOOLQ, GSM8K, SQUAD, TWO_TASKS, write_checkpoint, write_data

from pytest_prunegate.session.session import Reporting
from pytest_prunegate.store import Response

if TYPE_CHECKING:
    from conftest import Bench

    from pytest_prunegate.report.summary.records import Summary


@pytest.fixture
def summaries(monkeypatch: pytest.MonkeyPatch) -> list[Summary]:
    """The summaries of inner runs."""
    found: list[Summary] = []
    write = Reporting.write

    def spy(self: Reporting, *, interrupted: bool) -> None:
        write(self, interrupted=interrupted)
        found.extend(ended.summary for ended in self.ended)

    monkeypatch.setattr(Reporting, "write", spy)
    return found


def results(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.results / "comparison_results.json").read_text())
    return found


def lines(bench: Bench) -> list[dict[str, Any]]:
    path = bench.results / "changed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def assert_agreement(bench: Bench) -> None:
    """The table's lost and gained count the very scores that are listed, for each check."""
    listed = Counter(
        (line["task"], score["check"], score["change"]) for line in lines(bench) for score in line["scores"]
    )
    for check in results(bench)["checks"]:
        for change in ("lost", "gained"):
            assert listed[check["task"], check["name"], change] == (check[change] or 0), (check["task"], check["name"])
    counts = Counter(line["change"] for line in lines(bench))
    told = results(bench)["changed"]
    assert (told["total"], told["lost"], told["gained"]) == (len(lines(bench)), counts["lost"], counts["gained"])


SQUAD_AND_GSM8K = f"""
tasks:
  squadv2:
    {SQUAD}
    metrics: {{f1: {{max_absolute_drop: 1}}, exact_match: {{max_absolute_drop: 1}}, HasAns_f1: {{max_absolute_drop: 1}}}}
    outputs: {{max_empty: 100%}}
  gsm8k:
    {GSM8K}
    num_fewshot: 2
    metrics: {{"exact_match,flexible-extract": {{max_absolute_drop: 1}}}}
    outputs: {{max_empty: 100%}}
"""


def test_a_document_once_with_all_of_its_scores(bench: Bench, summaries: list[Summary]) -> None:
    bench.models(original={"wrong": [5]}, pruned={"wrong": [7], "empty": [4, 9, 11]})
    bench.thresholds(SQUAD_AND_GSM8K)
    assert bench.run().ret == 0
    assert_agreement(bench)
    found = lines(bench)
    assert [(line["task"], line["doc_id"], line["change"]) for line in found] == [
        ("squadv2", 7, "lost"), ("squadv2", 9, "lost"), ("squadv2", 11, "lost"), ("gsm8k", 4, "lost"), ("gsm8k", 7, "lost"),
        ("gsm8k", 9, "lost"), ("gsm8k", 11, "lost"), ("squadv2", 4, "gained"), ("squadv2", 5, "gained"), ("gsm8k", 5, "gained"),
    ]  # fmt: skip
    silent, right = found[1], found[7]
    assert [(score["check"], score["original"], score["pruned"], score["change"]) for score in silent["scores"]] == [
        ("f1", 1.0, 0.0, "lost"), ("exact_match", 1.0, 0.0, "lost"), ("HasAns_f1", 1.0, 0.0, "lost"), ("max_empty", 0.0, 1.0, "lost"),
    ]  # fmt: skip
    assert [score["check"] for score in right["scores"]] == ["f1", "exact_match", "max_empty"]
    assert (right["gold"], right["original"], right["pruned"]) == ("(unanswerable)", " word4", "")
    (summary,) = summaries
    assert summary.changed.file == "changed.jsonl"
    assert len(summary.changed.shown) == 10
    for line, shown in zip(found, summary.changed.shown, strict=True):
        assert "".join(summary.changed.blocks[place] for place in shown.prompt) == line["prompt"]
        assert ["".join(text for text, _ in side) for side in (shown.original, shown.pruned)] == [
            line["original"],
            line["pruned"],
        ]
        assert (shown.task, shown.doc_id, shown.change, shown.gold) == (
            line["task"],
            line["doc_id"],
            line["change"],
            line["gold"],
        )
    assert len(set(summary.changed.blocks)) == len(summary.changed.blocks)
    assert sum("number 1?" in block or "number 0?" in block for block in summary.changed.blocks) <= 4, (
        "examples are shared"
    )


def test_nothing_changed(bench: Bench) -> None:
    bench.models(pruned={"wrong": [19]})
    bench.thresholds(TWO_TASKS)
    bench.results.mkdir()
    (bench.results / ".changed.jsonl.x7f3").write_text("half of a line, by a run that was killed")
    bench.run()
    assert not (bench.results / ".changed.jsonl.x7f3").exists()
    assert lines(bench)
    shutil.rmtree(bench.path / "pruned")
    write_checkpoint(bench.path / "pruned", wrong=[], other=1)
    bench.run()
    assert not (bench.results / "changed.jsonl").exists()
    assert results(bench)["changed"] == {"total": 0, "lost": 0, "gained": 0, "shown": 0, "file": None}


@pytest.mark.parametrize(
    ("step", "extra"), [(2, []), (10, []), (3, ["--prunegate-decide=early"]), (9, ["--prunegate-limit=60"])]
)
def test_counts_and_lists_agree_wherever_a_check_stops(bench: Bench, step: int, extra: list[str]) -> None:
    write_data(bench.path / "data", 400)
    wrong = list(range(0, 400, step))
    bench.models(original={"wrong": list(range(1, 400, 29))}, pruned={"wrong": wrong, "empty": list(range(3, 400, 40))})
    bench.thresholds(f"""
        defaults: {{max_relative_drop: 13%, decide: early}}
        tasks:
          squadv2:
            {SQUAD}
            metrics: {{f1: null, exact_match: {{max_relative_drop: 60%}}, HasAns_f1: {{max_relative_drop: 30%}}, best_f1: {{max_absolute_drop: 1, decide: full}}}}
            outputs: {{max_empty: 50%}}
          boolq:
            {BOOLQ}
            metrics: {{acc: {{max_relative_drop: 12%, inconclusive: continue}}}}
    """)
    bench.run(*extra)
    if not extra:
        assert len({check["documents"] for check in results(bench)["checks"]}) > 1, "checks of a task stop apart"
    assert_agreement(bench)
    for check in results(bench)["checks"]:
        parts = check["parts"]
        if check["name"] in {"f1", "exact_match", "max_empty"}:
            assert [part["name"] for part in parts] == ["HasAns", "NoAns"]
            assert sum(part["documents"] for part in parts) == check["documents"]
            assert [sum(part[name] for part in parts) for name in ("lost", "gained")] == [
                check["lost"],
                check["gained"],
            ]
            together = sum(part["pruned"] * part["documents"] for part in parts) / check["documents"]
            assert together == pytest.approx(check["pruned"])
        else:
            assert parts == []


def test_two_days_and_a_third(bench: Bench, summaries: list[Summary]) -> None:
    bench.models(original={"wrong": [3]}, pruned={"wrong": [18, 19]})
    bench.thresholds(SQUAD_AND_GSM8K)
    bench.run("-k", "f1 and not HasAns")
    bench.run("-m", "gsm8k")
    assert_agreement(bench)
    assert {line["task"] for line in lines(bench)} == {"squadv2", "gsm8k"}
    bench.run("-k", "exact_match and not gsm8k")
    assert_agreement(bench)
    first = next(line for line in lines(bench) if (line["task"], line["doc_id"]) == ("squadv2", 18))
    assert [score["check"] for score in first["scores"]] == ["f1", "exact_match"]
    assert "Question: Which word has number 18?" in first["prompt"]
    assert (first["gold"], first["original"], first["pruned"]) == ("word18", " word18", " 99999")
    in_parts = lines(bench)
    bench.run("-k", "f1 and not HasAns")  # again, with another check of its task from the day before
    assert_agreement(bench)
    assert lines(bench) == in_parts
    bench.run()
    assert_agreement(bench)
    assert [(line["task"], line["doc_id"], line["prompt"]) for line in lines(bench)] == [
        (line["task"], line["doc_id"], line["prompt"]) for line in in_parts
    ], "one run says the same"  # fmt: skip
    assert [part.name for part in summaries[1].checks[0].parts] == ["HasAns", "NoAns"], "they survive a day"


@pytest.mark.parametrize("damage", ["missing", "cut", "no JSON", "other values"])
def test_what_is_lost_of_an_earlier_day_is_said(bench: Bench, damage: str) -> None:
    bench.models(pruned={"wrong": [17, 18, 19]})
    bench.thresholds(TWO_TASKS)
    bench.run("-m", "boolq")
    path = bench.results / "changed.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    assert len(whole) == 3
    hostile = json.dumps(json.loads(whole[1]) | {"member": ["x"], "doc_id": "2"}) + "\n" + whole[2]
    damaged = {
        "cut": whole[0] + whole[1][:100],
        "no JSON": f"{whole[0]}\x00[[[\n" + '{"task": 1}\n[]\nnull\n',
        "other values": whole[0] + hostile,
    }
    path.unlink()
    if damage in damaged:
        path.write_text(damaged[damage])
    left = {"missing": 0, "other values": 2}.get(damage, 1)
    for _ in range(2):  # it is said again on the day after
        bench.run("-m", "squadv2")
        assert any(
            note.startswith(f"boolq.acc: its changed answers are not all known any more: {left} of 3 lost and 0 of 0 gained.")
            for note in results(bench)["notes"]
        )  # fmt: skip
        assert sum(line["task"] == "boolq" for line in lines(bench)) == left
    bench.run("-m", "boolq")
    assert_agreement(bench)
    assert not any("not all known" in note for note in results(bench)["notes"])


def test_archived_results_bring_their_changed_answers_back(bench: Bench) -> None:
    bench.models(pruned={"wrong": [17, 18, 19]})
    bench.thresholds(TWO_TASKS)
    bench.run("-m", "boolq")
    before = lines(bench)
    bench.run("-m", "boolq", "--prunegate-limit=10")  # another setting: the first results are moved away
    (folder,) = (bench.results / "archive").glob("*")
    assert (folder / "changed.jsonl").exists()
    bench.run("-m", "squadv2")
    assert [line for line in lines(bench) if line["task"] == "boolq"] == before
    assert_agreement(bench)


@pytest.mark.parametrize("file", ["../outside.jsonl", "/etc/passwd", 7, "evaluation.log"])
def test_a_file_elsewhere_is_not_read(bench: Bench, file: Any) -> None:
    bench.models()
    bench.thresholds(TWO_TASKS)
    bench.run("-m", "boolq")
    path = bench.results / "comparison_results.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"changed": found["changed"] | {"file": file}}))
    (bench.path / "outside.jsonl").write_text("x\n")
    bench.run("-m", "squadv2").stdout.fnmatch_lines(["Stale: all::all of *"])
    assert (bench.path / "outside.jsonl").exists()


def test_a_run_of_errors_has_no_file(bench: Bench) -> None:
    bench.models(original={"empty": list(range(20))})
    bench.thresholds(SQUAD_AND_GSM8K)
    assert bench.run().ret == 10
    assert results(bench)["changed"]["file"] is None
    assert not (bench.results / "changed.jsonl").exists()


def test_a_baseline_alone_leaves_the_file_of_a_comparison(bench: Bench) -> None:
    bench.models()
    bench.thresholds(TWO_TASKS)
    bench.run()
    before = lines(bench)
    bench.run("--prunegate-baseline-only", models=("--original=original",))
    assert before
    assert lines(bench) == before


def group(bench: Bench, rows: int = 20, **fields: Any) -> None:
    """Two tasks in a group; each question has the fields, made from its number."""
    for name, start in (("first", 0), ("second", 100)):
        documents = [
            {"n": n, "label": int(n % 2 == 0)} | {field: make(n) for field, make in fields.items()}
            for n in range(start, start + rows)
        ]
        write_task(bench.path / "own", name, documents, **CHOICES_OF_TWO)
    write_group(bench.path / "own", "both", ["first", "second"], weight_by_size=True)


def test_members_of_a_group(bench: Bench) -> None:
    group(bench)
    bench.models(original={"wrong": [104]}, pruned={"wrong": [3, 101, 102]})
    bench.thresholds("tasks: {both: {metrics: {acc: {max_absolute_drop: 1}}}}")
    bench.run("--prunegate-include-path=own")
    assert_agreement(bench)
    assert [(line["member"], line["doc_id"], line["change"], line["original"], line["pruned"]) for line in lines(bench)] == [
        ("first", 3, "lost", "no", "yes"), ("second", 1, "lost", "no", "yes"), ("second", 2, "lost", "yes", "no"), ("second", 4, "gained", "no", "yes"),
    ]  # fmt: skip
    members = results(bench)["checks"][0]["members"]
    assert [(member["name"], member["documents"], member["lost"], member["gained"]) for member in members] == [
        ("first", 20, 1, 0), ("second", 20, 2, 1)
    ]  # fmt: skip
    bench.thresholds(
        f"tasks:\n  both: {{metrics: {{acc: {{max_absolute_drop: 1}}}}}}\n  boolq:\n    {BOOLQ}\n    metrics: {{acc: 50%}}\n"
    )
    bench.run("--prunegate-include-path=own", "-m", "boolq")
    assert_agreement(bench)
    assert results(bench)["checks"][0]["members"] == members


def test_parts_by_fields_of_the_documents(bench: Bench) -> None:
    group(
        bench,
        20,
        subject=lambda n: ["art", "law", None][n % 3],
        level=lambda n: n % 2,
        tags=lambda n: ["a", {"b": n % 2}],
    )
    bench.models(pruned={"wrong": [0, 3, 101]})
    text = "tasks: {both: {slice_by: [subject, level, tags], metrics: {acc: {max_absolute_drop: 1}}}}"
    bench.thresholds(text)
    bench.run("--prunegate-include-path=own")
    parts = results(bench)["checks"][0]["parts"]
    assert [(part["by"], part["name"], part["documents"], part["lost"]) for part in parts] == [
        ("subject", "law", 14, 0), ("subject", "(none)", 13, 1), ("subject", "art", 13, 2), ("level", "0", 20, 1), ("level", "1", 20, 2),
        ("tags", '["a", {"b": 0}]', 20, 1), ("tags", '["a", {"b": 1}]', 20, 2),
    ]  # fmt: skip
    assert parts[2]["pruned"] == pytest.approx(11 / 13)
    assert parts[2]["relative"] == pytest.approx(-2 / 13)
    more = f"  boolq:\n    {BOOLQ}\n    slice_by: passage\n    metrics: {{acc: 50%}}\n"
    bench.thresholds(text.replace("tasks: {both: ", "tasks:\n  both: ")[:-1] + "\n" + more)
    bench.run("--prunegate-include-path=own", "-m", "boolq")
    first, second = results(bench)["checks"]
    assert (first["is_earlier"], first["parts"]) == (True, parts)
    assert [(part["by"], part["name"]) for part in second["parts"]] == [("passage", "Numbers.")]
    bench.thresholds(("tasks:\n  both: {slice_by: [level, n], metrics: {acc: {max_absolute_drop: 1}}}\n") + more)
    bench.run("--prunegate-include-path=own", "-m", "boolq")
    first = results(bench)["checks"][0]
    assert first["is_earlier"] is True, "what it is sliced by changes no figure"
    assert {part["by"] for part in first["parts"]} == {"level"}
    assert any(note.startswith("both.acc: its figures by n are not known") for note in results(bench)["notes"])


def test_a_field_with_many_values(bench: Bench) -> None:
    group(bench, 60, topic=lambda n: "common" if n % 2 else f"topic {n}")
    bench.models(pruned={"wrong": [158]})
    bench.thresholds("tasks: {both: {slice_by: topic, metrics: {acc: {max_absolute_drop: 1}}}}")
    bench.run("--prunegate-include-path=own")
    parts = results(bench)["checks"][0]["parts"]
    assert len(parts) == 51
    assert (parts[0]["name"], parts[0]["documents"]) == ("common", 60)
    assert (parts[-1]["name"], parts[-1]["documents"]) == ("(11 other values together)", 11)
    assert sum(part["documents"] for part in parts) == 120


def test_a_field_that_there_is_not(bench: Bench) -> None:
    bench.models()
    bench.thresholds(f"tasks:\n  boolq:\n    {BOOLQ}\n    slice_by: [passage, topic]\n    metrics: {{acc: 50%}}\n")
    result = bench.run()
    assert result.ret == 10
    result.stdout.fnmatch_lines(["problem:*boolq: slice_by: a document has no field topic. It has: *passage*"])
    assert bench.executor.requests == [], "told before anything is asked"
    result = bench.run("--prunegate-preflight")
    assert result.ret != 0


def test_hostile_questions_answers_outputs_and_fields(
    bench: Bench, summaries: list[Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of them is lost, nothing comes of them, and the report stays small."""
    texts = [*HOSTILE.values()]
    asked = [text[:50_000].encode("utf-8", "replace").decode() for text in texts]  # no data set holds half a character
    write_jsonl(
        bench.path / "data" / "gsm8k.jsonl",
        [{"question": f"{text} number {n}", "answer": text, "subject": text} for n, text in enumerate(asked)],
    )

    def answer(request: Any, script: dict[str, Any]) -> Response:
        number = int(re.findall(r"number (\d+)", request.context)[-1])
        return Response(text=f"{texts[number]} #### {script['says']}", cut=False)

    monkeypatch.setattr(scripted, "_answer", answer)
    (bench.path / "own").mkdir()
    (bench.path / "own" / "mine.yaml").write_text(
        "task: mine\noutput_type: generate_until\ndataset_path: json\ntest_split: test\ndoc_to_text: '{{question}}'\ndoc_to_target: answer\n"
        "process_results: !function code.scores\nmetric_list: [{metric: m, aggregation: mean, higher_is_better: true}]\n"
    )
    (bench.path / "own" / "code.py").write_text(
        "def scores(doc, results):\n    return {'m': int(results[0].endswith('right'))}\n"
    )
    bench.models(original={"says": "right"}, pruned={"says": "wrong"})
    for side in ("original", "pruned"):
        config = json.loads((bench.path / side / "config.json").read_text())
        (bench.path / side / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 100_000_000}))
    bench.thresholds(
        f"tasks:\n  mine:\n    {GSM8K}\n    slice_by: subject\n    metrics: {{m: {{max_absolute_drop: 1}}}}\n"
    )
    result = bench.run("--prunegate-include-path=own")
    assert result.ret == 0
    assert_agreement(bench)
    found = lines(bench)
    assert [line["doc_id"] for line in found] == list(range(len(texts)))
    assert [line["original"] for line in found] == [f"{text} #### right" for text in texts]
    assert [line["prompt"] for line in found] == [f"{text} number {n}" for n, text in enumerate(asked)]
    assert [line["gold"] for line in found] == [text.strip() for text in asked]
    data = (bench.results / "changed.jsonl").read_bytes()
    assert data.isascii()
    assert len(data.decode().splitlines()) == len(texts), "whatever ends a line in a text"
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", data)
    changed = summaries[0].changed
    assert sum(map(len, changed.blocks)) < 500_000
    parts = summaries[0].checks[0].parts
    assert len(parts) == len(set(asked))
    assert max(len(part.name) for part in parts) < 250
