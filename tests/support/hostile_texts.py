"""Texts that would break, steer or bloat a report, and a summary that holds one wherever foreign text can stand."""

from __future__ import annotations

import html.parser
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, ChangedScore
from pytest_prunegate.report.summary.check_records import CheckSummary, IntervalSummary, MemberSummary, PartSummary
from pytest_prunegate.report.summary.model_records import MaskSurvival, ModelSummary, PartSparsity, PatternSummary
from pytest_prunegate.report.summary.provenance_records import Environment, ModelProvenance, RunProvenance
from pytest_prunegate.report.summary.records import SharesOfOutputs, Stale, Summary, TaskSummary
from pytest_prunegate.report.summary.values import RunVerdict
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from pytest_prunegate.input.model_argument import Side

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "script in capitals": "<ScRiPt src=//evil.example/x.js></sCrIpT >",
    "end of the title": "</title><script>alert(1)</script>",
    "end of the code": "</code></pre></td></table><h1 id=evil>x</h1>",
    "comment": "--><img src=x onerror=alert(1)><!--",
    "attribute": '" onmouseover="alert(1)" x="',
    "attribute in single quotes": "' onfocus='alert(1)' autofocus='",
    "image": "<img src=x onerror=alert(1)>",
    "svg": "<svg/onload=alert(1)>",
    "frame": "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "style": "</style><style>body{display:none}</style>",
    "base": '<base href="//evil.example/">',
    "refresh": '<meta http-equiv=refresh content="0;url=//evil.example">',
    "link": "[click](javascript:alert(1))",
    "picture": "![x](http://evil.example/pixel.png)",
    "link with a reference": "[x][1]\n\n[1]: javascript:alert(1)",
    "autolink": "<http://evil.example>",
    "table": "| a | b |\n| --- | --- |\n| <b>x</b> | y |",
    "heading": "# PASS: everything is fine",
    "fence": "```\n</pre><script>alert(1)</script>\n```",
    "backticks": "`` ` `<b>x</b>` ``",
    "template": "{{ 7 * 7 }}{% for x in range(10**9) %}x{% endfor %}{{ ''.__class__.__mro__ }}",
    "ANSI": "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b31m",
    "NUL": "a\x00b\x01\x7f\x85",
    "return": "all is well\rFAIL\x08\x08",
    "direction": "\u202egpj.exe\u2066\u2069\u200f\u061c",
    "invisible": "a\u200bb\ufeffc\U000e0041",
    "half a character": "x\ud800y\udfff",
    "10 MB": "A" * 10_000_000,
    "many lines": "\n" * 300_000,
    "entity": "&lt;script&gt; &#x202e; &#0; &amp;",
    "CDATA": "]]><script>alert(1)</script>",
}  # fmt: skip


