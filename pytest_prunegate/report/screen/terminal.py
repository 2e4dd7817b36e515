"""Lines for the terminal. Yields text; the plugin prints it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_prunegate.plain import one_line, plain, size_text
from pytest_prunegate.report.screen.marked_lines import WIDTH, wrapped
from pytest_prunegate.report.summary.wording import count_text, duration_text, percent_text
from pytest_prunegate.tasks.requests import FAST
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.checkpoint.sparsity import Sparsity
    from pytest_prunegate.gate.plan import Plan, RunPlan, TaskPlan
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.input.thresholds import ThresholdsFile
    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.model_records import ModelSummary
    from pytest_prunegate.report.summary.records import Summary
    from pytest_prunegate.verdict.outlook import Outlook

_LABELLED = re.compile(r"(\S+: +| +)(?=\S)")
_DIFFERENCES = 5  # between the models that the screen names
_EXPECTED = {"time", "note", "estimate"}
_ALWAYS = {"problem", "preflight"}
_IN_FULL = "check"  # what each check's documents resolve: ten checks are thirty lines


def said_lines(line: str, *, width: int, verbosity: int) -> Iterator[str]:
    """A line that is said before the first item, as the terminal shows it: wrapped behind its label.

    At -q nothing is said of models and settings, at -qq of nothing but problems; at -v, of what each check's documents resolve.
    """
    labelled = _LABELLED.match(line)
    start = labelled[0] if labelled else ""
    label = start.partition(":")[0].strip()
    if label == _IN_FULL and verbosity < 1:
        return
    if verbosity < 0 and (label or not line) and label not in _ALWAYS | (_EXPECTED if verbosity == -1 else set()):
        return
    for part in wrapped(plain(line[len(start) :]), max(width, WIDTH) - len(start)):
        yield start + part
        start = " " * len(start)


def plan_lines(run: RunPlan, file: ThresholdsFile, options: Options) -> Iterator[str]:
    """What the run will do, before it does it; the last line says how long, if that is known."""
    yield from _models(run)
    source = "built-in thresholds" if file.built_in else file.display
    several = f", required: {options.require} of {len(options.candidates)} candidates" if options.candidate else ""
    yield f"settings: {source}, seed {options.seed}, batch size {options.batch_size}, device {run.device}{several}"
    plans = run.by_candidate.items()
    for line in run.told({name: [_task_line(task, plan) for task in plan.tasks] for name, plan in plans}):
        yield f"task:     {line}"
    for line in run.told({name: [_outlook_line(expected) for expected in plan.outlooks] for name, plan in plans}):
        yield f"check:    {line}"
    for note in run.notes:
        yield f"note:     {note}"
    yield f"time:     {time_text(run)}"


def _models(run: RunPlan) -> Iterator[str]:
    """The original, and each candidate."""
    for name, plan in run.by_candidate.items():
        for side, facts in plan.facts.items():
            if side != "original" or plan is run.plans[0]:
                yield f"{(name if name and side == 'pruned' else side) + ': ':<10}{_model_line(facts, plan, is_named=not name)}"
        if plan.is_same_model:
            yield "          Both are the same model: no comparison will find a loss, and none says anything about pruning."


def time_text(plan: RunPlan) -> str:
    """How long the run is expected to take."""
    if plan.tasks and all(task.problem for task in plan.tasks):
        return "nothing can be measured"
    if not plan.pending:
        return f"every answer is {_place(plan)}; no model is loaded"
    if plan.seconds is None:
        return "not known yet (nothing like it was timed before); the first requests of each task will tell"
    if not plan.seconds:
        return "not known before it is done (nothing like it was timed before)"
    return f"{_about(plan)}, by earlier runs on this device"


def probed_line(plan: RunPlan) -> str:
    """The time that the first requests told, or that they could not be answered."""
    if plan.seconds is None:
        return "time:     not known: the first requests could not be answered; see the errors below"
    return f"time:     {_about(plan)}, by the first requests of each task"


def _about(plan: RunPlan) -> str:
    at_most = "at most " if any(task.least < task.documents for task in plan.tasks) else ""
    return f"{at_most}about {duration_text(plan.seconds or 0)}"


def _model_line(facts: ModelFacts, plan: Plan, *, is_named: bool) -> str:
    conditions = plan.conditions[facts.side]
    name = f"{facts.name} = " if facts.name and (is_named or facts.side == "original") else ""
    base = f" on {facts.base}" if facts.base else ""
    dtype = f"{facts.quantised}, {conditions.dtype}" if facts.quantised else conditions.dtype
    backend = "" if conditions.backend == FAST else f", {conditions.backend}"
    if facts.served:
        return f"{name}{facts.path} (served as {facts.served.model}, sparsity not counted, fingerprint {facts.fingerprint[:12]})"
    parameters = f"{count_of_parameters(facts.parameters)} parameters, " if facts.parameters else ""
    sparsity = f"sparsity {sparsity_text(facts.sparsity)}"
    return f"{name}{facts.path}{base} ({parameters}{size_text(facts.size)}, {dtype}{backend}, {sparsity}, fingerprint {facts.fingerprint[:12]})"


def count_of_parameters(number: int) -> str:
    """A number of parameters in millions, or as it is where it is smaller."""
    return f"{number / 1e6:,.0f}M" if number >= 1e6 else f"{number:,}"  # noqa: PLR2004 - a million


def sparsity_text(sparsity: Sparsity) -> str:
    """The share of zeros, or that they were not counted."""
    return "not counted" if sparsity.share is None else percent_text(float(sparsity.share))


def _task_line(task: TaskPlan, plan: Plan) -> str:
    members = f" ({task.members} tasks)" if task.members else ""
    if task.problem:
        return f"{task.name}{members}: cannot run; the problem is below"
    if not task.requests:
        return f"{task.name}: told by the files"
    sides = list(task.missing)
    total = len(sides) * task.requests
    missing = sum(task.missing.values())
    kept = f"{total - missing} of them {_place(plan)}" if missing < total else f"none {_place(plan)}"
    seconds = f", about {duration_text(task.seconds)}" if task.seconds and missing else ""
    seconds = ", in a time that only doing it tells" if task.seconds == 0 and missing else seconds
    documents = count_text(task.documents, task.total_documents, task.unit)
    if task.least < task.documents:
        documents = f"{task.least} to {documents}, in rounds until they decide"
    shots = f", {task.num_fewshot} shots" if task.unit == "documents" else ""
    models = "" if len(sides) > 1 else f" to the {sides[0]}" + (" model" if sides == ["pruned"] else "")
    return f"{task.name}{members}: {documents}{shots}, {total} requests{models}, {kept}{seconds}"


def _place(plan: Plan | RunPlan) -> str:
    """Where answers are that no model is asked for."""
    return "kept" if any(facts.file for facts in plan.models) else "in the store"


def _outlook_line(expected: Outlook) -> str:
    """What the documents of a check resolve, how many a verdict needs, and what that stands on."""
    basis = [
        "the original at 0.5" if expected.original is None else f"the original's {expected.original:.3f} in the store",
        "one answer in ten changed"
        if expected.changed is None
        else f"{expected.changed:.1%} of the answers changed, as kept",
    ]
    needed = (
        "" if expected.needed is None else f"; a model without loss needs about {expected.needed} of {expected.total}"
    )
    tells = "all documents decide if need be"
    if expected.resolves:
        tells = f"{expected.documents} documents resolve a relative drop of {expected.resolves:.1%}"
    return f"{expected.check.task} {expected.check.name}: {tells} (threshold {expected.most:.1%}){needed} [{', '.join(basis)}]"


def closing_lines(summary: Summary, *, said: Sequence[str]) -> Iterator[str]:
    """What the table does not say: notes that were not said before the run, sparsity, broken outputs, what is stale."""
    yield from (note for note in summary.notes if note not in said)
    yield f"Sparsity: {', '.join(_model_sparsity(model) for model in summary.models.values())}."
    yield from _pruned_lines(summary)
    yield from _broken_outputs(summary)
    yield from (f"{check.location}: {check.reason}" for check in summary.checks if _needs_words(check))
    skipped = [f"{check.task}::{check.name}" for check in summary.checks if check.outcome == Outcome.NOT_RUN]
    if skipped:
        yield f"Not run: {', '.join(skipped)}."
    for stale in summary.stale:
        yield f"Stale: {stale.task}::{stale.name} of {stale.measured or 'an earlier run'}: {stale.reason}."
    if summary.archive:
        yield f"Moved the stale results to {summary.archive}."
    failed = [f"{check.task}::{check.name}" for check in summary.checks if check.is_earlier and check.outcome == Outcome.FAIL]  # fmt: skip
    if failed:
        yield f"Failed in an earlier run, and not in this run's exit code: {', '.join(failed)}."
    if summary.differences:
        yield f"Differs besides the weights: {differences_text(summary.differences)}."
    if any(check.relative is not None for check in summary.checks):
        rising = list(dict.fromkeys(check.metric for check in summary.checks if check.is_lower_better))
        yield (
            f"Relative: the change with its own sign; a rise of {one_line(', '.join(rising))} is a loss." if rising
            else "Relative: negative is a loss, whichever direction is better for the metric."
        )  # fmt: skip


def _pruned_lines(summary: Summary) -> Iterator[str]:
    """What pruning did to the model, and what it bought."""
    if summary.mask:
        yield f"Zeros regrown since {summary.mask.source}: {percent_text(summary.mask.share)}; {summary.mask.new:,} are new."
    if summary.agreement:
        yield f"Next tokens: {summary.agreement.text}."
    if summary.speed:
        yield f"Speed: {summary.speed.text}."
        yield from filter(None, [summary.speed.remark])
    if summary.reductions:
        yield f"Smaller than the original: {', '.join(summary.reductions)}."


def differences_text(found: Sequence[str], most: int = _DIFFERENCES) -> str:
    """The first few differences, and how many more there are."""
    more = f"; and {len(found) - most} more, in the report" if len(found) > most else ""
    return "; ".join(found[:most]) + more


def passing_lines(summary: Summary) -> Iterator[str]:
    """The sentence of each check that passed in this run, where `closing_lines` has not said it."""
    for check in summary.checks:
        if check.outcome in {Outcome.PASS, Outcome.RECORDED} and not check.is_earlier and not _needs_words(check):
            yield f"{check.location}: {check.reason}"


def _needs_words(check: CheckSummary) -> bool:
    """Whether a check's figures mislead without its sentence: nobody knows, or they are of a part of the documents."""
    if (
        check.outcome in {Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE} and not check.is_earlier
    ):  # its item said it
        return False
    return check.outcome == Outcome.INCONCLUSIVE or bool(check.decision and check.decision.is_estimate)


def _broken_outputs(summary: Summary) -> Iterator[str]:
    for task in summary.tasks:
        for side, outputs in task.outputs.items():
            if outputs and (outputs.empty or outputs.cut):
                shares = f"{percent_text(outputs.empty)} empty, {percent_text(outputs.cut)} cut at the token limit"
                yield f"Outputs of {task.name}, {side}: {shares}."


def _model_sparsity(model: ModelSummary) -> str:
    share = f"not counted ({model.sparsity_problem})" if model.sparsity is None else percent_text(model.sparsity)
    structure = f" ({model.structure})" if model.sparsity else ""
    return f"{model.side} {share}{structure}"
