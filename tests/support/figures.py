"""What a run's results file says, for tests that compare runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Bench


def results(project: Bench) -> dict[str, Any]:
    """The file, read."""
    found: dict[str, Any] = json.loads((project.results / "comparison_results.json").read_text())
    return found


def figures(project: Bench) -> list[Any]:
    """Name, outcome and exact figures of each check."""
    return [(check["name"], check["outcome"], check["exact"]) for check in results(project)["checks"]]
