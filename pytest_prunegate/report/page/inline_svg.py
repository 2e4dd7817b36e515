"""Figures of matplotlib as inline SVG: for light and dark pages, inert, the same bytes each time; and plots with a row for each check."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from xml.etree.ElementTree import Element

    from pytest_prunegate.report.summary.check_records import CheckSummary


INK = "#010203"
"""The page's own text colour. Like the others a stand-in that the finished SVG names by CSS."""
PASS, FAIL, DOUBT, ACCENT = "#010204", "#010205", "#010206", "#010207"
# Variables of the page, where it has them; otherwise shades that can be told from white and from black alike (3.5 to 1 or more).
_CSS = {
    INK: "currentColor", PASS: "var(--pass, #2b9348)", FAIL: "var(--fail, #e5484d)", DOUBT: "var(--error, #b7791f)",
    ACCENT: "var(--accent, #3b82f6)",
}  # fmt: skip
_SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "prunegate", "text.parse_math": False, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK, "xtick.labelsize": 10, "ytick.labelsize": 10,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False, "axes.spines.bottom": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 10, "path.snap": False,
}  # fmt: skip
_UNITS = 72  # of the SVG, to an inch
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)")
_FAMILY, _FONT = (
    re.compile(r"\s*font-family:[^;]*;?"),
    re.compile(r"\bfont: [^;]*?([\d.]+px)[^;]*"),
)  # older matplotlibs write the latter
_WIDE, _NARROW, _USUAL = 0.9, 0.35, 0.62  # of the font's size; what a character takes in the wider of the usual fonts


@contextlib.contextmanager
def quiet_matplotlib() -> Iterator[None]:
    """Its own defaults whatever the user's matplotlibrc says, and not a word about fonts, caches or missing glyphs.

    Raises:
        ImportError: matplotlib is not installed, or broken.
    """
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import matplotlib as mpl

            defaults = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
            with mpl.rc_context(defaults | _SETTINGS):
                yield
    finally:
        log.setLevel(level)


