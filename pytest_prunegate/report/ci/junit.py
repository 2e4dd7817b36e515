"""What pytest's own JUnit file says of a check: its numbers as properties, its kind of ending, its reason in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import one_line
from pytest_prunegate.report.summary.wording import change_bounds, interval_text, located, reason, relative_change
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from fractions import Fraction
    from xml.etree.ElementTree import Element

    import pytest
    from _pytest.junitxml import LogXML

    from pytest_prunegate.verdict.compare import Comparison
    from pytest_prunegate.verdict.verdicts import CheckResult, Verdict

PREFIX = "prunegate_"
_TYPES = {Outcome.FAIL: "failure", Outcome.ERROR: "error", Outcome.INCONCLUSIVE: "inconclusive"}
_ELEMENTS = {"failure", "error"}


def properties(result: CheckResult) -> list[tuple[str, object]]:
    """A check's numbers and words, as properties of its test case; what is not known is left out.

    Drops are positive where the pruned model is worse; `relative` and its interval have the sign that people know.
    """
    check, comparison = result.check, result.comparison
    said: dict[str, object] = {
        "task": check.task,
        "metric": f"{check.metric},{check.filter}",
        "location": check.location,
        "thresholds": "; ".join(threshold.describe() for threshold in check.thresholds),
        **{f"threshold_{threshold.rule.key}": float(threshold.value) for threshold in check.thresholds},
        "documents": result.documents,
        "total_documents": result.total,
        "counted": None if result.documents is None else f"{result.documents} of {result.total} {result.unit}",
        "original": _number(result.baseline),
        "verdict": result.outcome.value,
        "reason": one_line(reason(result)),
    }
    if comparison is not None:
        said |= _compared(comparison)
    if result.verdict is not None:
        said |= _judged(result.verdict)
    return [(f"{PREFIX}{name}", value) for name, value in said.items() if value is not None]


def _compared(comparison: Comparison) -> dict[str, object]:
    return {
        "original": _number(comparison.original),
        "pruned": float(comparison.pruned),
        "difference": _number(comparison.difference),
        "drop": _number(comparison.drop),
        "relative_drop": _number(comparison.relative_drop),
        "relative": relative_change(comparison.relative_drop),
        "recovery": _number(comparison.recovery),
        "lost": comparison.lost,
        "gained": comparison.gained,
    }


def _judged(verdict: Verdict) -> dict[str, object]:
    said: dict[str, object] = {"basis": verdict.basis.value, "error_rate": verdict.error_rate}
    if verdict.interval is not None:
        low, high = change_bounds(verdict.interval.relative)
        said |= {"interval": interval_text(low, high), "interval_low": low, "interval_high": high}
    return said


def _number(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def tell_run(config: pytest.Config, headline: str, *, place: str) -> None:
    """Give the file the run's headline: it lists the checks that ran, as if there were no others. Nothing where none is written.

    The figures of the checks go from their test cases to where the project wants them: ``case`` leaves them, ``suite`` or ``none``.
    """
    xml = _xml(config)
    if xml is None:
        return
    xml.add_global_property(f"{PREFIX}headline", one_line(headline))
    if place == "case":
        return
    for case in (reporter.to_xml() for reporter in xml.node_reporters_ordered):
        for name, value in _take_properties(case):
            if place == "suite":
                xml.add_global_property(f"{name}[{case.get('name')}]", value)


def _take_properties(case: Element) -> Iterator[tuple[str, str]]:
    """The gate's properties of a test case, out of which they are taken."""
    for properties in case.findall("properties"):
        for entry in list(properties):
            if entry.attrib["name"].startswith(PREFIX):
                properties.remove(entry)
                yield entry.attrib["name"], entry.attrib["value"]
        if not len(properties):
            case.remove(properties)


def tell_case(config: pytest.Config, report: pytest.TestReport) -> None:
    """Give a check's test case its task in the name; its failure or error a type and the reason. Nothing where no JUnit file is written.

    JUnit knows no third way between a failure and an error: that of an inconclusive check has the type ``inconclusive``.
    """
    said: dict[str, Any] = dict(report.user_properties)
    verdict, xml = said.get(f"{PREFIX}verdict"), _xml(config)
    if xml is None or verdict is None or report.when == "teardown":  # by then pytest has closed the test case
        return
    case = xml.node_reporter(report)
    case.add_attribute("name", " ".join(report.nodeid.split("::")[1:]))
    kind = _TYPES.get(verdict)
    if kind is None or not report.failed:
        return
    for node in case.nodes:
        if node.tag in _ELEMENTS and "type" not in node.attrib:
            node.set("type", kind)
            node.set("message", located(said[f"{PREFIX}reason"], said[f"{PREFIX}location"]))


def _xml(config: pytest.Config) -> LogXML | None:
    from _pytest.junitxml import xml_key

    return config.stash.get(xml_key, None)