class Page(html.parser.HTMLParser):
    """A document's elements with their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""
        self.scripts: dict[str | None, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", ()))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.elements and self.elements[-1][0] == "script":
            kind = dict(self.elements[-1][1]).get("type")
            self.scripts[kind] = self.scripts.get(kind, "") + data


NAMES = [pytest.param(name, marks=[pytest.mark.slow] if len(HOSTILE[name]) > 100_000 else []) for name in HOSTILE]
"""Their names for a parametrized test; the longest are slow."""


def parsed(document: str) -> Page:
    page = Page()
    page.feed(document)
    page.close()
    return page


def interval_in_words(text: str) -> IntervalSummary:
    """An interval whose words are a text of others."""
    bounds = (None, -0.3)
    return IntervalSummary(
        relative=bounds, absolute=bounds, pruned=bounds, of_full_run=False, is_anytime=False, unit="documents", confidence=0.95,
        relative_change=(-0.3, None), text=text, subject=text,
    )  # fmt: skip


def summary_with(text: str) -> Summary:
    """A summary in which every text that can be foreign is this one."""
    model = ModelSummary(
        side="pruned", name=None, path=text, revision=text, base=text, fingerprint="f" * 32, architecture=text, parameters=1, size=1,
        quantised=text, backend=text, dtype=text, arguments={text: text}, max_length=1, sparsity=None, zeros=None, weights=None,
        sparsity_problem=text, base_sparsity=None, router_zeros=0, router_weights=0, wikitext_ppl=1.0, wikitext_windows=text, layers=(),
        patterns=(PatternSummary(name=text, matrices=1, weights=1),), parts=(PartSparsity(part=text, zeros=0, weights=1, share=0.0),), blocks=(1, 1),
    )  # fmt: skip
    check = CheckSummary(
        task=text, name=text, metric="acc", filter="none", location=text, line=1, thresholds=(text,), outcome=Outcome.FAIL, original=0.5, pruned=0.4,
        difference=-0.1, relative=-0.2, recovery=0.8, interval=interval_in_words(text), decision=None, noise=None, broken=(text,),
        silent=None,
        documents=1, total_documents=2, unit=text, lost=1, gained=0, reason=text, members=(
            MemberSummary(name=text, documents=1, original=0.5, pruned=0.4, lost=1, gained=0, difference=-0.1, exact=("1/2", "2/5")),
        ), exact=None, identity=None, measured=text, is_earlier=True, parts=(), scale=None,
    )  # fmt: skip
    outputs: dict[Side, SharesOfOutputs | None] = {"original": SharesOfOutputs(outputs=1, empty=0.5, cut=None)}
    task = TaskSummary(
        name=text, version=text, num_fewshot=0, documents=1, total_documents=1, unit=text, data_fingerprint="", requests=1,
        outputs=outputs, started="", seconds=0.0, fewshot_seeds=(), answered_in={}, ties={},
    )  # fmt: skip
    answer = ChangedAnswer(
        task=text, member=text, doc_id=7, change="lost", size=1.0, scores=(ChangedScore(check=text, original=1.0, pruned=0.0, change="lost"),),
        prompt=(0, 0), gold=text, original=((text, False), (text, True)), pruned=((text, True),),
        original_note=text, pruned_note=text,
    )  # fmt: skip
    changed = ChangedAnswers(total=2, lost=2, gained=0, shown=(answer, answer), blocks=(text,), file=text)
    part = PartSummary(
        by=text, name=text, documents=1, original=0.5, pruned=0.4, difference=-0.1, relative=-0.2, lost=1, gained=0
    )
    check = replace(check, parts=(part,))
    others = [replace(check, outcome=outcome) for outcome in (Outcome.NOT_RUN, Outcome.PASS, Outcome.ERROR)]
    place = Environment(hardware=text, libraries={text: text}, batch_sizes=(text,), answers=1, first=text, last=text)
    provenance = ModelProvenance(
        path=text, name=text, revision=text, base=text, fingerprint="f" * 32, file=text, backend=text, dtype=text, arguments={text: text},
        max_length=1, lm_eval=text, environments=(place,),
    )  # fmt: skip
    run = RunProvenance(
        command=text, started=text, finished=text, seed=1, batch_size=text, device=text, python=text, platform=text, libraries={text: text},
        commit=text, tasks={},
    )  # fmt: skip
    return Summary(
        version=8, verdict=RunVerdict.FAIL, headline=text, notes=(text,), differences=(text,), reductions=(text,), mask=MaskSurvival(source=text, fingerprint=text, zeros=2, regrown=1, new=0, share=0.5, layers=()), agreement=None, speed=None, stale=(Stale(task=text, name=text, measured=text, reason=text),),
        archive=text, checks_measured=1, checks_total=1, models={"original": replace(model, side="original", name=text), "pruned": model},
        checks=(check, *others), tasks=(task,), asked={}, thresholds_file=text, built_in_thresholds=False, seed=1, batch_size=text, device=text,
        command=f"pytest {text}", started=text, finished=text, python=text, libraries={text: text}, changed=changed,
        provenance={"original": provenance, "pruned": provenance}, run=run,
    )  # fmt: skip


def structure(document: str) -> list[str]:
    """What begins each line of a Markdown document: the part that makes headings, items, tables and fences."""
    return [re.match(r"(#+ |- |\||```|\d+\.)?", line).group() for line in document.splitlines()]  # type: ignore[union-attr]
