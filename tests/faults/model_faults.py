"""Memory that runs out, models that are damaged or exchanged, and code that raises."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from faults.injections import lacks, tracebacks
from faults.project import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faults.injections import Fault
    from faults.project import Outcome, Responses

_ERROR = 10
_OWN_TASK = """
task: own
dataset_path: json
dataset_kwargs: {data_files: {test: data/gsm8k.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["never"], max_gen_toks: 4}
process_results: !function scorer.process_results
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1}
"""
_SCORER = """
def process_results(doc, results):
    if "number 3?" in doc["question"] and {broken}:
        raise KeyError("injected")
    return {{"exact_match": 1.0}}
"""


def out_of_memory(fault: Fault) -> None:
    """At every model call of a run, once: at batch size 4 the same verdicts at once, at 1 a clear error and a resume.

    A probe looks at one row, so that it counts as batch size 1.
    """
    for batch_size in (4, 1):
        expected = fault.workshop.undisturbed(batch_size)
        for point in fault.points(fault.workshop.calls[batch_size]):
            fault.project.forget()
            ended = fault.run(batch_size=batch_size, on_call=_runs_out_at(point))
            is_probe = next(
                event["event"] == "probed" for number, event in enumerate(_calls(fault), 1) if number == point
            )
            found = differences(fault.outcome_of(ended), expected, batch_size=batch_size)
            if not found:
                fault.judge(f"same verdicts at once at batch size {batch_size}", [], ended)
                continue
            problems = (
                [] if batch_size == 1 or is_probe else [f"call {point} at batch size {batch_size}: {'; '.join(found)}"]
            )
            problems += [f"exit code {ended.code}"] if ended.code != _ERROR else []
            problems += lacks(ended, "out of memory") + fault.resumed(batch_size=batch_size)
            fault.judge(
                f"a clear error at batch size {1 if is_probe else batch_size}, then a resume to the same",
                problems,
                ended,
            )


def _runs_out_at(point: int) -> Callable[[int], None]:
    def on_call(number: int) -> None:
        if number == point:
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. (injected)")

    return on_call


def _calls(fault: Fault) -> Iterator[dict[str, Any]]:
    return (event for event in fault.project.events() if event["event"] in {"called", "probed"})


def nan_model(fault: Fault) -> None:
    """An error that names the model, before its first answer is kept; the original's answers stay good."""
    fault.workshop.undisturbed(1)
    fault.project.forget()
    ended = fault.run(pruned="nan")
    problems = [f"exit code {ended.code}"] if ended.code != _ERROR else []
    known = fault.workshop.undisturbed(1).responses
    strange = set(fault.project.responses()) - set(known)
    problems += [f"{len(strange)} answers of the broken model were kept"] if strange else []
    shutil.rmtree(
        fault.project.results, ignore_errors=True
    )  # a report on another model is archived, and the next one says so
    fault.judge("an error that names it", problems + lacks(ended, "NaN or infinite") + fault.resumed(), ended)


def swapped_between_runs(fault: Fault) -> None:
    """Other weights in the same file of the same size: the other model is measured, also where the file's date is put back."""
    first, other = fault.workshop.undisturbed(1), _of_the_other(fault)
    for keeps_date in (False, True):
        fault.project.forget()
        fault.run()
        before = _swap(fault, keeps_date=keeps_date)
        shutil.rmtree(fault.project.results)
        ended = fault.run()
        found = fault.outcome_of(ended)
        problems = _figures(found, other) + _strange(found.responses, first, other)
        fault.judge(f"the other model was measured{', with the old date' if keeps_date else ''}", problems, ended)
        _put_back(fault, before)


def swapped_during_a_run(fault: Fault) -> None:
    """At any call: no answer is kept under another model's name, and no verdict mixes two models."""
    first, other = fault.workshop.undisturbed(1), _of_the_other(fault)
    for point in fault.points(fault.workshop.calls[1])[:: max(1, fault.workshop.calls[1] // 12)]:
        fault.project.forget()
        before = (fault.project.folder / "pruned" / "model.safetensors").read_bytes()
        ended = fault.run(on_call=_swaps_at(fault, point))
        found = fault.outcome_of(ended)
        problems = _strange(found.responses, first, other)
        if ended.code == 0:
            problems += [] if not _figures(found, first) else ["the verdict is neither model's"]
        else:
            problems += lacks(ended, "changed", "replaced")
        shutil.rmtree(fault.project.results, ignore_errors=True)
        resumed = fault.run()
        problems += [f"after the resume: {problem}" for problem in _figures(fault.outcome_of(resumed), other)]
        what = "the model in memory was measured" if ended.code == 0 else "an error that says so"
        fault.judge(f"{what}, then the other one", problems + tracebacks(resumed), ended)
        _put_back(fault, before)


def _of_the_other(fault: Fault) -> Outcome:
    """What an undisturbed run with the other weights comes to."""
    fault.project.forget()
    before = _swap(fault)
    found = fault.outcome_of(fault.run())
    _put_back(fault, before)
    return found


def _swaps_at(fault: Fault, point: int) -> Callable[[int], None]:
    def on_call(number: int) -> None:
        if number == point:
            _swap(fault)

    return on_call


def _swap(fault: Fault, *, keeps_date: bool = False) -> bytes:
    """Put the other model's weights into the pruned one's place; returns what was there."""
    path = fault.project.folder / "pruned" / "model.safetensors"
    before, date = path.read_bytes(), path.stat()
    other = (fault.project.folder / "other" / "model.safetensors").read_bytes()
    if keeps_date:
        path.write_bytes(other)
        os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))
    else:
        _replace(path, other)
    return before


