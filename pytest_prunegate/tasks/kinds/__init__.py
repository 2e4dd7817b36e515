"""The kinds of checks, each in one module, and the registry of them.

A kind knows its keys in thresholds.yaml, how they become checks, what models are asked for, what is counted in their files, or what both are run for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.tasks.checks import FigureKind
from pytest_prunegate.tasks.kinds.agreement import AgreementOnText
from pytest_prunegate.tasks.kinds.lm_eval_tasks import GROUP, TASK
from pytest_prunegate.tasks.kinds.mask import Mask
from pytest_prunegate.tasks.kinds.perplexity import Perplexity
from pytest_prunegate.tasks.kinds.sparsity import Sparsity
from pytest_prunegate.tasks.kinds.speed import SpeedOnDevice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_prunegate.tasks.checks import FigureMetric, Kind

KINDS: dict[str, Kind] = {
    kind.key: kind for kind in (TASK, GROUP, Perplexity(), AgreementOnText(), SpeedOnDevice(), Mask(), Sparsity())
}
"""The kinds by their keys, in the order in which messages name their sections of thresholds.yaml."""


def sections() -> dict[str, Kind]:
    """The kinds by the keys of thresholds.yaml that they read."""
    return {kind.section: kind for kind in KINDS.values() if kind.section is not None}


def figure_metric(metric: str) -> FigureMetric | None:
    """A metric that is a figure of both models at once; None where documents are scored for it."""
    return next((one for one in _figures() if one.key == metric), None)


def is_figure_unit(unit: str) -> bool:
    """Whether a unit is that of a figure, of which all is looked at; else documents of some sort, which models are asked for."""
    return any(one.unit == unit for one in _figures())


def _figures() -> Iterator[FigureMetric]:
    return (metric for kind in KINDS.values() if isinstance(kind, FigureKind) for metric in kind.metrics)
