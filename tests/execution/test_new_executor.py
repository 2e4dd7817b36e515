"""An executor that an installed package brings is a backend by its name: it is asked, halved, and refused what it cannot do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.scripted import BOOLQ, GSM8K

from pytest_prunegate.execution.registry import EXECUTORS, brought, executor_for

if TYPE_CHECKING:
    from conftest import Bench

MODULE = """
import re
from pathlib import Path
from pytest_prunegate.execution.executor import Executor
from pytest_prunegate.store import Response


def note(line):
    with Path("parrots.log").open("a") as file:
        file.write(line + "\\n")


class Parrot(Executor):
    kinds = frozenset({"generate_until"})

    def __init__(self, facts, conditions, settings):
        note(f"made {facts.side}")
        self.side, self.size = facts.side, int(settings.batch_size)

    def at_once(self, kind):
        return self.size

    def ask(self, batch, hand_on):
        note(f"batch {len(batch)}")
        if len(batch) > 4:
            raise OverflowError("too many")
        for request in batch:
            number = re.findall(r"number (\\d+)", request.context)[-1]
            if number == "7" and self.side == "pruned":
                raise RuntimeError("not this one")
            if number != "9":
                hand_on(request, Response(text=f"#### {number}", cut=False))

    def is_out_of_memory(self, error):
        return isinstance(error, OverflowError)

    def close(self):
        note(f"closed {self.side}")


class Broken:
    raise ImportError("no engine here")
"""
BOTH = f"""
tasks:
  gsm8k:
    num_fewshot: 0
    {GSM8K}
    metrics: {{"exact_match,flexible-extract": 5%}}
  boolq:
    {BOOLQ}
    metrics: [acc]
defaults: {{max_relative_drop: 5%}}
"""


@pytest.fixture
def project(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    package = bench.path / "site"
    (package / "parrots-1.0.dist-info").mkdir(parents=True)
    (package / "parrots.py").write_text(MODULE.split("\n\nclass Broken", maxsplit=1)[0])
    (package / "broken_parrots.py").write_text(MODULE)
    (package / "parrots-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
    (package / "parrots-1.0.dist-info" / "entry_points.txt").write_text(
        "[pytest_prunegate.executors]\nparrot = parrots:Parrot\nhf = parrots:Parrot\nfast = parrots:Parrot\nbroken = broken_parrots:Broken\n"
    )
    monkeypatch.syspath_prepend(package)
    bench.models()
    bench.thresholds(BOTH)
    return bench


def test_it_is_asked_in_batches_one_model_at_a_time(project: Bench) -> None:
    result = project.run("--prunegate-backend=parrot", "--prunegate-batch-size=8", "-m", "gsm8k")
    result.assert_outcomes(errors=1)
    noted = (project.path / "parrots.log").read_text().splitlines()
    lives = [line.split() for line in noted if not line.startswith("batch")]
    assert [what for what, _ in lives] == ["made", "closed"] * (len(lives) // 2), "one model is in memory at a time"
    assert {side for _, side in lives} == {"original", "pruned"}
    assert {"batch 8", "batch 4", "batch 1"} <= set(noted), "halved, and alone where the model raised"
    found = json.loads((project.results / "comparison_results.json").read_text())
    assert found["models"]["original"]["backend"] == "parrot"
    result.stdout.fnmatch_lines(
        ["*raised on document 9 (ResponseError: *1 of 1 requests came back without an answer)*"]
    )
    assert project.executor.requests == [], "lm-eval's own models are asked for nothing"


def test_what_it_cannot_answer_is_an_error_of_those_checks(project: Bench) -> None:
    result = project.run("--prunegate-backend=parrot", "-m", "boolq")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*model *: its backend does not answer requests of type loglikelihood.*"])


def test_one_that_cannot_be_imported_is_told_before_anything_is_asked(project: Bench) -> None:
    result = project.run("--prunegate-backend=broken")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["*--prunegate-backend=broken: broken_parrots:Broken cannot be imported: *no engine here*"]
    )


def test_its_name_is_among_the_known_ones(project: Bench) -> None:
    result = project.run("--prunegate-backend=parot")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*there is no backend of this name. Did you mean parrot?*"])


def test_it_takes_nobody_elses_place(project: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's entry point of the default's name would answer in every run."""
    from pytest_prunegate.execution.fast.fast_model import FastModel
    from pytest_prunegate.execution.lm_eval_model import LmEvalModel

    monkeypatch.delitem(EXECUTORS, "fast")
    assert executor_for("hf") is LmEvalModel
    assert executor_for("fast") is FastModel
    assert not {"hf", "fast"} & set(brought())
    assert executor_for("parrot").__module__ == "parrots"