def _put_back(fault: Fault, before: bytes) -> None:
    _replace(fault.project.folder / "pruned" / "model.safetensors", before)


def _replace(path: Path, content: bytes) -> None:
    """A new file under the same name, as tools save it: a model that is mapped into memory keeps the old one."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


def _figures(found: Outcome, expected: Outcome) -> list[str]:
    """In what the scores and verdicts differ, whatever else the store holds."""
    same = [(one["exact"], one["outcome"]) for one in found.checks] == [
        (one["exact"], one["outcome"]) for one in expected.checks
    ]
    return [] if same and found.checks else [f"scores or verdicts are not those of the model: {found.verdicts}"]


def _strange(found: Responses, *known: Outcome) -> list[str]:
    """Answers that are not those of the model under whose fingerprint they are kept."""
    true: Responses = {}
    for outcome in known:
        true |= outcome.responses
    wrong = [key for key, response in found.items() if true.get(key) != response]
    return [f"{len(wrong)} answers are kept under another model's fingerprint"] if wrong else []


def scorer_raises(fault: Fault) -> None:
    """On one document: its check is an error that names the document, the others have their verdicts; once mended, no model is asked."""
    folder = fault.project.folder
    (folder / "own").mkdir(exist_ok=True)
    (folder / "own" / "own.yaml").write_text(_OWN_TASK)
    scorer, thresholds = folder / "own" / "scorer.py", folder / "own.yaml"
    scorer.write_text(_SCORER.format(broken="True"))
    own = "  own:\n    metrics: {exact_match: {max_absolute_drop: 1}}\n"
    thresholds.write_text((folder / "thresholds.yaml").read_text().replace("tasks:\n", f"tasks:\n{own}"))
    more = ("--thresholds=own.yaml", "--prunegate-include-path=own")
    fault.project.forget()
    ended = fault.run(*more)
    outcomes = dict(fault.outcome_of(ended).verdicts)
    expected = (
        dict(fault.workshop.undisturbed(1).verdicts) | {"own.exact_match": "error"} if not ended.has_traceback else {}
    )
    problems = [f"exit code {ended.code}"] if ended.code != _ERROR else []
    problems += [f"verdicts {outcomes}, not {expected}"] if outcomes != expected else []
    scorer.write_text(_SCORER.format(broken="False"))
    mended = fault.run(*more)
    asked = sum(event["event"] == "called" for event in fault.project.events())
    problems += [f"once mended: exit code {mended.code}, {asked} calls"] if mended.code or asked else []
    fault.judge("an error of its check, which names the document", problems + lacks(ended, "document 3"), ended)


def model_raises(fault: Fault) -> None:
    """On one row, whenever it is asked: its check is an error that names the document, everything else is answered."""
    fault.workshop.undisturbed(4)
    fault.project.forget()
    fault.run()
    rows = [row for event in _calls(fault) for row in event.get("rows", ())]
    expected = fault.workshop.undisturbed(1)
    for number, batch_size in enumerate((1, 4, 1, 4)):
        row = fault.random.choice(rows)
        fault.project.forget()
        ended = fault.run(batch_size=batch_size, on_rows=_raises_on(row))
        found = fault.outcome_of(ended)
        outcomes = [outcome for _, outcome in found.verdicts]
        problems = [f"exit code {ended.code}"] if ended.code != _ERROR else []
        problems += (
            [f"trial {number}: verdicts {found.verdicts}"] if sorted(outcomes) != ["error", "pass", "pass"] else []
        )
        lacking = len(expected.responses) - len(found.responses)
        problems += [f"trial {number}: {lacking} responses lack"] if not 0 < lacking <= 2 else []
        problems += lacks(ended, "document ", "window ") + fault.resumed(batch_size=batch_size)
        fault.judge("an error of its check, which names the document; then a resume to the same", problems, ended)


def _raises_on(row: str) -> Callable[[list[str]], None]:
    def on_rows(rows: list[str]) -> None:
        if row in rows:
            raise RuntimeError("injected: this row breaks the model")

    return on_rows
