"""Why a file cannot answer what a run asks, before any model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.baseline.container import canonical
from pytest_prunegate.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.baseline.records import Asking, Baseline
    from pytest_prunegate.checkpoint.facts import ModelFacts

_SHOWN = 5  # documents named
_WIDTH = 60  # characters of a value


def refuse_unanswerable(facts: ModelFacts, baseline: Baseline, asked: Asking) -> None:
    """See that a file has the answer to every request of a task.

    Args:
        facts: of the model that the file stands for.
        baseline: the file's.
        asked: what the run asks, by keys under the file's own conditions.

    Raises:
        TaskError: it has not; the message says what differs.
    """
    lacking = [number for number, keys in asked.documents.items() if any(key not in baseline.responses for key in keys)]
    if lacking:
        refuse(asked.task, facts, _differences(baseline, asked, lacking))


def refuse(task: str, facts: ModelFacts, differences: list[str]) -> None:
    """Say what a file has and what the run asks.

    Raises:
        TaskError: always.
    """
    shown = "\n".join(f"  {line}" for line in differences)
    raise TaskError(
        f"{task}: {facts.file}, which stands for the {facts.title}, does not answer what this run asks:\n{shown}\n"
        f"Ask as the file was asked, or make a new baseline by these settings: --{facts.side} with the model itself, or "
        f"--original=MODEL --prunegate-baseline-only."
    )


def _differences(baseline: Baseline, asked: Asking, lacking: list[int]) -> list[str]:
    of_task = [asking for asking in baseline.askings if asking.task == asked.task]
    if not of_task:
        return [f"the file has no answers to {asked.task}; it holds {baseline.holds}"]
    nearest = min(of_task, key=lambda asking: len(_other_settings(asking, asked)))
    if found := _other_settings(nearest, asked):
        return found
    absent = [number for number in lacking if number not in nearest.documents]
    if absent:
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        there, here = (
            f"{len(nearest.documents)} of {nearest.total} ({_samples(nearest)})",
            f"{len(asked.documents)} ({_samples(asked)})",
        )
        return [
            f"documents: {', '.join(map(str, absent[:_SHOWN]))}{more} not in the file; it has {there}, this run may ask {here}"
        ]
    return [_other_request(baseline, asked, lacking)]


def _other_settings(there: Asking, asked: Asking) -> list[str]:
    """What differs between two askings of a task, in the words of thresholds.yaml."""
    found = [
        f"{name}: {_value(there.settings, name)} in the file, {_value(asked.settings, name)} asked for"
        for name in sorted({*there.settings, *asked.settings})
        if there.settings.get(name) != asked.settings.get(name)
    ]
    if there.version != asked.version:
        found.append(f"version of the task: {there.version} in the file, {asked.version} here")
    if (there.data, there.total) != (asked.data, asked.total):
        found.append(
            f"data: {there.total} documents with fingerprint {there.data[:12]} in the file, {asked.total} with {asked.data[:12]} here"
        )
    if there.template != asked.template and there.template and asked.template:
        found.append("chat template: another one in the file")
    return found


def _other_request(baseline: Baseline, asked: Asking, lacking: list[int]) -> str:
    """The settings are the same, and so are the documents: a request of one of them is not."""
    first = lacking[0]
    others = f" (and of {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    if known := sum(key in baseline.responses for key in asked.documents[first]):
        return f"document {first}{others}: the file answers {known} of its {len(asked.documents[first])} requests; a metric of this run asks for more"
    from pytest_prunegate.tasks.index import lm_eval_version

    made, now = baseline.conditions.lm_eval, lm_eval_version()
    version = f"; the file was made with lm-eval {made}, this is {now}" if made != now else ""
    return f"the prompt of document {first}{others} differs: look at what fills it in (a date, the examples, the task's own code){version}"


def _value(settings: Mapping[str, Any], name: str) -> str:
    return canonical(settings[name])[:_WIDTH] if name in settings else "not set"


def _samples(asking: Asking) -> str:
    return "; ".join(
        f"limit {sample['limit']}, seed {sample['seed']}" if sample["limit"] else f"no limit, seed {sample['seed']}"
        for sample in asking.samples
    )
