"""Plots as inline SVG: what they show, and that nothing comes of a text or of the machine that they are drawn on."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from support.hostile_texts import HOSTILE, NAMES
from support.made_summary import made_check, made_model, made_summary, not_measured

from pytest_prunegate.report.page import plots as drawing
from pytest_prunegate.report.page.plots import plots_of
from pytest_prunegate.report.page.renderer import _drawn, render
from pytest_prunegate.report.summary.check_records import LossOnScale
from pytest_prunegate.report.summary.running_records import AgreementStretch, AgreementSummary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.records import Summary

ELEMENTS = {"svg", "title", "g", "defs", "path", "use", "text", "clipPath", "rect"}
SVG = "{http://www.w3.org/2000/svg}"


def nodes(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter())  # noqa: S314 - the plot itself: that it parses is a part of the test


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in nodes(svg) if element.tag == f"{SVG}text"]


def place(svg: str, text: str) -> float:
    """How far from the left a text stands."""
    return next(float(element.attrib["x"]) for element in nodes(svg) if element.tag == f"{SVG}text" and element.text == text)  # fmt: skip


def lost(name: str, drop: float, *, low: float | None = 0.0, high: float | None = 0.06, outcome: str = "fail", limit: float | None = 0.05) -> CheckSummary:  # fmt: skip
    return made_check(name, "acc", outcome, 0.5, 0.5 * (1 - drop), scale=LossOnScale(drop=drop, low=low, high=high, limit=limit))  # fmt: skip


def test_all_four_for_a_whole_report() -> None:
    plots = plots_of(made_summary())
    assert list(plots) == ["forest", "scores", "layers", "blocks"]
    forest, scores = texts(plots["forest"]), texts(plots["scores"])
    assert {"squadv2::f1", "worse by 8.22%, threshold 5%", "better by 2.13%, threshold 5%", "wikitext2::perplexity"} <= set(forest)  # fmt: skip
    assert {"← better", "worse →", "relative drop", "pass", "fail", "inconclusive", "threshold", "95% interval"} <= set(forest)  # fmt: skip
    assert "Not drawn: 3 of 10 checks, which have no relative drop." in forest
    assert {"squadv2::f1", "0.7300 → 0.6700", "Not between 0 and 1, so not drawn: wikitext2::perplexity."} <= set(scores)  # fmt: skip
    assert "sparsity::min" not in scores
    assert "pruned, all layers: 48.9%" in texts(plots["layers"])


def test_agreement_along_the_window() -> None:
    stretches = ((1, 32, 0.5, 0.4), (33, 63, 0.9, 0.1))
    agreement = AgreementSummary(
        windows=2, positions=126, top1=0.7, kl=0.25, kl_error=None, sampling_error=0, kl_p99=1.5, perplexity_ratio=1.25, ratio_error=0.01, original_perplexity=20,
        pruned_perplexity=25, along=tuple(AgreementStretch(first=a, last=b, top1=top1, kl=kl) for a, b, top1, kl in stretches),
    )  # fmt: skip
    svg = plots_of(made_summary(agreement=agreement))["agreement"]
    assert {"share of positions", "position in the window"} <= set(texts(svg))
    assert "top-1 agreement 70.00%, KL divergence 0.25 nats (99th percentile 1.5), perplexity x1.2500 ± 0.01" in svg


def test_nothing_to_draw() -> None:
    dense = {side: replace(made_model("original"), side=side) for side in ("original", "pruned")}
    assert plots_of(made_summary((not_measured("rte", "acc", "not run", "not run"),), models=dense)) == {}
    assert plots_of(made_summary((), models={"original": dense["original"]})) == {}


def test_one_check_that_lost_nearly_all_does_not_squeeze_the_others() -> None:
    rows = [lost("gsm8k", 0.94, low=0.9, high=0.97), lost("boolq", 0.01), lost("rte", 0.02), lost("wnli", 554.0, low=500, high=600)]  # fmt: skip
    forest = plots_of(made_summary(tuple(rows)))["forest"]
    assert place(forest, "5%") - place(forest, "0%") > 50, "a tick at the threshold has room of its own"
    assert {"worse by 94.00%, threshold 5%", "worse by over 10,000%, threshold 5%", "off this axis"} <= set(texts(forest))  # fmt: skip


def test_where_all_lost_nearly_all_the_axis_shows_it() -> None:
    rows = [lost(f"task{number}", 0.9, low=0.88, high=0.92) for number in range(3)]
    forest = texts(plots_of(made_summary(tuple(rows)))["forest"])
    assert "80%" in forest
    assert "off this axis" not in forest


@pytest.mark.parametrize("bounds", [(None, 0.05), (0.0, None), (None, None)])
def test_an_unbounded_interval_goes_off_the_axis(bounds: tuple[float | None, float | None]) -> None:
    check = lost("boolq", 0.02, low=bounds[0], high=bounds[1], outcome="inconclusive")
    assert "off this axis" in texts(plots_of(made_summary((check,)))["forest"])
    alone = replace(check, interval=None)
    forest = texts(plots_of(made_summary((alone,)))["forest"])
    assert "off this axis" not in forest
    assert "95% interval" not in forest


def test_outcomes_are_told_without_colours() -> None:
    def marks(outcome: str) -> set[str]:
        svg = plots_of(made_summary((lost("boolq", 0.02, outcome=outcome),)))["forest"]
        return {element.attrib["d"] for element in nodes(svg) if element.tag == f"{SVG}path" and "id" in element.attrib}

    assert len({frozenset(marks(outcome)) for outcome in ("pass", "fail", "inconclusive")}) == 3


@pytest.fixture(scope="module")
def usual() -> dict[str, list[tuple[str, dict[str, str]]]]:
    return shapes(plots_of(named("usual")))


def named(text: str) -> Summary:
    rows = [made_check(text, text, outcome, 0.5, 0.49) for outcome in ("pass", "fail")]
    return made_summary((*rows, made_check(text, text, "fail", 20.0, 22.0)))


def shapes(plots: dict[str, str]) -> dict[str, list[tuple[str, dict[str, str]]]]:
    return {name: [(node.tag, node.attrib) for node in nodes(svg)] for name, svg in plots.items()}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_plot_comes_of_a_text(name: str, usual: dict[str, list[tuple[str, dict[str, str]]]]) -> None:
    """The very elements and attributes that a harmless text gives."""
    plots = plots_of(named(HOSTILE[name]))
    assert shapes(plots) == usual
    for svg in plots.values():
        assert {node.tag.removeprefix(SVG) for node in nodes(svg)} <= ELEMENTS
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", svg)
        assert len(svg) < 40_000


def test_formulas_stay_text_and_long_names_keep_both_ends() -> None:
    check = made_check(r"$\frac{1}{2}$", "acc", "pass", 0.5, 0.5)
    long = made_check("begin_" + "x" * 300, "acc_norm", "pass", 0.5, 0.5)
    wide = made_check("漢" * 300, "f1", "pass", 0.5, 0.5)
    found = texts(plots_of(made_summary((check, long, wide)))["forest"])
    assert r"$\frac{1}{2}$::acc" in found
    cut, wider = (next(text for text in found if text.endswith(end) and "…" in text) for end in ("acc_norm", "f1"))
    assert cut.startswith("begin_")
    assert len(cut) < 40
    assert len(wider) < 25


def test_the_same_summary_gives_the_same_bytes_and_ids_do_not_clash() -> None:
    plots = plots_of(made_summary())
    assert plots_of(made_summary()) == plots
    ids = [node.attrib["id"] for svg in plots.values() for node in nodes(svg) if "id" in node.attrib]
    assert len(ids) == len(set(ids)) > 5
    for name, svg in plots.items():
        used = {node.attrib["href"] for node in nodes(svg) if "href" in node.attrib}
        assert used <= {f"#{one}" for one in ids if one.startswith(f"plot-{name}-")}


@pytest.mark.parametrize("name", ["forest", "scores", "layers"])
def test_it_takes_the_colours_and_the_width_of_the_page(name: str) -> None:
    svg = plots_of(made_summary())[name]
    root = nodes(svg)[0]
    assert not {"width", "height"} & root.attrib.keys()
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"].strip()
    assert "currentColor" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", svg)), "no colour that only one kind of page shows"  # fmt: skip
    assert all("fill: currentColor" in node.attrib["style"] for node in nodes(svg) if node.tag == f"{SVG}text")
    for part in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "font-family: '", "xlink"):
        assert part not in svg


@pytest.fixture
def odd_settings() -> Iterator[None]:
    with mpl.rc_context({"text.usetex": True, "text.color": "red", "lines.linewidth": 9, "font.size": 30}):
        yield


def test_the_users_settings_of_matplotlib_do_not_matter_and_stay(odd_settings: None) -> None:
    before = dict(mpl.rcParams)
    odd = plots_of(made_summary())
    assert dict(mpl.rcParams) == before
    with mpl.rc_context(mpl.rcParamsDefault):
        assert plots_of(made_summary()) == odd


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plots_of(named("漢字 👩 \u05d0"))


DRAW = "from support.made_summary import made_summary; from pytest_prunegate.report.page.renderer import _drawn; found = _drawn(made_summary())\n"


def run_python(code: str, tests: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    probe = f"import sys; sys.path.insert(0, {str(tests)!r})\n{code}"
    import os

    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, env={**os.environ, **environment})  # fmt: skip


def test_a_home_that_cannot_be_written_neither_breaks_nor_prints(pytestconfig: pytest.Config) -> None:
    code = f"{DRAW}print(found['plots_problem'], *found['plots'])"
    result = run_python(code, pytestconfig.rootpath / "tests", MPLCONFIGDIR="/dev/null/none", MPLBACKEND="")
    assert (result.stdout, result.stderr) == ("None forest scores layers blocks\n", "")


def test_only_html_loads_matplotlib(pytestconfig: pytest.Config) -> None:
    code = "from support.made_summary import made_summary; from pytest_prunegate.report.page.renderer import render\n"
    code += "render(made_summary(), 'report.md.j2'); print('matplotlib' in sys.modules)"
    assert run_python(code, pytestconfig.rootpath / "tests").stdout == "False\n"


@pytest.mark.parametrize("error", [ImportError("numpy.core failed"), OSError(28, "No space left"), RuntimeError("freetype")])  # fmt: skip
def test_a_broken_matplotlib_loses_the_plots_and_no_report(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(drawing, "quiet_matplotlib", broken)
    assert _drawn(made_summary()) == {"plots": {}, "plots_problem": f"{type(error).__name__}: {error}"}
    assert "squadv2" in render(made_summary(), "report.html.j2")
