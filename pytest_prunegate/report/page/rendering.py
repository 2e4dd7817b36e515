"""Renders templates from a summary, in Jinja's sandbox. They compute nothing."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import markdown, markdown_code, markdown_item, one_line, plain, size_text
from pytest_prunegate.report.page.page import page_parts
from pytest_prunegate.report.summary import wording
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jinja2.sandbox import SandboxedEnvironment

    from pytest_prunegate.report.summary.records import Summary

TEMPLATE_SUFFIX = ".j2"
_HTML, _MARKDOWN = {".html", ".htm", ".xml"}, {".md", ".markdown"}


def render(summary: Summary, template: str) -> str:
    """Render one of the shipped templates of a comparison, in Jinja's sandbox.

    Every text that a template writes is inert: in HTML it is escaped, in Markdown nothing comes of it either.
    """
    of_page = {"page": page_parts(summary), **_drawn(summary)} if template.endswith(".html.j2") else {}
    return render_shipped(template, summary=summary, **of_page)


def render_shipped(template: str, **context: Any) -> str:
    """Render one of the shipped templates from whatever it is about."""
    return environment(resource_path("templates"), template).get_template(template).render(**context)


def environment(folder: Path, template: str) -> SandboxedEnvironment:
    """The sandbox for a template, by its name without ``.j2``, with the filters that all templates may use.

    In HTML and XML Jinja escapes; in Markdown every text is made inert; elsewhere a text only loses what a terminal would
    act on. What was made inert once (by a filter for its place, or in a macro) stays as it is.

    Args:
        folder: where it is, with what it includes.
        template: its name.
    """
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """What a macro has written was escaped value by value."""

        concat = staticmethod(_joined)  # as Jinja's own native types do it

    suffix = PurePath(template.removesuffix(TEMPLATE_SUFFIX)).suffix.lower()
    is_html = suffix in _HTML
    found = Sandbox(
        loader=jinja2.FileSystemLoader(folder, encoding="utf-8-sig"), undefined=jinja2.StrictUndefined, autoescape=is_html,
        finalize=_inert(markdown if suffix in _MARKDOWN else plain), trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    found.policies["json.dumps_kwargs"] = {"default": str}  # a model's arguments may be anything
    found.filters |= {
        "score": wording.score_text,
        "signed": wording.signed_text,
        "percent": wording.percent_text,
        "duration": wording.duration_text,
        "interval": lambda bounds: "-" if bounds is None else wording.interval_text(*bounds),
        "size": size_text,
        "thousands": lambda number: f"{number:,}",
    }
    if not is_html:  # in HTML, Jinja's own escaping is the only way
        found.filters |= {
            "item": lambda text: _Escaped(markdown_item(text)),
            "line": lambda text: _Escaped(one_line(text)),
            "code": lambda text: _Escaped(markdown_code(text)),
        }
    return found


def _drawn(summary: Summary) -> dict[str, Any]:
    """The plots, ready to stand in a page, and why there are none where they could not be drawn: no report is lost for them."""
    from markupsafe import Markup

    from pytest_prunegate.report.page.plots import plots_of

    try:
        plots = plots_of(summary)
    except Exception as error:  # noqa: BLE001 - a broken matplotlib, a full disk: whatever it is, the report is worth more
        return {"plots": {}, "plots_problem": f"{type(error).__name__}: {error}"}
    return {"plots": {name: Markup(svg) for name, svg in plots.items()}, "plots_problem": None}  # noqa: S704 - ours, and escaped


class _Escaped(str):
    """Text that is inert in its place already."""

    __slots__ = ()


def _joined(pieces: Iterable[str]) -> str:
    """What a macro, a block or the template wrote; each of its values is inert."""
    return _Escaped("".join(pieces))


def _inert(escape: Callable[[str], str]) -> Callable[[Any], Any]:
    """What Jinja does to each value before it is written; one that a filter has escaped stays."""
    return lambda value: escape(value) if type(value) is str else value
