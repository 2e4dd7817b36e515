"""Renders templates from a summary, in Jinja's sandbox, with the page's style, script and policy. They compute nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import markdown, markdown_code, markdown_item, one_line, plain, size_text
from pytest_prunegate.report.summary import wording
from pytest_prunegate.report.summary.wording import score_text
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment
    from markupsafe import Markup

    from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, Marked
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
    return _shipped(template).render(**context)


@cache
def _shipped(template: str) -> Template:
    """A shipped template, compiled once: several candidates are rendered with the same ones."""
    return environment(resource_path("templates"), template).get_template(template)


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
        "figure": wording.figure_text,
        "signed": wording.signed_text,
        "percent": wording.percent_text,
        "blocks": wording.blocks_text,
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


@dataclass(frozen=True, kw_only=True)
class PageParts:
    """Texts that the template writes as they are: style, script, and the answers as JSON.

    `policy` is the page's Content-Security-Policy: this script, no other, and nothing from anywhere.
    """

    policy: str
    style: Markup
    script: Markup
    answers: Markup


def page_parts(summary: Summary) -> PageParts:
    """What `report.html.j2` needs beside the summary."""
    from markupsafe import Markup

    script = _asset("report.js")
    # The browser hashes what stands between the tags: the template puts a newline before the script.
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    # Style attributes are the plots'.
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return PageParts(
        policy=policy,
        style=Markup(_asset("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - likewise
        answers=Markup(embedded(summary.changed)),  # noqa: S704 - JSON without a character of markup
    )


def embedded(changed: ChangedAnswers) -> str:
    """The shown answers as JSON to stand in a script element: nothing in it ends the element, or is more than text."""
    value = {"blocks": [plain(block) for block in changed.blocks], "rows": [_row(answer) for answer in changed.shown]}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(answer: ChangedAnswer) -> dict[str, Any]:
    return {
        "task": plain(answer.task),
        "member": None if answer.member is None else plain(answer.member),
        "id": answer.doc_id,
        "change": answer.change,
        "size": score_text(answer.size),
        "scores": [
            [plain(score.check), score_text(score.original), score_text(score.pruned), score.change]
            for score in answer.scores
        ],
        "prompt": answer.prompt,
        "gold": plain(answer.gold),
        "original": _pieces(answer.original),
        "pruned": _pieces(answer.pruned),
        "notes": [plain(answer.original_note), plain(answer.pruned_note)],
    }


def _pieces(marked: Marked) -> list[tuple[str, int]]:
    return [(plain(text), int(is_marked)) for text, is_marked in marked]


def _asset(name: str) -> str:
    return (resource_path("templates") / name).read_text(encoding="utf-8")
