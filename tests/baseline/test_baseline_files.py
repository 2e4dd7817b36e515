"""A file in a model's place: the same verdicts without the model, and a refusal of everything that it does not answer."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import GSM8K, SQUAD, TWO_TASKS

from pytest_prunegate.baseline import container
from pytest_prunegate.baseline.container import write_container

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Bench

ALONE = ("--original=original",)
FILE = "--original=baseline.json.gz"
PAIR = (FILE, "--pruned=pruned")
INCONCLUSIVE = 11
TIMES = {
    "command",
    "started",
    "finished",
    "seconds",
    "measured",
    "executed",
    "notes",
    "device",
    "provenance",
    "run",
    "answered_in",
}


@pytest.fixture
def project(bench: Bench) -> Bench:
    bench.models(original={"wrong": [3]}, pruned={"wrong": [3, 7, 19], "empty": [5]})
    bench.thresholds(TWO_TASKS)
    return bench


def make_baseline(bench: Bench, *arguments: str, name: str = "baseline.json.gz", side: str = "original") -> Path:
    """Measure a side alone, keep its file under a name, and delete everything else that knows its answers."""
    result = bench.run("--prunegate-baseline-only", *arguments, models=(f"--original={side}",))
    assert result.ret == 0
    path = bench.path / name
    shutil.move(bench.results / "baseline.json.gz", path)
    shutil.rmtree(bench.results)
    shutil.rmtree(bench.path / ".prunegate")
    bench.executor.loads.clear()
    bench.executor.requests.clear()
    return path


def asked(bench: Bench) -> set[str]:
    return {side for side, _ in bench.executor.requests}


def comparable(value: Any) -> Any:
    """Results without times, and without how often a model was asked."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items() if key not in TIMES}
    return [comparable(inner) for inner in value] if isinstance(value, list) else value


