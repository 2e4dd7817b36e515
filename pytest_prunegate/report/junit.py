"""What pytest's own JUnit file says of an inconclusive check."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def mark_inconclusive(config: pytest.Config, report: pytest.TestReport) -> None:
    """Give the failure of a report the type ``inconclusive``; nothing where no JUnit file is written."""
    from _pytest.junitxml import xml_key

    xml = config.stash.get(xml_key, None)
    if xml is None:
        return
    for node in xml.node_reporter(report).nodes:
        if node.tag == "failure":
            node.set("type", "inconclusive")
