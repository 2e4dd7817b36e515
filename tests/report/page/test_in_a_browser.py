"""The HTML report as its reader has it: in a browser, light and dark, on a desk, a phone and paper, with and without scripts."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from support.hostile_texts import HOSTILE, summary_with
from support.made_summary import made_changes, made_summary

from pytest_prunegate.plain import plain
from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, ChangedScore

if TYPE_CHECKING:
    from support.headless import Browser

    from pytest_prunegate.report.summary.records import Summary

pytestmark = pytest.mark.slow
ROWS = ".answers tbody tr:not(.detail)"
FULL = 4.5  # contrast that WCAG's AA asks of text


def two_tasks() -> Summary:
    """Changed answers of two tasks; some are worse by f1 alone."""
    changed = made_changes(40)
    shown = []
    for number, answer in enumerate(changed.shown):
        if number % 4 == 0:
            before, after = answer.scores[0].original, answer.scores[0].pruned
            score = ChangedScore(check="accuracy", original=before, pruned=after, change=answer.change)
            shown.append(replace(answer, task="gsm8k", scores=(score,)))
        elif number % 4 == 1:
            same = replace(answer.scores[1], original=0.0, pruned=0.0, change="same")
            shown.append(replace(answer, scores=(answer.scores[0], same)))
        else:
            shown.append(answer)
    return made_summary(changed=replace(changed, shown=tuple(shown)))


def prompt_of(changed: ChangedAnswers, answer: ChangedAnswer) -> str:
    return "".join(changed.blocks[block] for block in answer.prompt)


def text_of(pieces: tuple[tuple[str, bool], ...]) -> str:
    return "".join(text for text, _ in pieces)


def search(browser: Browser, text: str) -> None:
    """Type it, and wait until the table follows: the search waits for the last key."""
    field = browser.one("#search")
    browser.js("arguments[0].value = ''", field)
    field.send_keys(text)
    browser.driver.set_script_timeout(5)
    browser.driver.execute_async_script("setTimeout(arguments[0], 250)")


def test_it_needs_no_network_and_says_so(browser: Browser) -> None:
    browser.requests()
    browser.open(made_summary(changes=3600))
    search(browser, "word1")
    browser.one(f"{ROWS} button").click()
    assert {url.partition("/report.html")[1] for url in browser.requests()} == {"/report.html"}, (
        "nothing but the page itself"
    )
    assert browser.js("return performance.getEntriesByType('resource').length") == 0
    assert browser.told() == []
    assert browser.driver.title.startswith("INCOMPLETE, FAIL: 8 of 10 checks measured")
    asked = "const done = arguments[0]; fetch('http://localhost:1/x').then(() => done('went'), () => done('refused'))"
    assert browser.driver.execute_async_script(asked) == "refused"
    assert "Content Security Policy" in browser.told()[0]


def test_five_hundred_of_them_are_shown_and_the_page_says_where_the_rest_is(browser: Browser) -> None:
    browser.open(made_summary(changes=3600))
    assert "500 of 3,600 shown; all of them are in changed.jsonl." in browser.one("#changed").text
    assert browser.one("#hits").text == "500 answers; the first 25 are listed."
    assert len(browser.all(ROWS)) == 25
    browser.one("#more").click()
    assert len(browser.all(ROWS)) == 125
    assert browser.js("return document.activeElement === document.querySelectorAll(arguments[0])[25]", f"{ROWS} button")


def test_sorting_both_ways(browser: Browser) -> None:
    changed = made_changes(20)
    browser.open(made_summary(changes=20))
    assert browser.texts(f"{ROWS} .change")[:15] == ["lost"] * 15, "lost first"
    header = browser.one("[data-key=gold]")
    for direction, is_reversed in (("ascending", False), ("descending", True)):
        header.click()
        assert browser.js("return arguments[0].closest('th').ariaSort", header) == direction
        expected = sorted(
            (answer.gold for answer in changed.shown), key=lambda word: int(word[4:]), reverse=is_reversed
        )
        assert browser.texts(f"{ROWS} td:nth-child(3)") == expected, "numbers by their size"
    browser.one("[data-key=change]").click()
    assert browser.texts(f"{ROWS} th") == [f"squadv2 {answer.doc_id}" for answer in changed.shown]
    assert [header.get_attribute("aria-sort") for header in browser.all(".answers thead th")].count("ascending") == 1


@pytest.mark.parametrize("text", ["number 11?", "WORD12", "  word7  ", "no such text"])
def test_search_covers_prompt_gold_and_outputs(browser: Browser, text: str) -> None:
    changed = made_changes(100)
    browser.open(made_summary(changes=100))
    search(browser, text)
    wanted = text.strip().lower()
    hits = [
        answer for answer in changed.shown
        if any(wanted in found for found in (prompt_of(changed, answer), answer.gold, text_of(answer.original), text_of(answer.pruned)))
    ]  # fmt: skip
    assert browser.one("#hits").text.startswith(f"{len(hits)} of 100 answers match")
    assert browser.texts(f"{ROWS} th button") == [f"squadv2 {answer.doc_id}" for answer in hits[:25]]
    assert browser.texts(f"{ROWS} .hit strong") == [wanted] * len(hits[:25]), "each says where"
    browser.one("#clear").click()
    assert browser.one("#hits").text == "100 answers; the first 25 are listed."


@pytest.mark.parametrize("key", ["click", Keys.ENTER, Keys.SPACE])
def test_a_row_opens_to_prompt_gold_and_both_outputs(browser: Browser, key: str) -> None:
    changed = made_changes(8)
    answer = changed.shown[0]
    browser.open(made_summary(changes=8))
    button = browser.one(f"{ROWS} button")
    assert button.get_attribute("aria-expanded") == "false"
    if key == "click":
        button.click()
    else:
        button.send_keys(key)
    assert button.get_attribute("aria-expanded") == "true"
    assert browser.js("return document.activeElement") == button, "the focus stays where it was"
    assert browser.texts(".detail h3") == ["Prompt", "Gold answer", "Original's output", "Pruned's output"]
    expected = [prompt_of(changed, answer), answer.gold, text_of(answer.original), text_of(answer.pruned)]
    assert browser.texts(".detail pre") == expected
    assert browser.texts(".detail mark") == [answer.original[1][0], answer.pruned[1][0]]
    decoration = browser.js("return getComputedStyle(document.querySelector('.detail mark')).textDecorationLine")
    assert decoration == "underline", "not by colour alone"
    boxes = [side.rect for side in browser.all(".sides > div")]
    assert boxes[0]["y"] == boxes[1]["y"], "side by side"
    browser.screen(360)
    boxes = [side.rect for side in browser.all(".sides > div")]
    assert boxes[0]["x"] == boxes[1]["x"], "one above the other on a phone"
    button.click()
    assert browser.all(".detail") == []


def test_open_rows_stay_open_while_the_table_changes(browser: Browser) -> None:
    browser.open(made_summary(changes=8))
    browser.one(f"{ROWS} button").click()
    prompt = browser.texts(".detail pre")
    browser.one("[data-key=change]").click()
    assert browser.texts(".detail pre") == prompt
    assert browser.js("return document.querySelector('.detail').nextElementSibling") is None, "it moved with its row"


def test_filters(browser: Browser) -> None:
    browser.open(two_tasks())
    Select(browser.one("#by-change")).select_by_visible_text("gained")
    assert set(browser.texts(f"{ROWS} .change")) == {"gained"}
    Select(browser.one("#by-task")).select_by_visible_text("gsm8k")
    assert {name.split()[0] for name in browser.texts(f"{ROWS} th")} == {"gsm8k"}
    browser.one("#clear").click()
    Select(browser.one("#by-check")).select_by_visible_text("squadv2 exact_match")
    assert browser.one("#hits").text == "20 of 40 answers match.", (
        "those that are the same by this check are no change of it"
    )


def test_a_count_in_the_table_of_checks_leads_to_its_answers(browser: Browser) -> None:
    browser.open(two_tasks())
    browser.one("#checks tr:nth-child(3) [data-label=Lost] a").click()
    assert browser.one("#hits").text == "22 of 40 answers match."
    assert Select(browser.one("#by-check")).first_selected_option.text == "squadv2 f1"
    assert set(browser.texts(f"{ROWS} .change")) == {"lost"}


CONTRASTS = """
const number = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (rgb) => rgb.slice(0, 3).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const back = (e) => {
  for (; e; e = e.parentElement) {
    const found = number(getComputedStyle(e).backgroundColor);
    if (found[3] !== 0) return found;
  }
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode()); ) {
  const e = node.parentElement;
  if (!node.textContent.trim() || !e.checkVisibility() || e.closest("script, noscript, style, title, desc")) continue;
  const style = getComputedStyle(e);
  const [a, b] = [light(number(e.closest("svg") ? style.fill : style.color)), light(back(e))].sort((x, y) => y - x);
  found.push([(a + 0.05) / (b + 0.05), e.tagName + "." + e.getAttribute("class") + ": " + node.textContent.trim().slice(0, 40)]);
}
return [light(back(document.body)), found.sort((x, y) => x[0] - y[0])];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_either_scheme(browser: Browser, scheme: str) -> None:
    browser.open(made_summary())
    browser.media(scheme=scheme)
    browser.one(f"{ROWS} button").click()
    background, contrasts = browser.js(CONTRASTS)
    assert background > 0.9 if scheme == "light" else background < 0.02
    assert len(contrasts) > 200
    assert [found for found in contrasts if found[0] < FULL] == []


