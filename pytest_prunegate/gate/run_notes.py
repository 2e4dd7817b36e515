"""What a reader of a run must know besides its figures: templates that are not applied, vocabularies that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.baseline.keeping import file_notes
from pytest_prunegate.checkpoint.layout import named
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.tasks.tokenizers import vocabulary_notes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pytest_prunegate.baseline.records import Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.gate.plan import Plan
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.tasks.chat import ChatTemplates
    from pytest_prunegate.tasks.checks import GateTask
    from pytest_prunegate.verdict.outlook import Outlook


_SHOWN = 60  # characters of a message


def run_notes(
    plan: Plan,
    tasks: Sequence[GateTask],
    templates: ChatTemplates,
    *,
    files: Mapping[Side, Baseline],
    prepared: Collection[str],
    told: Iterable[str],
    warned: Iterable[str],
) -> Iterator[str]:
    """Notes on a planned run, before anything is measured.

    Args:
        plan: what the run will do.
        tasks: of the run.
        templates: applied to its prompts.
        files: answers in files that stand for models, by side.
        prepared: names of the tasks whose prompts are known.
        told: notes of the parts of the run, in their words.
        warned: what is wrong with baselines.
    """
    yield from file_notes(files, plan.facts, device=plan.device if plan.pending else None)
    yield from vocabulary_notes(plan.facts)
    yield from told
    yield from _unbreakable(tasks)
    yield from warned
    yield from (_hopeless(expected) for expected in plan.outlooks if expected.is_hopeless)
    plain = [task.name for task in tasks if task.name in prepared and _is_plain(task)]
    if plain and any(facts.tokenizer.template for facts in plan.facts.values()):
        names = ", ".join(plain[:3]) + (f" and {len(plain) - 3} more" if len(plain) > 3 else "")  # noqa: PLR2004 - as many as fit
        yield (
            f"The model has a chat template, and it is not applied to {names}. For a chat model write `apply_chat_template: true` "
            "in the thresholds file, or --prunegate-apply-chat-template=true; `apply_chat_template: false` says that it is meant so."
        )
    if templates.are_dated:
        yield (
            "The chat template writes today's date into the prompts: tomorrow's run asks anew. "
            "Pin it with `chat_template_kwargs: {date_string: ...}`."
        )
    if templates.dropped:
        yield (
            "The chat template takes no system message, so that it is left out, as lm-eval does: "
            + "; ".join(sorted(message[:_SHOWN] for message in templates.dropped))
        )
    for facts in plan.facts.values():
        if facts.served:
            yield _served(facts)
        if facts.ignored:
            yield (
                f"The {facts.title} computes {named(facts.ignored)} itself: what its files hold of that, transformers passes over by its own list."
            )
        if reason := _unverified(facts, plan.conditions[facts.side].backend):
            yield f"The bytes of the {facts.title} are not compared with its files once it is loaded: {reason}."
        if facts.base is not None and facts.base_sparsity is not None:
            share = facts.base_sparsity.share
            said = f"{float(share):.1%}" if share is not None else f"not counted: {facts.base_sparsity.problem}"
            yield f"The {facts.title} is an adapter on {facts.base}; sparsity of that base: {said}."


def _unbreakable(tasks: Sequence[GateTask]) -> Iterator[str]:
    """Thresholds that no loss breaks."""
    for task in tasks:
        for check in task.checks if task.selected else ():
            for threshold in check.thresholds:
                if threshold.rule.holds_always(threshold.value, within_one=task.stops_early(check)):
                    yield f"{check.label}: nothing can break this threshold ({threshold.describe()})."


def _unverified(facts: ModelFacts, backend: str) -> str | None:
    """Why a loaded model cannot be held against its files."""
    if facts.served or facts.file:
        return None
    if backend != "hf":
        return f"the backend {backend} loads them by itself"
    return "transformers unpacks a GGUF file" if facts.gguf else None


def _served(facts: ModelFacts) -> str:
    """How far the answers of a served model can be trusted to be its own."""
    assert facts.served is not None
    lent = f" Its prompts are encoded with the {facts.served.lender} model's tokenizer." if facts.served.lender else ""
    return (
        f"The {facts.title} is served: what tells its answers from another model's is the name {facts.name} and what the server reports (id "
        f"{facts.served.model}), and neither says which weights answer. Take another name whenever they change.{lent}"
    )


def _hopeless(expected: Outlook) -> str:
    """A threshold that its documents cannot resolve."""
    check = expected.check
    lead = (
        f"{check.label}: {expected.documents} documents resolve relative drops of {expected.resolves:.1%}, and its threshold is "
        f"{expected.most:.1%}"
    )
    if expected.needed is None:
        return f"{lead}: the measured figure decides, and may do so by sampling noise alone."
    if check.decision.decide is Decide.CONFIDENT:
        return f"{lead}: an inconclusive verdict is likely."
    return f"{lead}: an inconclusive verdict is likely. Raise its limit, or write `inconclusive: continue`."


def _is_plain(task: GateTask) -> bool:
    """Whether a task asks a model in plain text without saying that it means to."""
    return task.kind.is_of_lm_eval and any(part.settings.apply_chat_template is None for part in task.parts)