def results(bench: Bench) -> Any:
    return comparable(json.loads((bench.results / "comparison_results.json").read_text()))


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["content"]
    return found


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a file says, with a digest that is right."""
    found = content(path)
    change(found)
    write_container(path, found)


def test_the_file_gives_what_the_model_gives(project: Bench) -> None:
    assert project.run().ret == 0
    with_model = results(project)
    figures = [(project.results / f"{side}_model_results.json").read_text() for side in ("original", "pruned")]
    shutil.rmtree(project.results)
    shutil.rmtree(project.path / ".prunegate")
    make_baseline(project)
    shutil.rmtree(project.path / "original")
    result = project.run(models=PAIR)
    assert result.ret == 0
    assert asked(project) == {"pruned"}
    assert project.executor.loads == ["pruned"]
    assert results(project) == with_model
    assert [(project.results / f"{side}_model_results.json").read_text() for side in ("original", "pruned")] == figures
    result.stdout.fnmatch_lines([
        "task: *boolq: all 20 documents, 0 shots, 80 requests, 40 of them kept",
        "note: *The original model original is not loaded: its answers are those of *baseline.json.gz, of 20*-*-* on cpu: *.",
    ])  # fmt: skip
    report = (project.results / "comparison_report.md").read_text()
    assert "is not loaded: its answers are those of" in report


def test_two_files_are_judged_by_other_thresholds_without_a_model(project: Bench) -> None:
    make_baseline(project)
    make_baseline(project, name="pruned.json.gz", side="pruned")
    shutil.rmtree(project.path / "original")
    shutil.rmtree(project.path / "pruned")
    models = (FILE, "--pruned=wanda=pruned.json.gz")
    result = project.run("-v", models=models)
    result.stdout.fnmatch_lines([
        "time: *every answer is kept; no model is loaded", "thresholds.yaml::boolq::acc?wanda? PASSED*", "PASS: 2 of 2 checks*"
    ])  # fmt: skip
    project.thresholds(TWO_TASKS.replace("50%", "1%"))
    result = project.run(models=models)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAIL: 2 of 2 checks measured: 2 failed"])
    assert project.executor.loads == []
    assert (project.results / "pruned_model_results.json").is_file()


@pytest.mark.slow
def test_two_files_need_no_torch(project: Bench) -> None:
    for side in ("original", "pruned"):
        make_baseline(project, "-m", "boolq", name=f"{side}.json.gz", side=side)
    arguments = [FILE.replace("baseline", "original"), "--pruned=pruned.json.gz", f"--prunegate-cache-dir={project._cache}", "-q", "-m", "boolq"]  # fmt: skip
    code = (
        f"import sys, pytest; code = pytest.main({arguments}); "
        "print(int(code), *sorted(name for name in sys.modules if name in ('torch', 'transformers')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project.path)
    assert found.stdout.splitlines()[-1].split() == ["0"], found.stdout


def test_early_verdicts_and_their_protocol_work_with_a_file(project: Bench) -> None:
    make_baseline(project)
    shutil.rmtree(project.path / "original")
    result = project.run("--prunegate-decide=early", models=PAIR)
    result.stdout.fnmatch_lines(["* 2 passed*"])
    again = project.run("--prunegate-decide=early", "--prunegate-seed=7", models=PAIR)
    again.stdout.fnmatch_lines(["note: *drawn with seed 1234 before*"])


def test_a_smaller_limit_is_answered_and_a_larger_one_is_not(project: Bench) -> None:
    make_baseline(project, "--prunegate-limit=10")
    assert project.run("--prunegate-limit=5", models=PAIR).ret == INCONCLUSIVE
    project.executor.loads.clear()
    result = project.run("--prunegate-limit=12", "-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines([
        "boolq: *baseline.json.gz, which stands for the original model original, does not answer what this run asks:",
        "  documents: * not in the file; it has 10 of 20 (limit 10, seed 1234), this run may ask 12 (limit 12, seed 1234)",
        "Ask as the file was asked, or make a new baseline by these settings: *",
    ])  # fmt: skip
    assert project.executor.loads == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prunegate-num-fewshot=2"], "num_fewshot: 1 in the file, 2 asked for"),
        (["--prunegate-fewshot-seed=5"], "fewshot_seed: 1234 in the file, 5 asked for"),
        (["--prunegate-system-instruction=Be brief."], 'system_instruction: not set in the file, "Be brief." asked for'),
        (["--prunegate-gen-kwargs=temperature=0.5,do_sample=true"], "gen_kwargs: not set in the file, *temperature*0.5* asked for"),
        (["--prunegate-max-gen-toks=13"], "max_gen_toks: 12 in the file, 13 asked for"),
        (["--prunegate-limit=10", "--prunegate-seed=9"], "documents: *limit 10, seed 1234*limit 10, seed 9*"),
        (["--prunegate-dtype=bfloat16"], "dtype: float32 in the file, bfloat16 asked for"),
    ],
)  # fmt: skip
def test_other_settings_are_refused_by_what_differs(bench: Bench, arguments: list[str], said: str) -> None:
    bench.models()
    bench.thresholds(
        f"""
        tasks:
          gsm8k:
            {GSM8K}
            num_fewshot: 1
            max_gen_toks: 12
            metrics: {{"exact_match,flexible-extract": 50%}}
        """.replace("num_fewshot: 1", "num_fewshot: 1" if "--prunegate-num-fewshot=2" not in arguments else "")
    )
    own = ["--prunegate-num-fewshot=1"] if "--prunegate-num-fewshot=2" in arguments else []
    if "--prunegate-max-gen-toks=13" in arguments:
        bench.thresholds((bench.path / "thresholds.yaml").read_text().replace("max_gen_toks: 12\n", "\n"))
        own = ["--prunegate-max-gen-toks=12"]
    make_baseline(bench, "--prunegate-limit=10", *own)
    limit = [] if any("limit" in argument for argument in arguments) else ["--prunegate-limit=10"]
    assert bench.run("--prunegate-limit=10", *own, models=PAIR).ret == 0
    shutil.rmtree(bench.path / ".prunegate")  # which remembers the draw
    bench.executor.loads.clear()
    result = bench.run(*limit, *arguments, models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines([f"  {said}"])
    assert bench.executor.loads == []


def test_other_data_and_another_version_of_the_task_are_refused(project: Bench) -> None:
    path = make_baseline(project)
    rewrite(path, lambda found: [asking.update(version="0.1") for asking in found["askings"]])
    rewrite(path, lambda found: found.update(responses={"0" * 32: {"text": ""}}))
    result = project.run("-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  version of the task: 0.1 in the file, * here"])
    make_baseline(project)
    loads = list(project.executor.loads)
    data = project.path / "data" / "boolq.jsonl"
    data.write_text(data.read_text().replace("is number 4 even", "is the number 4 even"))
    result = project.run("-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  data: 20 documents with fingerprint * in the file, 20 with * here"])
    assert project.executor.loads == loads == []


def test_a_task_and_a_metric_that_the_file_lacks(project: Bench) -> None:
    project.thresholds(TWO_TASKS)
    make_baseline(project, "-m", "squadv2")
    result = project.run("-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  the file has no answers to boolq; it holds squadv2 (20 documents)"])
    project.thresholds(f"tasks:\n  squadv2:\n    {SQUAD}\n    metrics: {{f1: 50%, best_f1: 50%}}\n")
    result = project.run(models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  document 0 (and of 19 more): the file answers 1 of its 2 requests*"])


def test_another_prompt_is_told_by_its_document(project: Bench) -> None:
    path = make_baseline(project)

    def change(found: dict[str, Any]) -> None:
        (boolq,) = (asking for asking in found["askings"] if asking["task"] == "boolq")
        for key in boolq["documents"]["17"]:
            del found["responses"][key]

    rewrite(path, change)
    result = project.run("-m", "boolq", models=PAIR)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["  the prompt of document 17 differs: look at what fills it in *"])


def test_another_library_or_device_is_a_warning(project: Bench) -> None:
    path = make_baseline(project)

    def change(found: dict[str, Any]) -> None:
        found["environments"][0]["libraries"]["torch"] = "1.0"
        found["environments"][0]["hardware"] = "cuda: NVIDIA H100"

    rewrite(path, change)
    result = project.run(models=PAIR)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["note: *Computed elsewhere, in *baseline.json.gz and here: cuda: NVIDIA H100 there, cpu: * here; torch 1.0 there, * here*"])  # fmt: skip
    assert "Computed elsewhere" in (project.results / "comparison_report.md").read_text()


def test_a_file_made_with_another_version_of_lm_eval_answers(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pytest_prunegate.execution.conditions.lm_eval_version", lambda: "0.4.1")
        make_baseline(project)
    result = project.run(models=PAIR)
    assert result.ret == 0
    assert asked(project) == {"pruned"}
    result.stdout.fnmatch_lines(["note: *Computed elsewhere, *: lm-eval 0.4.1 there, * here.*"])


def flipped(path: Path) -> None:
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)


def other_text(path: Path) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace('"loglikelihood":-1.0', '"loglikelihood":-9.0', 1).encode()))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (flipped, "*baseline.json.gz *"),
    (lambda path: path.write_bytes(path.read_bytes()[:-200]), "*cannot be unpacked: *"),
    (lambda path: path.write_bytes(b""), "*holds no JSON that can be read*"),
    (other_text, "*is damaged: its digest is not that of its content*"),
    (lambda path: path.write_bytes(gzip.compress(b'{"a": 1}')), "*is JSON of something else*"),
    (lambda path: path.write_bytes(gzip.compress(b"[" * 100_000)), "*holds no JSON that can be read: RecursionError*"),
    (lambda path: path.write_bytes(gzip.compress(bytes(8 << 20), 9)), "*unpacks to more than 1 MB, *"),
    (lambda path: path.write_bytes(gzip.compress(b'{"format": "pytest-prunegate baseline", "version": 99}')), "*format 99*reads 1*Upgrade*"),
    (lambda path: rewrite(path, lambda found: found.pop("model")), "*cannot be understood: Object missing required field *"),
    (lambda path: rewrite(path, lambda found: found["model"].update(name="../../x")), "*its name is '../../x'*"),
    (lambda path: rewrite(path, lambda found: found["model"].update(path="\x1b[2J")), "*path is '?x1b?2J'*"),
    (lambda path: rewrite(path, lambda found: found["model"].update(size="7")), "*size is '7'*"),
    (lambda path: rewrite(path, lambda found: found["responses"].update(a={"text": 7})), "*Expected `str | null`, got `int` - at `$.responses*"),
    (lambda path: rewrite(path, lambda found: found["tokenizer"]["files"].update({"../x": {"text": ""}})), "*'../x' among the tokenizer's files*"),
    (lambda path: rewrite(path, lambda found: found["tokenizer"]["files"].update({"additional_chat_templates/../../x.jinja": {"text": ""}})), "*x.jinja' among the tokenizer's files*"),
    (lambda path: rewrite(path, lambda found: found["tokenizer"]["files"].update({"tokenization_evil.py": {"text": ""}})), "*evil.py' among the tokenizer's files*"),
    (lambda path: rewrite(path, lambda found: found["conditions"].update(max_length="x")), "*Expected `int`, got `str` - at `$.conditions.max_length`*"),
    (lambda path: rewrite(path, lambda found: found["conditions"].update(more=1)), "*cannot be understood: it has what is not known here: more.*"),
    (lambda path: rewrite(path, lambda found: found["askings"][0].update(more=1)), "*it has what is not known here: more.*"),
    (lambda path: rewrite(path, lambda found: found["responses"].update(a={"text": "x", "more": 1})), "*it has what is not known here: more.*"),
    (lambda path: rewrite(path, lambda found: found["environments"].append({})), "*cannot be understood: Object missing required field *"),
    (lambda path: rewrite(path, lambda found: found["environments"][0].update(hardware="\x1b]0;x")), "*it says *"),
    (lambda path: rewrite(path, lambda found: found["askings"][0].update(documents=[])), "*cannot be understood*"),
    (lambda path: path.unlink(), "*there is no file *baseline.json.gz.*"),
]  # fmt: skip


@pytest.mark.slow
def test_a_damaged_or_hostile_file_is_refused(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_ALWAYS", 1 << 20)  # bytes that any file may unpack to
    monkeypatch.setattr(container, "_RATIO", 100)
    path = make_baseline(project)
    sound = path.read_bytes()
    before = {found for found in project.path.rglob("*") if found.is_file()} - {path}
    for damage, said in DAMAGES:
        path.write_bytes(sound)
        damage(path)
        result = project.run(models=PAIR)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, said
        assert not any("Traceback" in line for line in result.errlines + result.outlines)
        result.stderr.fnmatch_lines([said])
        assert {found for found in project.path.rglob("*") if found.is_file()} - {path} == before


def test_a_file_by_another_name_is_known_by_its_beginning(project: Bench) -> None:
    make_baseline(project, name="dense.baseline")
    assert project.run(models=("--original=dense.baseline", "--pruned=pruned")).ret == 0


@pytest.mark.parametrize(
    ("arguments", "models", "said"),
    [
        (["--prunegate-original-args=dtype=float32"], PAIR, "*how its model was loaded stands in it. Take --prunegate-original-args out*"),
        (["--prunegate-baseline-only"], (FILE,), "*--prunegate-baseline-only asks the model itself, and --original=baseline.json.gz is a baseline file.*"),
        (["--prunegate-noise-floor"], PAIR, "*--prunegate-noise-floor asks the model itself*"),
        (["--prunegate-peft-base=original"], (FILE, "--pruned=baseline.json.gz"), "*needs no base. Take --prunegate-peft-base out*"),
        (["--prunegate-pruned-args=tokenizer=baseline.json.gz"], PAIR, "*this is a baseline file, which holds answers; a model is needed here*"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_a_file(project: Bench, arguments: list[str], models: tuple[str, ...], said: str) -> None:
    make_baseline(project)
    result = project.run(*arguments, models=models)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])


def test_two_days_into_one_folder_end_in_one_file(project: Bench) -> None:
    project.run("--prunegate-baseline-only", "-m", "boolq", models=ALONE)
    shutil.rmtree(project.path / ".prunegate")  # another machine, another day: only the file is left
    result = project.run("--prunegate-baseline-only", "-m", "squadv2", models=ALONE)
    result.stdout.fnmatch_lines([
        "Baseline: *baseline.json.gz (* kB) holds boolq (20 documents), squadv2 (20 documents).", "Not measured in this run: boolq."
    ])  # fmt: skip
    shutil.move(project.results / "baseline.json.gz", project.path / "baseline.json.gz")
    shutil.rmtree(project.path / "original")
    assert project.run(models=PAIR).ret == 0


def test_a_larger_sample_and_other_settings_join_the_file(project: Bench) -> None:
    for arguments in (["--prunegate-limit=5"], ["--prunegate-limit=8"], ["--prunegate-limit=5", "--prunegate-system-instruction=Be."]):  # fmt: skip
        project.run("--prunegate-baseline-only", "-m", "boolq", *arguments, models=ALONE)
    shutil.move(project.results / "baseline.json.gz", project.path / "baseline.json.gz")
    assert project.run("-m", "boolq", "--prunegate-limit=8", models=PAIR).ret == INCONCLUSIVE
    assert project.run("-m", "boolq", "--prunegate-limit=5", "--prunegate-system-instruction=Be.", models=PAIR).ret == INCONCLUSIVE  # fmt: skip
    assert project.run("-m", "boolq", "--prunegate-limit=8", "--prunegate-system-instruction=Be.", models=PAIR).ret == 10  # fmt: skip


def test_the_baseline_of_another_model_is_moved_away(project: Bench) -> None:
    project.run("--prunegate-baseline-only", models=ALONE)
    first = (project.results / "baseline.json.gz").read_bytes()
    result = project.run("--prunegate-baseline-only", models=("--original=pruned",))
    result.stdout.fnmatch_lines(["The baseline that was there is of another model (original); it is now *archive/1-baseline.json.gz."])  # fmt: skip
    assert (project.results / "archive" / "1-baseline.json.gz").read_bytes() == first
    (project.results / "baseline.json.gz").write_bytes(b"broken")
    result = project.run("--prunegate-baseline-only", models=ALONE)
    result.stdout.fnmatch_lines(["*baseline.json.gz cannot be unpacked*It is now *archive/2-baseline.json.gz."])


def test_equal_content_has_equal_bytes(project: Bench) -> None:
    project.run("--prunegate-baseline-only", models=ALONE)
    first = (project.results / "baseline.json.gz").read_bytes()
    project.run("--prunegate-baseline-only", models=ALONE)
    assert (project.results / "baseline.json.gz").read_bytes() == first
    shutil.rmtree(project.results)
    project.run("--prunegate-baseline-only", models=ALONE)
    assert (project.results / "baseline.json.gz").read_bytes() == first


def test_a_task_that_breaks_is_not_in_the_file(project: Bench) -> None:
    data = project.path / "data" / "boolq.jsonl"
    before = data.read_text()
    data.write_text("")
    result = project.run("--prunegate-baseline-only", models=ALONE)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["Baseline: * holds squadv2 (20 documents).", "Not measured in this run: boolq."])
    data.write_text(before)


def test_a_run_that_measures_nothing_writes_no_file(project: Bench) -> None:
    for name in ("boolq", "squad"):
        (project.path / "data" / f"{name}.jsonl").write_text("")
    result = project.run("--prunegate-baseline-only", models=ALONE)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["No task was measured, and no baseline was written."])
    assert not (project.results / "baseline.json.gz").exists()


def test_what_was_put_into_the_cache_is_put_right_again(project: Bench, tmp_path: Path) -> None:
    """A tokenizer in the cache that somebody changed is not the file's."""
    make_baseline(project)
    own = f"--prunegate-cache-dir={tmp_path}"
    for path in project._cache.glob("*.json"):  # the index of lm-eval's tasks
        shutil.copy(path, tmp_path)
    assert project.run(own, models=PAIR).ret == 0
    (folder,) = (tmp_path / "tokenizers").iterdir()
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenization.py").write_text("")
    assert project.run(own, models=PAIR).ret == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == sound