@pytest.mark.parametrize("text", ["usual", "W" * 300, "a/very/long/path/" * 20, "two words " * 40])
def test_a_phone_scrolls_one_way(browser: Browser, text: str) -> None:
    browser.open(made_summary() if text == "usual" else summary_with(text))
    browser.screen(360)
    browser.one(f"{ROWS} button").click()
    width, room = browser.js("return [document.scrollingElement.scrollWidth, innerWidth]")
    assert room == 360
    assert width <= room


def test_paper(browser: Browser) -> None:
    browser.open(made_summary())
    browser.media(media="")
    pages = base64.b64decode(browser.cdp("Page.printToPDF", printBackground=True)["data"])
    assert 2 <= len(re.findall(rb"/Type /Page\b(?!s)", pages)) <= 6
    browser.media(media="print", scheme="dark")
    for selector in ("nav", ".controls", "#more", "#copy"):
        assert not browser.one(selector).is_displayed()
    assert browser.one("#checks table").is_displayed()
    assert browser.js(
        "return document.querySelector('#checks details li').checkVisibility({contentVisibilityAuto: true})"
    )
    assert browser.js("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert (
        browser.js("return getComputedStyle(document.querySelector('#checks thead')).display") == "table-header-group"
    )


def test_without_scripts_the_page_still_says_it(browser: Browser) -> None:
    browser.cdp("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(made_summary(changes=100))
    assert browser.one("h1").text.startswith("INCOMPLETE, FAIL")
    assert len(browser.all("#checks tbody tr")) == 10
    assert len(browser.all("#plots svg")) == 4
    assert "these are the first 20" in browser.one("#changed").text
    first = browser.one("#changed details")
    first.find_element("css selector", "summary").click()
    assert "which is the word of number 0?" in first.text
    for control in ("#answers", "#copy"):
        assert not browser.one(control).is_displayed(), "nothing that does nothing"


def test_headings_and_tables_are_in_order(browser: Browser) -> None:
    browser.open(made_summary())
    browser.one(f"{ROWS} button").click()
    levels = browser.js("return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert browser.all("th:not([scope])") == []
    assert browser.js("return document.documentElement.lang") == "en"
    targets = browser.js("return [...document.querySelectorAll('a[href]')].map(e => e.getAttribute('href'))")
    assert all(target.startswith("#") and browser.all(target) for target in targets)


def test_the_command_is_copied(browser: Browser) -> None:
    browser.open(made_summary())
    browser.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    browser.one("#copy").click()
    assert browser.js("return window.copied") == made_summary().command
    assert browser.one("#copy").text == "Copied"


def test_no_answer_changed(browser: Browser) -> None:
    checks = tuple(replace(check, lost=0, gained=0) for check in made_summary().checks)
    browser.open(made_summary(checks, changes=0))
    assert "No answer changed" in browser.one("#changed").text
    assert browser.all("#answers, #changed-data") == []
    assert browser.one("#copy").is_displayed(), "the rest of the script runs"


def test_hostile_answers_are_text(browser: Browser) -> None:
    """A row for each of them, in every place that a changed answer has."""
    texts = [
        text for text in HOSTILE.values() if len(text) < 1000
    ]  # longer ones are shortened before a report has them
    answer = made_changes(1).shown[0]
    shown = tuple(
        replace(answer, doc_id=number, task=text, member=text, prompt=(number,), gold=text, original=((text, True),), pruned=((text, False),),
                original_note=text, pruned_note=text, scores=(ChangedScore(check=text, original=1.0, pruned=0.0, change="lost"),))
        for number, text in enumerate(texts)
    )  # fmt: skip
    changed = ChangedAnswers(total=len(texts), lost=len(texts), shown=shown, blocks=tuple(texts), file="changed.jsonl")
    browser.open(made_summary(changed=changed))
    browser.one("#more").click()
    browser.js("for (const button of document.querySelectorAll(arguments[0])) button.click()", f"{ROWS} button")
    search(browser, "<script>alert(1)</script>")
    assert not browser.one("#hits").text.startswith("0 of")
    browser.one("#clear").click()
    browser.one("#more").click()
    prompts = browser.texts(".prompt")
    assert prompts == [plain(text) for text in texts]
    unharmed(browser)


@pytest.mark.parametrize("name", ["end of the title", "style", "refresh", "entity", "direction"])
def test_hostile_texts_everywhere(browser: Browser, name: str) -> None:
    browser.open(summary_with(HOSTILE[name]))
    browser.one(f"{ROWS} button").click()
    unharmed(browser)
    assert browser.driver.title == " ".join(plain(HOSTILE[name]).split())


def unharmed(browser: Browser) -> None:
    with pytest.raises(NoAlertPresentException):
        _ = browser.driver.switch_to.alert.text
    assert len(browser.all("script")) == 2
    assert browser.all("#changed :is(img, svg, iframe, base, link, meta, object, embed, a[href], style)") == []
    assert [element.tag_name for element in browser.all("body > *")] == ["header", "main", "script"]
    assert browser.js("return location.pathname").endswith("/report.html")
    assert browser.one("h1").is_displayed()
