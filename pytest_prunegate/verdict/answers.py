"""What each model answered to a document of a measured task, and which documents a check saw change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_prunegate.plain import one_line
from pytest_prunegate.tasks.answer_texts import Answer, AnswerTexts
from pytest_prunegate.verdict.check_scores import scores_of
from pytest_prunegate.verdict.outcome import GAINED, LOST, Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from fractions import Fraction

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import Document
    from pytest_prunegate.tasks.scores import DocumentKey
    from pytest_prunegate.verdict.check_scores import Measurement
    from pytest_prunegate.verdict.compare import Comparison


_SHOWN = 120  # characters of an answer in a line


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A document in words: the whole prompt, the answer that counts as right, and what both models answered."""

    prompt: str
    gold: str
    original: Answer
    pruned: Answer


@dataclass(frozen=True, kw_only=True)
class ChangedDocument:
    """A document whose score on a check is not the same for both models. `member` is a group's task; `texts` makes its texts.

    `change` is lost where the pruned model's is the worse, whichever direction is better; `size` is by how much, in score units.
    """

    member: str | None
    doc_id: int
    change: Direction
    size: float
    original_score: float
    pruned_score: float
    texts: Callable[[], Texts]


def changed_documents(
    task: GateTask, check: Check, measured: Sequence[Measurement], *, comparison: Comparison | None = None
) -> list[ChangedDocument]:
    """The documents that a check saw change: losses first, the largest at the top, then gains.

    Of outputs that count as empty or cut, those are lost that only the pruned model's are. A metric without scores of
    documents, such as a perplexity, saw none.

    Args:
        task: the check's.
        check: one of its checks.
        measured: the task's parts.
        comparison: of the check, where only the documents are wanted that it is over; else all that were executed are.

    Raises:
        TaskError: the metric cannot be computed.
    """
    scores, higher_is_better = _scores(task, check, measured, comparison)
    texts = texts_of(task, measured)
    found = []
    for key, (before, after) in scores.items():
        if before == after:
            continue
        is_lost = (after < before) == higher_is_better
        found.append(ChangedDocument(
            member=member_of(key), doc_id=doc_id_of(key), change=LOST if is_lost else GAINED, size=float(abs(after - before)),
            original_score=float(before), pruned_score=float(after), texts=partial(texts, key),
        ))  # fmt: skip
    places = {part.prepared.name: number for number, part in enumerate(measured)}
    return sorted(found, key=lambda one: (one.change != LOST, -one.size, places.get(one.member or "", 0), one.doc_id))


def texts_of(task: GateTask, measured: Sequence[Measurement]) -> Callable[[DocumentKey], Texts]:
    """The texts of a task's executed documents, made when they are asked for."""
    documents: dict[DocumentKey, tuple[Document, Measurement, AnswerTexts]] = {}
    for part in measured:
        texts = AnswerTexts(part.prepared)
        for document in part.prepared.documents:
            documents[task.document_key(part.prepared.name, document.doc_id)] = (document, part, texts)

    def of(key: DocumentKey) -> Texts:
        document, part, texts = documents[key]
        original, pruned = (texts.answer(document, part.scorers[side]) for side in ("original", "pruned"))
        return Texts(prompt=texts.prompt(document), gold=texts.gold(document), original=original, pruned=pruned)

    return of


def first_answers(task: GateTask, measured: Sequence[Measurement]) -> str | None:
    """The first executed document in a line: what is right, and what each model that was asked said; None where models do not answer in words."""
    part = next((part for part in measured if part.prepared.documents), None)
    if part is None or not task.kind.is_of_lm_eval:
        return None
    texts, document = AnswerTexts(part.prepared), part.prepared.documents[0]
    gold = texts.gold(document)
    said = [f"right is {_quoted(gold)}"] if gold else []
    for side, scorer in part.scorers.items():
        answer = texts.answer(document, scorer)
        said.append(f"the {side} said {_quoted(answer.text)}" + (f" ({one_line(answer.note)})" if answer.note else ""))
    return f"{part.prepared.name}, document {document.doc_id}: {'; '.join(said)}"


def _quoted(text: str) -> str:
    """A text in one line and marks; of a long one its beginning and its end, where tasks look for the answer."""
    line = one_line(text)
    return f'"{line if len(line) <= _SHOWN else f"{line[: _SHOWN // 2]} ... {line[-_SHOWN // 2 :]}"}"'


def member_of(key: DocumentKey) -> str | None:
    """The group's task that a document is of; None for a task that is no group."""
    return key[0] if isinstance(key, tuple) else None


def doc_id_of(key: DocumentKey) -> int:
    """A document's id in its own task."""
    return key[1] if isinstance(key, tuple) else key


def _scores(
    task: GateTask, check: Check, measured: Sequence[Measurement], comparison: Comparison | None
) -> tuple[Mapping[DocumentKey, tuple[Fraction, Fraction]], bool]:
    if comparison is not None:
        return comparison.scores, comparison.higher_is_better
    original, pruned = (scores_of(task, check, measured, side) for side in ("original", "pruned"))
    pairs = {key: (score, pruned.by_document[key]) for key, score in original.by_document.items()}
    return pairs, original.higher_is_better
