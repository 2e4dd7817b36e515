"""Figures of matplotlib as inline SVG: for light and dark pages, in the page's font, inert, and the same bytes each time."""

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
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

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
