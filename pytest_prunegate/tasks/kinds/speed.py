"""What pruning bought: how many times as fast the pruned model is on this machine (``speed:``)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.running_rules import MIN_SPEEDUP
from pytest_prunegate.input.threshold_values import read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.checks import Figure, FigureMetric, RunningKind
from pytest_prunegate.tasks.side_by_side import Run
from pytest_prunegate.tasks.speed import CONFIDENCE, LEAST_PAIRS, Ratio, Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Check, GateTask, Preparation, Resolution
    from pytest_prunegate.tasks.side_by_side import SideBySide

SPEEDUP = FigureMetric(key="speedup", unit="pairs of runs", form="number")
_METRICS: Mapping[Rule, FigureMetric] = {MIN_SPEEDUP: SPEEDUP}
_COUNTS = {"prompt": 1, "generate": 2, "batch": 1, "pairs": LEAST_PAIRS}  # and the least of each


@dataclass(frozen=True, kw_only=True)
class SpeedSpec(Spec):
    """What is timed: `batch` prompts of `prompt` tokens, each with `generate` tokens behind it, by both models in `pairs`."""

    section = "speed"
    prompt: int = 512
    generate: int = 64
    batch: int = 1
    pairs: int = 12


@dataclass(frozen=True, kw_only=True)
class SpeedRun(Run):
    """Pairs of timed runs, which no store keeps: another day, or another machine, has other times."""

    spec: SpeedSpec
    unit: str = SPEEDUP.unit
    is_kept = False

    @property
    def steps(self) -> int:
        """Pairs."""
        return self.spec.pairs

    def known(self, both: SideBySide) -> int:
        """None."""
        return 0

    def result(self, both: SideBySide, done: Callable[[], None]) -> Speed:
        """Time both models."""
        return both.speed(self.spec.prompt, self.spec.generate, batch=self.spec.batch, pairs=self.spec.pairs, done=done)


class SpeedOnDevice(RunningKind):
    """How many times as fast the pruned model is; judged by an interval, and open where the noise of the machine decides."""

    key = section = "speed"
    metrics = (SPEEDUP,)
    is_of_machine = True

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The one entry: ``{min_speedup: 1.2, prompt: 512, generate: 64, batch: 1}``, or ``{}`` for the figures alone."""
        thresholds = read_thresholds(node, rules=(MIN_SPEEDUP,), alone=MIN_SPEEDUP, extra=(*_COUNTS, "marks"))
        entries = node.entries(what="a threshold and what is timed") if node.kind == "map" else []
        given: dict[str, Any] = {}
        for key, value in entries:
            if key == "marks":
                given[key] = read_marks(value)
            elif key in _COUNTS and (count := value.positive_integer(least=_COUNTS[key], what="a number")) is not None:
                given[key] = count
        return (SpeedSpec(name=self.key, line=node.line, thresholds=thresholds, **given),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """One check, with a threshold or without."""
        return [self.task_or_figure(spec, resolution.file.display, _METRICS, SPEEDUP) for spec in specs]

    def marks(self, task: GateTask) -> list[str]:
        """Its own name is one already."""
        return []

    def prepare(self, spec: Spec, preparation: Preparation) -> Run:
        """See that the models take so many tokens."""
        assert isinstance(spec, SpeedSpec)
        side = min(preparation.conditions, key=lambda side: preparation.conditions[side].max_length)
        most = preparation.conditions[side].max_length
        if spec.prompt + spec.generate > most:
            raise TaskError(
                f"speed: {spec.prompt} + {spec.generate} tokens are more than the {preparation.facts[side].title} takes ({most}). Take a smaller "
                "prompt or generate."
            )
        return SpeedRun(spec=spec)

    def figure(self, check: Check, found: Any) -> Figure:
        """The ratio of whole runs, with those of their parts beside it."""
        assert isinstance(found, Speed)
        total = found.total
        parts = f"of prefill {_told(found.prefill)}, of decoding {_told(found.decode)}"
        told = f"Speedup {_told(total)}, {parts}; {CONFIDENCE:.0%} intervals of the median."
        return Figure(
            metric=SPEEDUP, original=None, pruned=Fraction(total.median), of=len(found.pairs), looked_at=told,
            interval=(Fraction(total.low), Fraction(total.high)), error_rate=1 - CONFIDENCE,
        )  # fmt: skip


def _told(ratio: Ratio) -> str:
    return f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