def new_axes(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Any:
    """Axes alone in a figure; its size and the margins around them are in units of the SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _UNITS, height / _UNITS))
    place = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure.add_axes(place)


def inline_svg(figure: Any, *, name: str, title: str, description: str) -> str:
    """A figure as an `svg` element for the middle of a page.

    Args:
        figure: drawn with the colours of this module.
        name: of the plot; its ids begin with it.
        title: what it shows, for those who cannot see it.
        description: what it says, likewise.
    """
    from xml.etree import ElementTree as ET

    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ET.fromstring(file.getvalue())  # noqa: S314 - written by matplotlib a line ago
    for element in root.findall(f"{_NAMESPACE}metadata") + root.findall(f"{_NAMESPACE}defs[{_NAMESPACE}style]"):
        root.remove(element)
    for element in root.iter():
        _clean(element, f"plot-{name}-")
    view = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {
        "xmlns": "http://www.w3.org/2000/svg", "class": f"plot plot-{name}", "viewBox": view, "role": "img",
        "aria-label": f"{title}. {description}", "font-family": "inherit", "stroke-linejoin": "round",
        "style": "display: block; width: 100%; height: auto; max-width: 32rem",
    }  # fmt: skip
    shown = ET.Element("title")
    shown.text, shown.tail = title, "\n"
    root.insert(0, shown)
    return ET.tostring(root, encoding="unicode")


def _clean(element: Element, prefix: str) -> None:
    """Names without a namespace, ids that are the page's only ones, colours and fonts that are the page's."""
    element.tag = element.tag.removeprefix(_NAMESPACE)
    kept = {"href" if name == _LINK else name: value for name, value in element.attrib.items()}
    if element.tag == "g":
        kept.pop("id", None)
    if "id" in kept:
        kept["id"] = prefix + kept["id"]
    for name in ("href", "clip-path"):
        if name in kept:
            kept[name] = _REFERENCE.sub(lambda found: found[0].replace("#", f"#{prefix}", 1), kept[name])
    if kept.get("transform", "").startswith("rotate(-0 "):
        del kept["transform"]
    if "style" in kept:
        kept["style"] = _FONT.sub(r"font-size: \1", _FAMILY.sub("", kept["style"]))
        for stand_in, colour in _CSS.items():
            kept["style"] = kept["style"].replace(stand_in, colour)
    if "d" in kept:
        kept["d"] = " ".join(kept["d"].split())
    element.attrib.clear()
    element.attrib.update(kept)


def shortened(text: str, width: float) -> str:
    """A text of others on one line, inert, and cut in its middle to a width in units of its font's size."""
    found = one_line(text[:1000])
    if text_width(found) <= width:
        return found
    head, tail = "", ""
    while text_width(head + tail) < width - 1:
        head, tail = found[: len(head) + 1], found[len(found) - len(tail) - 1 :]
    return f"{head[:-1]}…{tail[1:]}"


def text_width(text: str) -> float:
    """About how wide a text is in the wider of the usual fonts, in units of its font's size."""
    return sum(_width(character) for character in text)


def _width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if unicodedata.combining(character):
        return 0.0
    if character in "mwMW@%…" or character.isupper():
        return _WIDE if character in "mwMW@%…" else 0.75
    return _NARROW if character in "iljtfr.,:;'|!()[] " else _USUAL


WIDTH, MARGIN = 380, 10  # units; a phone shows them at about their size, a wide page a third larger
MARK_AT = 0.62  # where a row's marks are, from its top: nearer to its own text than to the next
FAINT = 0.16
MARKS = {
    "pass": ("o", PASS, True), "fail": ("s", FAIL, True), "inconclusive": ("D", DOUBT, True), "recorded": ("o", INK, False),
}  # fmt: skip
"""By outcome, told by shape as well as by colour: marker, colour, whether it is filled."""
NOTE = 9  # size of the smallest font
_TEXT_AT = 0.34
_ROW = 37  # units of height
_LONG, _TOP = 15, 18  # so many rows have the axis at their top too, which takes that much
_FOOT, _LINE = 36, 15  # below the rows: the axis; each line of legend and notes
_NAME, _FIGURES = 11, 10  # sizes of fonts


def check_rows(checks: Sequence[CheckSummary], figures: Sequence[str], view: tuple[float, float], *, lines: int) -> Any:
    """Axes with a named row for each check; the first is at the top, and each is one unit high.

    Args:
        checks: one a row.
        figures: what each row says beside its name.
        view: both ends of the axis.
        lines: of text below it.
    """
    bottom, top = _FOOT + lines * _LINE, _TOP if len(checks) > _LONG else 0
    height = top + len(checks) * _ROW + bottom
    axes = new_axes(WIDTH, height, left=MARGIN, right=MARGIN, top=top, bottom=bottom)
    axes.tick_params(labeltop=bool(top))
    axes.set_xlim(*view)
    axes.set_ylim(len(checks), 0)
    axes.yaxis.set_visible(False)
    axes.grid(axis="x", color=INK, alpha=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.hlines(range(1, len(checks)), *view, color=INK, alpha=FAINT, linewidth=0.8)
    across = axes.get_yaxis_transform()
    for row, (check, said) in enumerate(zip(checks, figures, strict=True)):
        room = (WIDTH - 2 * MARGIN - text_width(said) * _FIGURES) / _NAME - 1
        axes.text(0, row + _TEXT_AT, shortened(check_name(check), room), fontsize=_NAME, transform=across)
        axes.text(1, row + _TEXT_AT, said, fontsize=_FIGURES, ha="right", transform=across)
    return axes


def check_name(check: CheckSummary) -> str:
    """A check as node ids name it."""
    return f"{check.task}::{check.name}"


def below_axis(axes: Any, at: float, text: str, align: str) -> None:
    """Say what an end of the axis means. `at` is 0 at its left and 1 at its right."""
    axes.annotate(text, (at, 0), (0, -27), xycoords="axes fraction", textcoords="offset points", ha=align, fontsize=10)


def notes(axes: Any, texts: Sequence[str]) -> None:
    """Lines at the foot of the plot, each cut where it is too long."""
    for line, text in enumerate(reversed(texts)):
        cut = shortened(text, (WIDTH - 2 * MARGIN) / NOTE)
        axes.annotate(cut, (MARGIN, 4 + line * _LINE), xycoords="figure points", fontsize=NOTE, alpha=0.85)


def legend(axes: Any, handles: Sequence[Any], *, columns: int, notes_below: int = 0) -> None:
    """Keys of the marks, above the notes."""
    height = axes.figure.get_figheight() * 72
    axes.figure.legend(
        handles=handles, loc="lower center", ncols=columns, borderpad=0, handletextpad=0.3, columnspacing=1.2, borderaxespad=0,
        labelspacing=0.35, bbox_to_anchor=(0.5, (2 + notes_below * _LINE) / height),
    )  # fmt: skip


def key(label: str, **drawn: Any) -> Any:
    """A legend's key of a mark, or of a line."""
    from matplotlib.lines import Line2D

    usual: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    return Line2D([], [], label=label, **(usual | drawn))
