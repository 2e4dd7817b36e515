"""Perplexity of a text as pruning papers compute it, as a task whose documents are windows.

The text is tokenised once, cut into windows of `seqlen` tokens that do not overlap, the rest at its end dropped; the
perplexity is exp of the mean negative log-likelihood of a token given those before it in its window. Source: GPTQ
(arXiv 2210.17323), SparseGPT (arXiv 2301.00774) and Wanda (arXiv 2306.11695), whose code does the same. A figure
depends on `seqlen` and on the number of windows, which are reported beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.input.rules import MAX_RELATIVE_INCREASE
from pytest_prunegate.input.threshold_values import read_decision, read_marks, read_thresholds
from pytest_prunegate.input.thresholds import Decide, Decision, Spec
from pytest_prunegate.tasks.checks import AskingKind, Check, GateTask, Measure
from pytest_prunegate.tasks.prepared import Document, OwnScorer, PreparedTask
from pytest_prunegate.tasks.requests import WINDOW, Request
from pytest_prunegate.tasks.scores import MetricScores, exact
from pytest_prunegate.tasks.texts import KNOWN_TEXTS, WINDOW_KEYS, load_text, window_readers, windows_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.threshold_values import Surroundings
    from pytest_prunegate.input.thresholds import TaskOptions, Threshold
    from pytest_prunegate.input.yaml_nodes import Node
    from pytest_prunegate.store import Response
    from pytest_prunegate.tasks.checks import Preparation, Resolution
    from pytest_prunegate.tasks.requests import Conditions
    from pytest_prunegate.tasks.scores import DocumentKey

VERSION = "1"  # of this definition
_DECISION_KEYS = ("decide", "error_rate")
_KEYS = (*WINDOW_KEYS, "marks", *_DECISION_KEYS)
_USUAL_SEQLEN = 2048  # of the papers; a model that takes less gets what it takes
_LARGEST_LOSS = 700  # exp of more is no number


@dataclass(frozen=True, kw_only=True)
class PerplexitySpec(Spec):
    """A text whose perplexity is measured: windows of `seqlen` tokens, the first `nsamples` of them (None: all)."""

    section = "perplexity"
    seqlen: int | None = None
    nsamples: int | None = None
    dataset: Mapping[str, Any] | None = None

    @property
    def sample_limit(self) -> int | None:
        """Its windows."""
        return self.nsamples

    def named_thresholds(self, defaults: tuple[Threshold, ...]) -> Iterator[tuple[str | None, Threshold]]:
        """All are of its one check."""
        yield from ((Perplexity.key, threshold) for threshold in self.thresholds)


class PerplexityScorer(OwnScorer):
    """Perplexity: exp of minus the log-likelihood of all windows over their predicted tokens."""

    def score(self, prepared: PreparedTask, metric: str, responses: Sequence[Response]) -> MetricScores:
        """The perplexity, and each window's loss with its predicted tokens.

        Raises:
            TaskError: it is not finite.
        """
        places = {document.doc_id: document.requests[0][0] for document in prepared.documents}
        losses: dict[DocumentKey, tuple[float, float]] = {
            doc_id: (-(responses[place].loglikelihood or 0.0), float(_length(prepared.requests[place]) - 1))
            for doc_id, place in places.items()
        }
        mean = math.fsum(loss for loss, _ in losses.values()) / sum(predicted for _, predicted in losses.values())
        if mean > _LARGEST_LOSS:
            raise TaskError(f"{prepared.name}: the perplexity overflows: mean negative log-likelihood {mean:.1f}.")
        return MetricScores(
            by_document={},
            aggregate=exact(math.exp(mean)),
            documents=len(places),
            higher_is_better=False,
            losses=losses,
        )


class Perplexity(AskingKind):
    """The perplexity of a text: its windows are the documents, and no random sample of it."""

    key = section = "perplexity"
    names_are_free = True
    is_sampled = False

    def read(self, node: Node, around: Surroundings) -> tuple[Spec, ...]:
        """Texts by name, each with its threshold and its windows."""
        entries = node.entries(what="texts with their thresholds, such as {wikitext2: 10%}")
        return tuple(_read(name, value, around) for name, value in entries)

    def resolve(self, specs: Sequence[Spec], resolution: Resolution) -> list[GateTask]:
        """One check for each text."""
        return [self._task(spec, resolution) for spec in specs if isinstance(spec, PerplexitySpec)]

    def marks(self, task: GateTask) -> list[str]:
        """Its own."""
        return [self.key]

    def decision_words(self, decision: Decision) -> dict[str, Any]:
        """No rule stops early on windows."""
        said = super().decision_words(decision)
        return {name: value for name, value in said.items() if name in _DECISION_KEYS and value != Decide.EARLY}

    def prepare(self, part: GateTask, preparation: Preparation) -> PreparedTask:
        """Load a text, tokenise it, and cut it into windows.

        Raises:
            TaskError: the text cannot be loaded, is shorter than a window, a window is longer than a model takes, or the
                two models' tokenizers disagree.
            ModelError: a tokenizer cannot be loaded.
        """
        return _prepared(part, preparation.facts, preparation.conditions)

    def depends_on_models(self, part: GateTask) -> bool:
        """Both models' tokenizers and lengths decide the windows."""
        return True

    def load_data(self, part: GateTask) -> int | None:
        """Load the text."""
        spec: Any = part.spec
        return len(load_text(spec.name, spec.dataset).encode())

    def settled_settings(self, part: GateTask, prepared: PreparedTask) -> dict[str, Any]:
        """The length of the windows."""
        return {"seqlen": _length(prepared.requests[0])}

    def _task(self, spec: PerplexitySpec, resolution: Resolution) -> GateTask:
        mistakes = resolution.mistakes
        if spec.dataset is None and spec.name not in KNOWN_TEXTS:
            mistakes.add(
                spec.line, f"perplexity.{spec.name}: only {', '.join(KNOWN_TEXTS)} is known by name. Give the text of {spec.name} with "
                "`dataset: {path: text, data_files: {test: my.txt}}`.",
            )  # fmt: skip
        check = Check(
            task=spec.name, name=self.key, measure=Measure.METRIC, metric=self.key, filter="none",
            thresholds=spec.thresholds, file=mistakes.display, line=spec.line, decision=_decision(spec, resolution.options),
        )  # fmt: skip
        return GateTask(kind=self, spec=spec, checks=(check,), selected=True)


