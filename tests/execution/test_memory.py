"""Memory that runs out in the middle of a run: the batch is halved, and the verdict is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.figures import figures
from support.scripted import BOOLQ_AND_GSM8K
from support.tiny import write_tiny_llama

from pytest_prunegate.execution import batch_runner as memory
from pytest_prunegate.execution import lm_eval_model as execution
from pytest_prunegate.execution.gate_lm import GateLM

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bench


@pytest.fixture
def project(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    real_bench.thresholds(BOOLQ_AND_GSM8K)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--prunegate-backend=hf")
    return real_bench


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], None]], list[int]]:
    """The rows of each forward call and generation of a run; what is given is asked before each, and may raise."""

    def watch(before: Callable[[int, int], None]) -> list[int]:
        rows: list[int] = []
        for name in ("_model_call", "_model_generate"):
            usual = getattr(GateLM, name)

            def watched(
                self: Any,
                *args: Any,
                usual: Any = usual,
                is_generation: bool = name == "_model_generate",
                **kwargs: Any,
            ) -> Any:
                batch = kwargs["context"] if is_generation else args[0]
                rows.append(len(batch))
                before(len(rows), len(batch))
                return usual(self, *args, **kwargs)

            monkeypatch.setattr(GateLM, name, watched)
        return rows

    return watch


def out_of_memory() -> Exception:
    import torch

    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return error


@pytest.mark.slow
def test_batches_that_do_not_fit_are_halved_until_they_do(project: Bench, calls: Any) -> None:
    project.run("--prunegate-store=other").assert_outcomes(passed=2)
    expected = figures(project)

    def no_more_than_three(_: int, rows: int) -> None:
        if rows > 3:
            raise out_of_memory()

    rows = calls(no_more_than_three)
    project.run("--prunegate-batch-size=16").assert_outcomes(passed=2)
    assert figures(project) == expected
    assert max(rows) == 16
    assert 2 in rows
    log = (project.results / "evaluation.log").read_text()
    assert "original model original: out of memory with 16 at once; going on with 8" in log


@pytest.mark.parametrize(
    "error", ["CUDA out of memory", "MPS backend out of memory", "DefaultCPUAllocator: can't allocate memory"]
)
def test_one_failed_batch_costs_no_answer_twice(project: Bench, calls: Any, error: str) -> None:
    failed: list[int] = []

    def once(number: int, rows: int) -> None:
        if number > 12 and rows == 4 and not failed:
            failed.append(number)
            raise RuntimeError(error)

    rows = calls(once)
    project.run("-m", "gsm8k", "--prunegate-batch-size=4").assert_outcomes(passed=1)
    assert failed
    assert sum(rows) == 3 + 2 * 20 + 4, "a probe whenever a model is loaded, the answers, and the batch that failed"


def test_a_smaller_batch_that_worked_grows_again(project: Bench, calls: Any) -> None:
    failed: list[int] = []

    def early(number: int, rows: int) -> None:
        if rows == 2 and not failed:
            failed.append(number)
            raise out_of_memory()

    rows = calls(early)
    project.run("-m", "gsm8k", "--prunegate-batch-size=2").assert_outcomes(passed=1)
    after = rows[failed[0] :]
    assert after[:2] == [1, 1]
    assert 2 in after


def test_one_document_that_does_not_fit_is_an_error_with_a_way_on(project: Bench, calls: Any) -> None:
    def never(number: int, _: int) -> None:
        if number > 8:
            raise out_of_memory()

    calls(never)
    result = project.run("-m", "gsm8k", "--prunegate-batch-size=4")
    result.assert_outcomes(errors=1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["*model *: out of memory on cpu with one document at a time. What was answered is kept. Try *"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_on_a_cpu_the_batch_is_bounded_before_it_runs(
    project: Bench, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [0]
    monkeypatch.setattr(memory.MemoryBound, "_resident", lambda _self: 10**9 + taken[0])

    def a_megabyte_each(_: int, rows: int) -> None:
        taken[0] = rows * 10**6

    rows = calls(a_megabyte_each)
    monkeypatch.setattr(memory, "available_memory", lambda: 4 * 10**6 - taken[0])
    project.run("-m", "gsm8k", "--prunegate-batch-size=auto").assert_outcomes(passed=1)
    assert 1 < max(rows) <= 4, "a request was measured to take a megabyte, of four that are free"
    monkeypatch.setattr(memory, "available_memory", lambda: 10**12)
    rows.clear()
    project.run("-m", "gsm8k", "--prunegate-batch-size=auto", "--prunegate-store=other").assert_outcomes(passed=1)
    assert max(rows) > 4


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not execution.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert execution.is_out_of_memory(MemoryError())
