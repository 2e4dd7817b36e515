"""What pruning bought: both models timed by turns, a verdict that noise leaves open, and nothing kept from another day."""

from __future__ import annotations

import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest
from support.tiny import write_tiny_llama

from pytest_prunegate.execution import lm_eval_model
from pytest_prunegate.tasks.speed import Speed, TimedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Bench

ENTRY = "speed: {prompt: 24, generate: 4, pairs: 8%s}\n"
STEADY = (1.0, 1.01, 0.99)


@pytest.fixture
def project(real_bench: Bench) -> Bench:
    write_tiny_llama(real_bench.path / "original", seed=1)
    write_tiny_llama(real_bench.path / "pruned", seed=2)
    real_bench.thresholds(ENTRY % ", min_speedup: 1.2")
    return real_bench


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let both models take the times that a test says, and tell whose turn it was."""

    def pretend(original: Sequence[float], pruned: Sequence[float]) -> list[str]:
        turns: list[str] = []
        times = {"original": cycle(original), "pruned": cycle(pruned)}

        def run(self: Any, prompts: list[list[int]], generate: int) -> TimedRun:
            side = self._facts.side
            turns.append(side)
            assert [len(prompt) for prompt in prompts] == [24]
            seconds = next(times[side])
            return TimedRun(prefill=seconds / 4, decode=3 * seconds / 4, memory=1_000)

        monkeypatch.setattr(lm_eval_model.LmEvalModel, "timed_run", run)
        return turns

    return pretend


def summary(project: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.results / "comparison_results.json").read_text())
    return found


@pytest.mark.parametrize(
    ("pruned", "outcome", "code"),
    [
        ((0.5, 0.51, 0.5), {"passed": 1}, 0),
        ((0.9, 0.91, 0.9), {"failed": 1}, 1),
        ((0.7, 0.95, 0.7, 0.95), {"inconclusive": 1}, None),
    ],
)
def test_the_interval_is_judged(
    project: Bench,
    timed: Callable[..., list[str]],
    pruned: tuple[float, ...],
    outcome: dict[str, int],
    code: int | None,
) -> None:
    turns = timed(STEADY, pruned)
    result = project.run()
    counts = result.parseoutcomes()
    assert {name: counts.get(name) for name in outcome} == outcome
    assert result.ret == code if code is not None else result.ret not in {0, 1}
    assert turns == ["pruned", "original", "original", "pruned"] * 4 + ["pruned", "original"]  # the first pair warms up
    found = summary(project)["speed"]
    assert found["pairs"] == 8
    assert found["total"]["low"] <= found["total"]["median"] <= found["total"]["high"]
    assert (found["original"]["memory"] - found["original"]["weights"], found["prompt"]) == (1_000, 24)


def test_one_run_that_something_delays_decides_nothing(project: Bench, timed: Callable[..., list[str]]) -> None:
    timed(STEADY, [0.5] * 5 + [9.0] + [0.5] * 8)
    project.thresholds((ENTRY % ", min_speedup: 1.2").replace("pairs: 8", "pairs: 12"))
    project.run().assert_outcomes(passed=1)


def test_without_a_threshold_the_figures_are_told_and_nothing_is_judged(
    project: Bench, timed: Callable[..., list[str]]
) -> None:
    timed((1.0,), (1.25,))
    project.thresholds(ENTRY % "")
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*speed::speedup*PASSED*",
            "Speed: 0.80x (0.80 to 0.80) as fast: *1 x (24 + 4) tokens in 8 pairs of runs on cpu*",
        ]
    )
    report = (project.results / "comparison_report.md").read_text()
    assert (
        "| Speed | 96.0 tokens/s read, 4.0 generated | 76.8 tokens/s read, 3.2 generated | 0.80x (0.80 to 0.80) as fast"
        in report
    )


def test_zeros_that_bought_nothing_are_explained(project: Bench, timed: Callable[..., list[str]]) -> None:
    from support.pruned_checkpoints import half, prune

    prune(project.path / "pruned", half)
    timed((1.0,), (1.0,))
    project.thresholds(ENTRY % "")
    project.run().stdout.fnmatch_lines(
        ["Zeros that leave the matrices as large as they were make dense kernels no faster: *"]
    )


def test_real_models_are_timed_and_nothing_is_kept(project: Bench) -> None:
    project.thresholds(ENTRY % "")
    project.run().assert_outcomes(passed=1)
    first = summary(project)["speed"]
    assert first["original"]["memory"] is None  # a CPU does not tell
    assert 37_792 * 4 < first["original"]["weights"] < 37_792 * 4 + 100  # and buffers of rotary frequencies
    result = project.run()
    result.stdout.fnmatch_lines(["task:*speed: all 8 pairs of runs, 16 requests, none in the store*"])
    assert summary(project)["speed"] != first


def test_a_figure_of_another_machine_is_stale(
    project: Bench, timed: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(STEADY, (0.5,))
    project.thresholds((ENTRY % ", min_speedup: 1.2") + "sparsity: {max: 50%}\n")
    project.run("-m", "speed").assert_outcomes(passed=1)
    project.run("-m", "sparsity").stdout.fnmatch_lines(["PASS: 2 of 2 checks measured (1 by earlier runs): 2 passed"])
    monkeypatch.setattr("platform.node", lambda: "another")
    result = project.run("-m", "sparsity")
    result.stdout.fnmatch_lines(["Stale: speed::min_speedup of *: other settings."])
    assert summary(project)["speed"] is None


def test_mistakes_are_told_before_a_model_is_loaded(project: Bench) -> None:
    project.thresholds("speed: {min_speedup: 120%, pairs: 3, generate: 1, tokens: 5}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines_random(
        [
            "*min_speedup is 120%: it is no share*",
            "*speed.pairs*at least 6*",
            "*speed.generate*at least 2*",
            "*speed.tokens: unknown key.*",
        ]
    )
    project.thresholds("speed: {prompt: 500, generate: 64}\n")
    result = project.run("--prunegate-preflight")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*speed: 500 + 64 tokens are more than the original model original takes (512). Take a smaller prompt or generate.*"
        ]
    )


@pytest.mark.parametrize(("pairs", "rank"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6)])
def test_the_interval_of_the_median_is_the_binomial_s(pairs: int, rank: int) -> None:
    """Ranks of tables for 95% (Conover, table A3)."""
    runs = tuple((TimedRun(prefill=1.0 + number, decode=0), TimedRun(prefill=1.0, decode=0)) for number in range(pairs))
    ratio = Speed(prompt=1, generate=2, batch=1, pairs=runs, weights=(0, 0), place="here").ratio(
        lambda run: run.seconds
    )
    assert (ratio.low, ratio.high) == (rank, pairs - rank + 1)