def _length(window: Request) -> int:
    assert window.tokens is not None
    return len(window.tokens)


def _read(name: str, node: Node, around: Surroundings) -> PerplexitySpec:
    """A text with its windows and threshold."""
    before = len(around.mistakes.found)
    rule = MAX_RELATIVE_INCREASE
    thresholds = read_thresholds(node, rules=(rule,), alone=rule, extra=_KEYS) if node.kind != "null" else ()
    if not thresholds and len(around.mistakes.found) == before:
        node.wrong("has no threshold. Write for example `max_relative_increase: 10%`.")
    readers = window_readers(around) | {"marks": read_marks}
    entries = list(node.entries(what="windows and a threshold")) if node.kind == "map" else []
    for key, value in entries:
        if key == "decide" and value.text == Decide.EARLY:
            value.wrong("windows of a text are no random sample: write full or confident, and nsamples for fewer.")
    found = {key: readers[key](value) for key, value in entries if key in readers}
    given = {key: value for key, value in found.items() if value is not None}
    decision = read_decision(node).under(around.decision)
    return PerplexitySpec(name=name, line=node.line, thresholds=thresholds, decision=decision, **given)


def _decision(spec: PerplexitySpec, options: TaskOptions) -> Decision:
    """How a perplexity is decided, the command line first; not early, for windows of a text are no random sample."""
    written = spec.decision.settled()
    given = replace(written, **options.decision.said())
    decide = written.decide if given.decide is Decide.EARLY else given.decide
    decide = Decide.FULL if decide is Decide.EARLY else decide  # of the file's defaults
    return Decision(decide=decide, error_rate=given.error_rate)


def _prepared(
    gate_task: GateTask, facts: Mapping[Side, ModelFacts], conditions: Mapping[Side, Conditions]
) -> PreparedTask:
    spec: Any = gate_task.spec
    text = load_text(spec.name, spec.dataset)
    seqlen = spec.seqlen or min(_USUAL_SEQLEN, *(own.max_length for own in conditions.values()))
    cut = windows_of(spec.name, text, seqlen, facts, conditions)
    windows = cut.windows[: spec.nsamples]
    requests = dict.fromkeys(Request(kind=WINDOW, tokens=window) for window in windows)
    positions = {request: position for position, request in enumerate(requests)}
    return PreparedTask(
        key=gate_task.key, name=spec.name, task=None, version=VERSION, num_fewshot=0, total_documents=len(cut.windows),
        data_fingerprint=cut.fingerprint, requests=tuple(requests), truncate=False,
        unit=f"windows of {seqlen} tokens", own=PerplexityScorer(),
        documents=tuple(
            Document(doc_id=number, content=None, instances=(), requests=((positions[Request(kind=WINDOW, tokens=window)],),))
            for number, window in enumerate(windows)
        ),
    )  # fmt: skip
