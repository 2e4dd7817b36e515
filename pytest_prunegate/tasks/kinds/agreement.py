"""How far the pruned model's next-token distributions are from the original's on windows of a text (``agreement:``).

Accuracy counts answers that changed; this looks at every token, and sees a change long before an answer flips
("Accuracy is Not All You Need": https://arxiv.org/abs/2407.09141). No threshold is set unless the user sets one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.running_rules import MAX_KL, MAX_KL_P99, MAX_PERPLEXITY_RATIO, MIN_TOP1
from pytest_prunegate.input.threshold_values import read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Spec
from pytest_prunegate.tasks.agreement import VERSION, Agreement, kept_requests, rows_differ
from pytest_prunegate.tasks.checks import Figure, FigureMetric, RunningKind
from pytest_prunegate.tasks.side_by_side import KeptForBaseline, Run
from pytest_prunegate.tasks.texts import WINDOW_KEYS, load_text, window_readers, windows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_prunegate.input.rule import Rule
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.tasks.checks import Check, GateTask, Preparation, Resolution
    from pytest_prunegate.tasks.side_by_side import SideBySide

TOP1 = FigureMetric(key="top1_agreement", unit="positions", what="agree")
KL = FigureMetric(key="kl", unit="positions", form="number")
KL_P99 = FigureMetric(key="kl_p99", unit="positions", form="number")
RATIO = FigureMetric(key="perplexity_ratio", unit="positions", form="number")
_METRICS: Mapping[Rule, FigureMetric] = {MIN_TOP1: TOP1, MAX_KL: KL, MAX_KL_P99: KL_P99, MAX_PERPLEXITY_RATIO: RATIO}
_TEXT = "wikitext2"
_USUAL_SEQLEN, _USUAL_WINDOWS = 512, 16


@dataclass(frozen=True, kw_only=True)
class AgreementSpec(Spec):
    """Windows of a text: `nsamples` of `seqlen` tokens, of WikiText-2 where no data set is named."""

    section = "agreement"
    seqlen: int | None = None
    nsamples: int = _USUAL_WINDOWS
    dataset: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class AgreementRun(Run):
    """The windows on which both models are run."""

    windows: tuple[tuple[int, ...], ...]
    unit: str
    kept: KeptForBaseline

    @property
    def steps(self) -> int:
        """Windows."""
        return len(self.windows)

    def known(self, both: SideBySide) -> int:
        """Windows that were compared before."""
        return both.known(self.windows)

    def result(self, both: SideBySide, done: Callable[[], None]) -> Agreement | None:
        """Compare both models on all windows; of the original alone, keep what a comparison will need."""
        if both.is_alone:
            both.keep(self.windows, done)
            return None
        return Agreement(tuple(both.agreement(self.windows, done)))


class AgreementOnText(RunningKind):
    """Token-level agreement: equal likeliest tokens, the divergence of distributions, the ratio of perplexities."""

    key = section = "agreement"
    metrics = (TOP1, KL, KL_P99, RATIO)
    is_kept = True

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """The one entry: ``{min_top1: 90%, max_kl: 0.1}``, or ``{}`` for the figures alone."""
        readers = window_readers(around) | {"marks": read_marks}
        thresholds = read_thresholds(node, rules=tuple(_METRICS), alone=MIN_TOP1, extra=(*WINDOW_KEYS, "marks"))
        entries = node.entries(what="thresholds and windows") if node.kind == "map" else []
        found = {key: readers[key](value) for key, value in entries if key in readers}
        given = {key: value for key, value in found.items() if value is not None}
        return (AgreementSpec(name=self.key, line=node.line, thresholds=thresholds, **given),)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """A check for each threshold; one without any, where none is set."""
        return [self.task_or_figure(spec, resolution.file.display, _METRICS, KL) for spec in specs]

    def marks(self, task: GateTask) -> list[str]:
        """Its own name is one already."""
        return []

    def prepare(self, spec: Spec, preparation: Preparation) -> Run:
        """Load the text, and cut it into windows."""
        assert isinstance(spec, AgreementSpec)
        sizes = [facts.vocab_size for facts in preparation.facts.values() if facts.vocab_size]
        if len(set(sizes)) > 1:
            raise TaskError(rows_differ(*sizes))
        text = load_text(spec.name, spec.dataset, known=_TEXT)
        seqlen = spec.seqlen or min(_USUAL_SEQLEN, *(own.max_length for own in preparation.conditions.values()))
        cut = windows_of(spec.name, text, seqlen, preparation.facts, preparation.conditions)
        windows = cut.windows[: spec.nsamples]
        kept = KeptForBaseline(
            requests=kept_requests(windows), version=VERSION, data=cut.fingerprint, total=len(cut.windows), settings={"seqlen": seqlen}
        )  # fmt: skip
        return AgreementRun(windows=windows, unit=f"windows of {seqlen} tokens", kept=kept)

    def refuse_uncomputable(self, check: Check, preparation: Preparation) -> None:
        """A high percentile of figures that sampling moves is too high, and nobody can tell by how much."""
        if check.metric == KL_P99.key and preparation.facts["original"].file is not None:
            raise TaskError(
                f"{check.location}: {MAX_KL_P99} needs the original's whole distributions, and a baseline keeps a sample of them. "
                "Name the original itself."
            )

    def figure(self, check: Check, found: Any) -> Figure:
        """One of the four."""
        assert isinstance(found, Agreement)
        metric = next(metric for metric in self.metrics if metric.key == check.metric)
        figures = {
            TOP1: found.top1,
            KL: Fraction(found.kl),
            KL_P99: Fraction(found.kl_p99),
            RATIO: Fraction(found.ratio),
        }
        interval = None
        if metric is KL and found.sampling_error:
            interval = Fraction(found.kl - found.sampling_reach), Fraction(found.kl + found.sampling_reach)
        return Figure(
            metric=metric, original=None, pruned=figures[metric], of=found.positions, looked_at=_told(found), interval=interval
        )  # fmt: skip


def _told(found: Agreement) -> str:
    """All figures in a sentence: one threshold sees one of them."""
    kl, ratio = (
        "" if error is None else f" ± {error:.4g}" for error in (found.kl_error, found.ratio_error)
    )  # over windows
    sampled = (
        f" From what the baseline kept of the original's distributions: KL is known within {found.sampling_reach:.2g} (95%)."
        if found.sampling_error
        else ""
    )
    percentile = "" if found.sampling_error else f"its 99th percentile {found.kl_p99:.4g}, "
    return (
        f"On {len(found.windows)} windows ({found.positions:,} positions): top-1 agreement {float(found.top1):.2%}, KL {found.kl:.4g}{kl} nats, "
        f"{percentile}ratio of perplexities {found.ratio:.4f}{ratio}.{sampled}"
    )
