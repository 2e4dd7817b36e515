"""What the HTML report carries beside the summary: its style and script, the policy that allows no more, and the answers that changed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import plain
from pytest_prunegate.report.summary.wording import score_text
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from markupsafe import Markup

    from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, Marked
    from pytest_prunegate.report.summary.records import Summary


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
