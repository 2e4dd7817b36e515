"""How large the HTML report is, and how soon it can be used, where many long answers changed.

    PYTHONPATH=tests python benchmarks/report.py [FILE]

12,000 documents were compared and 3,600 of them changed: questions about passages of 800 characters (every four share one) and 5-shot
prompts of 4,000 (examples drawn anew for each, as lm-eval does), with outputs as long as a model reasons; 500 are embedded. The page is
rendered, written (to FILE, where one is named), and opened several times in headless Chromium without a network: "usable" is the time from
the start of the navigation until its script has built the table, "search" the time from a key until the hits are counted, the pause after
the last key included. Medians; times depend on the machine and decide nothing. The last line is one JSON object.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from support.headless import FLAGS
from support.made_summary import made_summary

from pytest_prunegate.report.page.renderer import render
from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedAnswers, ChangedScore, Marked

ROUNDS = 7
CHANGED, SHOWN, LOST = 3600, 500, 2700
EXAMPLES = 1200  # different ones that 250 prompts hold, five each, of the 7,473 that gsm8k has
PASSAGE, EXAMPLE, REASONING = 800, 750, 400  # characters
DRAW = random.Random(7)  # noqa: S311 - no secret
WORDS = ["".join(DRAW.choices("etaoinshrdlu", k=DRAW.randint(2, 9))) for _ in range(5000)]
SEARCH = """
const [word, done] = arguments, start = performance.now(), field = document.getElementById("search");
new MutationObserver(() => done([performance.now() - start, document.getElementById("hits").textContent]))
  .observe(document.getElementById("hits"), {childList: true});
field.value = word;
field.dispatchEvent(new Event("input"));
"""


def prose(characters: int) -> str:
    """Words without a meaning, so many characters of them."""
    text = ""
    while len(text) < characters:
        text += DRAW.choice(WORDS) + " "
    return text[:characters]


def changed_answers() -> ChangedAnswers:
    """Half of them short answers about a passage, half of them reasoned ones behind five examples."""
    blocks = [f"Question: {prose(EXAMPLE // 2)}\nAnswer: {prose(EXAMPLE // 2)}\n\n" for _ in range(EXAMPLES)]
    shown = []
    for number in range(SHOWN):
        is_lost = number < SHOWN * LOST / CHANGED
        if number % 2:
            if number % 8 == 1:
                passage = len(blocks)
                blocks.append(f"{prose(PASSAGE)}\n\n")
            prompt, names = (passage, len(blocks)), ("f1", "exact_match")
            right, wrong = ((prose(20), True),), ((prose(30), True),)
        else:
            prompt, names = (*DRAW.sample(range(EXAMPLES), 5), len(blocks)), ("accuracy",)
            start = prose(REASONING // 2)
            right, wrong = (
                tuple((prose(12), bool(piece % 2)) for piece in range(REASONING // 24)) for _ in ("right", "wrong")
            )
            right, wrong = ((start, False), *right), ((start, False), *wrong)
        blocks.append(f"Question: {prose(120)}?\nAnswer:")
        shown.append(_answer(number, names, prompt, (right, wrong), is_lost=is_lost))
    return ChangedAnswers(
        total=CHANGED, lost=LOST, gained=CHANGED - LOST, shown=tuple(shown), blocks=tuple(blocks), file="changed.jsonl"
    )


def _answer(
    number: int, names: tuple[str, ...], prompt: tuple[int, ...], texts: tuple[Marked, Marked], *, is_lost: bool
) -> ChangedAnswer:
    right, wrong = texts
    change = "lost" if is_lost else "gained"
    scores = tuple(
        ChangedScore(check=name, original=float(is_lost), pruned=float(not is_lost), change=change) for name in names
    )
    return ChangedAnswer(
        task="squadv2" if number % 2 else "gsm8k", member=None, doc_id=number * 7, change=change, size=1.0, scores=scores, prompt=prompt,
        gold="".join(text for text, _ in right), original=right if is_lost else wrong, pruned=wrong if is_lost else right,
    )  # fmt: skip


def measure(page: Path) -> dict[str, float]:
    """Milliseconds until the page can be used, and until a search is answered."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    usable, answered = [], []
    try:
        driver.set_script_timeout(30)
        for _ in range(ROUNDS):
            driver.get(page.as_uri())
            usable.append(
                driver.execute_script("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
            )
            took, hits = driver.execute_async_script(SEARCH, WORDS[0])
            answered.append(took)
            if " of 500 answers match" not in hits:
                raise SystemExit(f"the search found no answer: {hits}")
    finally:
        driver.quit()
    return {"usable_ms": round(statistics.median(usable)), "search_ms": round(statistics.median(answered))}


def main() -> None:
    """Measure, print a line for a reader, and one of JSON."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        raise SystemExit("chromium or chromedriver is missing: `make browser` installs Debian's")
    checks = tuple(
        replace(check, documents=6000, total_documents=6000) if check.unit == "documents" and check.documents else check
        for check in made_summary(changes=0).checks
    )
    summary = made_summary(checks, changed=changed_answers())
    began = time.perf_counter()
    text = render(summary, "report.html.j2")
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        page = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "report.html"
        page.write_text(text, encoding="utf-8")
        size, found = page.stat().st_size, measure(page.resolve())
    print(
        f"{size / 1e6:.2f} MB, rendered in {seconds:.2f} s; usable after {found['usable_ms']} ms, a search in {found['search_ms']} ms"
    )
    print(
        json.dumps(
            {
                "documents": 12_000,
                "changed": CHANGED,
                "shown": SHOWN,
                "bytes": size,
                "render_s": round(seconds, 3),
                **found,
            }
        )
    )


if __name__ == "__main__":
    main()