class TestExport:
    """A baseline from the store alone."""

    def export(self, bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest_prunegate", "store", "export", ".prunegate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bench.path)

    def test_it_takes_the_place_of_the_model(self, project: Bench) -> None:
        assert project.run().ret == 0
        with_models = results(project)
        shutil.rmtree(project.path / "original")
        shutil.rmtree(project.path / "pruned")
        for side in ("original", "pruned"):
            found = self.export(project, f"--model={side}", f"--output={side}.json.gz")
            assert found.returncode == 0, found.stderr
            assert f"{side} in float32: boolq (20 documents), squadv2 (20 documents)" in found.stderr
        shutil.rmtree(project.path / ".prunegate")
        shutil.rmtree(project.results)
        assert project.run(models=("--original=original.json.gz", "--pruned=pruned.json.gz")).ret == 0
        assert results(project) == with_models

    def test_what_is_half_answered_is_half_exported(self, project: Bench) -> None:
        project.executor.fail_after = 11
        project.run("--prunegate-baseline-only", "-m", "boolq", models=ALONE)
        found = self.export(project, "--model=original", "--output=half.json.gz")
        assert found.returncode == 0
        assert "boolq: 5 of 20 documents that were asked for have answers" in found.stderr
        assert "boolq (5 documents)" in found.stderr

    @pytest.mark.slow
    def test_the_model_has_to_be_named(self, project: Bench) -> None:
        project.run("-m", "boolq")
        project.run("-m", "boolq", "--prunegate-dtype=bfloat16")
        several = self.export(project, "--model=original", "--output=a.json.gz")
        assert several.returncode == 2
        assert "2 models of .prunegate match" in several.stderr
        keys = [line.split()[0] for line in several.stderr.splitlines() if "bfloat16" in line]
        assert self.export(project, f"--model={keys[0]}", "--output=a.json.gz").returncode == 0
        assert content(project.path / "a.json.gz")["conditions"]["dtype"] == "bfloat16"
        again = self.export(project, f"--model={keys[0]}", "--output=a.json.gz")
        assert (again.returncode, "is there already" in again.stderr) == (2, True)
        unknown = self.export(project, "--model=nobody", "--output=b.json.gz")
        assert "no model of .prunegate has this path, name, fingerprint or key. It has:" in unknown.stderr
        assert self.export(project, "--model=original", "--output=b.json").returncode == 2

    def test_a_store_that_lost_what_it_knew_of_its_models(self, project: Bench) -> None:
        project.run()
        connection = sqlite3.connect(project.path / ".prunegate" / "responses.sqlite")
        with connection:
            connection.execute("DELETE FROM facts")
        connection.close()
        found = self.export(project, "--model=original", "--output=a.json.gz")
        assert found.returncode == 2
        assert "Run the gate on it once; no answer is computed again." in found.stderr
        project.executor.loads.clear()
        project.run()
        assert project.executor.loads == []
        assert self.export(project, "--model=original", "--output=a.json.gz").returncode == 0

    def test_without_a_store(self, project: Bench) -> None:
        found = self.export(project, "--model=original", "--output=a.json.gz")
        assert found.returncode == 2
        assert "there is no store in this folder" in found.stderr
        assert not (project.path / ".prunegate").exists()
