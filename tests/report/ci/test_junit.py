"""pytest's own JUnit file, read by a parser as a dashboard would: outcomes told apart, numbers as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from junitparser import Error, Failure, JUnitXml, Properties
from lxml import etree
from support.scripted import OF_EVERY_KIND, project_of_every_kind

if TYPE_CHECKING:
    from conftest import Bench
    from junitparser import Property, TestCase


def cases(bench: Bench) -> dict[str, TestCase]:
    xml = JUnitXml.fromfile(str(bench.path / "junit.xml"))
    return {case.name: case for suite in xml for case in suite}


def properties(case: TestCase) -> list[Property]:
    found: Properties | None = case.child(Properties)  # type: ignore[no-untyped-call]  # junitparser leaves it so
    return [] if found is None else list(found)


def numbers(case: TestCase) -> dict[str, float]:
    """The properties that are numbers."""
    found = {}
    for prop in properties(case):
        try:
            found[prop.name.removeprefix("prunegate_")] = float(prop.value)
        except ValueError:
            continue
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "junit_family=xunit1", "-o", "junit_logging=all"),
        ("-o", "junit_family=xunit2"),
        pytest.param(("-n1",), marks=pytest.mark.slow),
    ],
    ids=["xunit1", "xunit2", "xdist"],
)
def test_each_ending_is_found_with_its_numbers(bench: Bench, arguments: tuple[str, ...]) -> None:
    project_of_every_kind(bench)
    assert bench.run("--junitxml=junit.xml", *arguments).ret == 1
    found = cases(bench)
    endings = {name: [(type(result), result.type) for result in case.result] for name, case in found.items()}
    assert endings == {
        "boolq acc": [],
        "gsm8k exact_match,strict-match": [(Failure, "failure")],
        "squadv2 f1": [(Failure, "inconclusive")],
        "squadv2 NoAns_f1": [(Error, "error")],
        "gsm8k_cot exact_match,strict-match": [(Error, "error")],
    }
    strict = numbers(found["gsm8k exact_match,strict-match"])
    assert strict["original"] == 0.75
    assert strict["pruned"] == 0.65
    assert strict["difference"] == -strict["drop"] == pytest.approx(-0.1)
    assert strict["relative"] == -strict["relative_drop"] == pytest.approx(-0.1 / 0.75)
    assert strict["interval_low"] < strict["relative"] < strict["interval_high"]
    assert strict["threshold_max_relative_drop"] == 0.01
    assert strict["threshold_max_absolute_drop"] == 0.5
    assert (strict["documents"], strict["total_documents"], strict["lost"], strict["gained"]) == (20, 20, 2, 0)
    assert numbers(found["gsm8k_cot exact_match,strict-match"]) == {"threshold_max_relative_drop": 0.05}
    verdicts = {
        name: {prop.name: prop.value for prop in properties(case)}["prunegate_verdict"] for name, case in found.items()
    }
    assert list(verdicts.values()) == ["pass", "fail", "inconclusive", "error", "error"]
    messages = {name: case.result[0].message for name, case in found.items() if case.result}
    assert all("\n" not in message for message in messages.values())
    assert messages["gsm8k exact_match,strict-match"].startswith(
        "thresholds.yaml:9: gsm8k exact_match,strict-match 0.7500 -> 0.6500: -0.1000, -13.33% relative (threshold: "
    )
    assert "INCONCLUSIVE on all 20 documents" in messages["squadv2 f1"]
    assert "the original model scores 0 on 5 documents" in messages["squadv2 NoAns_f1"]
    assert messages["squadv2 NoAns_f1"].count("thresholds.yaml:12") == 1
    assert "the task needs the split" in messages["gsm8k_cot exact_match,strict-match"]
    assert "Run it alone: " in found["gsm8k exact_match,strict-match"].result[0].text, "the text says more"


def test_jenkins_accepts_the_file_where_figures_stand_in_the_suite_or_nowhere(bench: Bench) -> None:
    project_of_every_kind(bench)
    schema = etree.XMLSchema(etree.parse(Path(__file__).with_name("jenkins_xunit.xsd")))
    figures: dict[str, list[dict[str, str]]] = {}
    for place in ("case", "suite", "none"):
        bench.run("--junitxml=junit.xml", "-o", f"prunegate_junit_properties={place}")
        read = etree.parse(bench.path / "junit.xml")
        assert schema.validate(read) == (place != "case"), schema.error_log
        figures[place] = [
            {entry.get("name"): entry.get("value") for entry in parent.findall("properties/property")}
            for parent in (read.find("testsuite"), *read.iter("testcase"))
        ]
    headline = {"prunegate_headline": figures["case"][0]["prunegate_headline"]}
    names = [case.name for case in cases(bench).values()]
    of_all = zip(names, figures["case"][1:], strict=True)
    assert figures["suite"][0] == headline | {
        f"{key}[{name}]": value for name, of_one in of_all for key, value in of_one.items()
    }
    assert figures["none"] == [headline, *({} for _ in names)]
    assert all(of_one["prunegate_verdict"] for of_one in figures["case"][1:])


def test_a_place_that_is_none_is_refused_beside_other_mistakes(bench: Bench) -> None:
    bench.models()
    bench.thresholds(OF_EVERY_KIND)
    result = bench.run("-o", "prunegate_junit_properties=off", "--prunegate-limit=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines_random(
        ["*prunegate_junit_properties = off: expected one of case, suite, none.", "*--prunegate-limit=many: *"]
    )
