"""What the HTML report carries beside the summary: its style and script, the policy that allows no more, and the answers that changed."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.plain import plain
from pytest_prunegate.report.wording import score_text
from pytest_prunegate.resources import resource_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup

    from pytest_prunegate.report.changed_records import ChangedAnswer, ChangedAnswers, Marked
    from pytest_prunegate.report.records import Summary

_ROOM = 4_000_000  # bytes for the answers that changed: the page stays under 5 MB
_LONGEST = (20_000, 4_000, 800)  # characters of one text; the first that fits the room
_READABLE = 4_000  # characters of one text where there is no script


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
    """The shown answers as JSON to stand in a script element: nothing in it ends the element, or is more than text.

    Texts that are too long for the page lose their middle, and say so.
    """
    found = ""
    for longest in _LONGEST:
        found = _json(changed, longest)
        if len(found.encode()) <= _ROOM:
            break
    return found


def shorten(pieces: Marked, longest: int = _READABLE) -> Iterator[tuple[str, bool]]:
    """The pieces of a text, without its middle where it is too long."""
    total, half, at = sum(len(text) for text, _ in pieces), longest // 2, 0
    is_told = total <= longest
    for text, is_marked in pieces:
        front = text if total <= longest else text[: max(0, half - at)]
        back = text[max(len(front), total - half - at) :]
        if front:
            yield front, is_marked
        if not is_told and len(front) < len(text):
            yield f"\n[... {total - 2 * half:,} characters are left out here ...]\n", False
            is_told = True
        if back:
            yield back, is_marked
        at += len(text)


def _json(changed: ChangedAnswers, longest: int) -> str:
    value = {
        "blocks": [_text(block, longest) for block in changed.blocks],
        "rows": [_row(answer, longest) for answer in changed.shown],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _row(answer: ChangedAnswer, longest: int) -> dict[str, Any]:
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
        "gold": _text(answer.gold, longest),
        "original": _pieces(answer.original, longest),
        "pruned": _pieces(answer.pruned, longest),
    }


def _pieces(marked: Marked, longest: int) -> list[tuple[str, int]]:
    return [(plain(text), int(is_marked)) for text, is_marked in shorten(marked, longest)]


def _text(text: str, longest: int) -> str:
    return "".join(piece for piece, _ in _pieces(((text, False),), longest))


def _asset(name: str) -> str:
    return (resource_path("templates") / name).read_text(encoding="utf-8")
