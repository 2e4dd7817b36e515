"""What of changed answers is embedded in a report: prompts cut into shared blocks, differences marked, all of it bounded."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_texts import HOSTILE, NAMES

from pytest_prunegate.report.summary.changed_records import ChangedAnswer, ChangedScore, Marked
from pytest_prunegate.report.summary.shown_answers import Change, blocks, chosen, embedded, marked
from pytest_prunegate.tasks.answer_texts import Answer
from pytest_prunegate.verdict.answers import Texts

if TYPE_CHECKING:
    from pytest_prunegate.verdict.outcome import Direction

FAST = settings(derandomize=True, deadline=None, database=None, max_examples=200)
LARGEST = 2_500_000  # bytes of prompts and outputs


def change(number: int, *, task: str = "t", kind: Direction = "lost", **texts: Any) -> Change:
    values: dict[str, Any] = {
        "prompt": f"Question {number}?",
        "gold": "right",
        "original": "right",
        "pruned": "wrong",
    } | texts
    answers = {side: Answer(text=values[side]) for side in ("original", "pruned")}
    score = ChangedScore(check="acc", original=1.0, pruned=0.0, change=kind)
    return Change(
        task=task, member=None, doc_id=number, scores=(score,), change=kind, size=1.0, is_output=False,
        texts=lambda: Texts(**{**values, **answers}),
    )  # fmt: skip


def whole(pieces: Marked) -> str:
    return "".join(text for text, _ in pieces)


def prompt_of(answer: ChangedAnswer, stored: tuple[str, ...]) -> str:
    return "".join(stored[place] for place in answer.prompt)


def size(answers: tuple[ChangedAnswer, ...], stored: tuple[str, ...]) -> int:
    texts = [text for answer in answers for side in (answer.original, answer.pruned) for text, _ in side]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in [*texts, *stored])


prompts = st.lists(
    st.one_of(st.text(max_size=20), st.sampled_from(["\n", "\n\n", "\n \t\n", "\r\n\r\n", "\u2028", "x" * 1500, "long line\n" * 200])), max_size=8,
).map("".join)  # fmt: skip


@FAST
@given(prompts)
def test_blocks_give_the_prompt_back(prompt: str) -> None:
    found = blocks(prompt)
    assert "".join(found) == prompt
    assert all(found)
    assert all(len(block) <= 8_001 for block in found)


def test_what_prompts_share_is_stored_once() -> None:
    examples = "\n\n".join(f"Question: example {number}?\nAnswer: {number}" for number in range(5))
    chat = "".join(
        f"<user>Example {number} of a chat without blank lines.{' word' * 40}\n<assistant>{number}\n"
        for number in range(8)
    )
    changes = [
        *(change(n, prompt=f"{examples}\n\nPassage {n // 10}. {'word ' * 100}\n\nQuestion: {n}?\nAnswer:") for n in range(100)),
        *(change(n, prompt=f"{chat}<user>Question {n}\n<assistant>") for n in range(100, 200)),
    ]  # fmt: skip
    answers, stored = embedded(changes, "changed.jsonl")
    assert [prompt_of(answer, stored) for answer in answers] == [one.texts().prompt for one in changes]
    assert len(stored) == len(set(stored))
    assert sum("example 3" in block for block in stored) == 1
    assert sum("Example 3" in block for block in stored) == 1
    assert sum("Passage" in block for block in stored) == 10


@FAST
@given(st.text("ab \n\t", max_size=60), st.text("ab \n\t", max_size=60))
def test_pieces_are_the_texts(original: str, pruned: str) -> None:
    first, second = marked(original, pruned)
    assert (whole(first), whole(second)) == (original, pruned)
    same = ["".join(text for text, lacks in side if not lacks) for side in (first, second)]
    assert same[0] == same[1]
    assert any(lacks for side in (first, second) for _, lacks in side) == (original != pruned)


def test_words_that_differ_are_marked() -> None:
    first, second = marked("So 3 + 4 = 7 apples.\n#### 7", "So 3 + 5 = 8 apples.\n#### 8")
    assert [text for text, lacks in first if lacks] == [" 4", " 7", " 7"]
    assert [text for text, lacks in second if lacks] == [" 5", " 8", " 8"]


@pytest.mark.parametrize(
    "text", ["the " * 4000, " ".join(map(str, range(5000))), "the cat " * 600, "\n" * 50_000, "x" * 100_000]
)
def test_marking_takes_no_time(text: str) -> None:
    draw = random.Random(1)  # noqa: S311 - no secret
    other = " ".join(draw.choices([word[:9] for word in text.split()] or ["y"], k=700))
    begun = time.perf_counter()
    for pair in ((text, other), (other, text), (f"a b {text}", f"a c {text[:-9]}")):
        first, second = marked(*pair)
        assert (whole(first), whole(second)) == pair
    assert time.perf_counter() - begun < 1


@pytest.mark.parametrize(
    "texts",
    [
        lambda n: {"prompt": " ".join(f"{n}-{k}" for k in range(20_000))},
        lambda n: {"original": f"{n} " * 20_000, "pruned": f"{n} " + "x" * 100_000},
        lambda n: {name: chr(0x4E00 + n % 99) * 9_000 for name in ("prompt", "gold", "original", "pruned")},
        pytest.param(lambda n: dict.fromkeys(("prompt", "gold", "original", "pruned"), f"{n}" + '<\x1b�\U000e0041\u202e">' * 3000), marks=pytest.mark.slow),
        lambda n: {"prompt": "\n" * 300_000, "original": "\n" * 300_000, "pruned": f"{n}"},
        pytest.param(lambda n: {"prompt": "\n\n".join(f"{n % 7}-{k}" for k in range(30_000))}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_is_embedded_is_bounded(texts: Any) -> None:
    changes = [change(n, **texts(n)) for n in range(200)]
    answers, stored = embedded(changes, "changed_wanda50.jsonl")
    assert len(answers) == 200
    assert size(answers, stored) < LARGEST
    for one, answer in zip(changes, answers, strict=True):
        told = one.texts()
        for text, shown in (
            (told.prompt, prompt_of(answer, stored)),
            (told.original.text, whole(answer.original)),
            (told.pruned.text, whole(answer.pruned)),
        ):
            if shown != text:
                (line,) = [
                    line for line in shown.split("\n") if "left out, all of them in changed_wanda50.jsonl" in line
                ]
                left = int(line.split()[1].replace(",", ""))
                assert left + len(shown) - len(line) - 2 == len(text), "it says how much"
                assert text.startswith(shown.partition("\n... ")[0])
                assert text.endswith(shown.rpartition(" ...\n")[2])


def test_a_long_prompt_is_whole_where_there_is_room() -> None:
    (answer,), stored = embedded([change(1, prompt="word " * 3_000, original="long " * 1_500)], "changed.jsonl")
    assert prompt_of(answer, stored) == "word " * 3_000
    assert whole(answer.original) == "long " * 1_500


def test_no_task_is_crowded_out() -> None:
    changes = [
        *(change(n, task="large") for n in range(3_000)), *(change(n, task="small") for n in range(10)),
        *(change(n, task="large", kind="gained") for n in range(500)), *(change(n, task="better", kind="gained") for n in range(400)),
    ]  # fmt: skip
    found = chosen(changes)
    counts = {
        (task, kind): sum((one.task, one.change) == (task, kind) for one in found)
        for task in ("large", "small", "better") for kind in ("lost", "gained")
    }  # fmt: skip
    assert counts == {
        ("large", "lost"): 370, ("large", "gained"): 0, ("small", "lost"): 10, ("small", "gained"): 0, ("better", "lost"): 0,
        ("better", "gained"): 120,
    }  # fmt: skip
    assert found == [one for one in changes if one in found], "in their order"
    assert [one.doc_id for one in found if one.task == "large"] == list(range(370)), "the largest losses"


@pytest.mark.parametrize("tasks", [1, 3, 60, 400])
def test_all_places_are_taken(tasks: int) -> None:
    changes = [change(n, task=f"t{n % tasks}", kind="gained" if n >= 1500 else "lost") for n in range(3_000)]
    assert len(chosen(changes)) == 500
    assert len(chosen(changes[:300])) == 300


@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_the_file_is_one_line(name: str) -> None:
    text = HOSTILE[name]
    line = change(1, prompt=text, gold=text, original=text, pruned=text).line()
    assert line.isascii()
    assert len(line.decode().splitlines()) == 1
    assert b"\x1b" not in line
