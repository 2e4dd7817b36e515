"""The registry of the tasks that this package scores by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.tasks.squad import SquadV2

if TYPE_CHECKING:
    from pytest_prunegate.tasks.prepared import OwnScorer

OWN_SCORERS: dict[str, OwnScorer] = {"squadv2": SquadV2()}
"""Scorers by the names of their tasks."""
