"""Whether a task's metrics can be computed on this machine, told before a model is asked.

lm-eval fetches some metrics from a hub, and imports packages for others, once the last answer is there. They are
therefore computed on made-up answers first. Only what the machine lacks counts: a made-up answer that a metric cannot
score says nothing of real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError
from pytest_prunegate.store import Response
from pytest_prunegate.tasks.guarded import quiet, reason_of
from pytest_prunegate.tasks.scoring import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Request

_DOCUMENTS = 2  # one answered rightly, where the task says how, and one with any text
_ANY_TEXT = "The answer is 1."
_CLIENTS = ("httpx", "httpx2", "requests", "urllib3", "huggingface_hub")


def refuse_uncomputable(task: GateTask, prepared: Sequence[PreparedTask]) -> tuple[str, ...]:
    """See that a task has a check that can be computed: nobody is to wait for answers that nothing is made of.

    Args:
        task: of lm-eval, a group of them, or perplexity.
        prepared: its parts.

    Returns:
        What is wrong with those that cannot, where others can.

    Raises:
        TaskError: none can.
    """
    found: dict[str, str] = {}
    for part, built in zip(task.parts, prepared, strict=True):
        found |= {check.name: problem for check, problem in _uncomputable(built, part.checks).items()}
    lines = tuple(
        f"{check.location}: {check.label}: this metric cannot be computed here: {found[check.name]}. Install or download what it needs, or take "
        "it out of the thresholds file."
        for check in task.checks if check.name in found
    )  # fmt: skip
    if lines and len(lines) == len(task.checks):
        raise TaskError("\n".join(lines))
    return lines


def _uncomputable(prepared: PreparedTask, checks: Iterable[Check]) -> dict[Check, str]:
    """The checks of a task, or of a group's member, whose metric this machine cannot compute, and why."""
    if prepared.own or not prepared.documents:
        return {}
    wanted = [check for check in checks if not check.is_of_outputs]
    if missing := _not_loaded(prepared.task):
        # lm-eval computes all metrics of a task at once, so that one of them takes the others with it.
        reason = (
            f"lm-eval could not load the metric {', '.join(missing)}, which it fetches from a hub (package evaluate)"
        )
        return dict.fromkeys(wanted, reason)
    part = prepared.only({document.doc_id for document in prepared.documents[:_DOCUMENTS]})
    scorer = Scorer(part, list(_made_up(part)), model="made-up answers")
    problems = ((check, _problem(scorer, check)) for check in wanted)
    return {check: problem for check, problem in problems if problem}


def _not_loaded(task: Any) -> list[str]:
    """Metrics that lm-eval would call, and has nothing to call for: it logs that it could not load them, and goes on."""
    if getattr(task, "OUTPUT_TYPE", None) != "generate_until" or getattr(task.config, "process_results", None):
        return []
    return [str(name) for name, function in getattr(task, "_metric_fn_list", {}).items() if function is None]


def _problem(scorer: Scorer, check: Check) -> str | None:
    try:
        with quiet():
            scorer.score((check.metric, check.filter))
    except Exception as error:  # noqa: BLE001 - tasks are foreign code
        found = next((cause for cause in _causes(error) if _is_the_machine(cause)), None)
        return reason_of(found) if found else None
    return None


def _causes(error: BaseException | None) -> Iterator[Exception]:
    """An error and those that led to it."""
    while isinstance(error, Exception):
        yield error
        for inner in error.exceptions if isinstance(error, ExceptionGroup) else ():
            yield from _causes(inner)
        error = error.__cause__ or error.__context__


def _is_the_machine(error: Exception) -> bool:
    """Whether an error says that something is not installed, not downloaded or not reachable."""
    if isinstance(error, ImportError | OSError) or type(error) is LookupError:  # the last is nltk's for missing data
        return True
    return type(error).__module__.partition(".")[0] in _CLIENTS


def _made_up(part: PreparedTask) -> Iterator[Response]:
    right = part.documents[0]
    first = {position for positions in right.requests for position in positions}
    answer = _right_answer(part.task, right.content)
    for position, request in enumerate(part.requests):
        yield _response(request, answer if position in first else _ANY_TEXT)


def _response(request: Request, text: str) -> Response:
    if request.kind == "generate_until":
        return Response(text=text)
    return Response(loglikelihood=-1.0, greedy=None if request.kind == "loglikelihood_rolling" else False)


def _right_answer(task: Any, document: Any) -> str:
    try:
        return str(task.doc_to_target(document))
    except Exception:  # noqa: BLE001 - not every task has one, and any text will do
        return _ANY_TEXT
