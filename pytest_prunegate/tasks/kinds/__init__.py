"""The kinds of checks, each in one module, and the registry of them.

A kind knows its keys in thresholds.yaml, how they become checks, what models are asked for or what is counted in their files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.tasks.checks import CountingKind
from pytest_prunegate.tasks.kinds.lm_eval_tasks import GROUP, TASK
from pytest_prunegate.tasks.kinds.mask import Mask
from pytest_prunegate.tasks.kinds.perplexity import Perplexity
from pytest_prunegate.tasks.kinds.sparsity import Sparsity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_prunegate.tasks.checks import CountedMetric, Kind

KINDS: dict[str, Kind] = {kind.key: kind for kind in (TASK, GROUP, Perplexity(), Mask(), Sparsity())}
"""The kinds by their keys, in the order in which messages name their sections of thresholds.yaml."""


def sections() -> dict[str, Kind]:
    """The kinds by the keys of thresholds.yaml that they read."""
    return {kind.section: kind for kind in KINDS.values() if kind.section is not None}


def counted_metric(metric: str) -> CountedMetric | None:
    """A metric that is counted in files; None where models answer for it."""
    return next((one for one in _counted() if one.key == metric), None)


def is_counted_in(unit: str) -> bool:
    """Whether a unit is looked at in files, all of it; else documents of some sort, which models are asked for."""
    return any(one.unit == unit for one in _counted())


def _counted() -> Iterator[CountedMetric]:
    return (metric for kind in KINDS.values() if isinstance(kind, CountingKind) for metric in kind.metrics)
