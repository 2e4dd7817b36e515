"""What the checks of a planned run can be expected to tell, and which baselines say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_prunegate.verdict.outlook import Outlook, baseline_warning, outlook

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_prunegate.gate.measuring import Measuring
    from pytest_prunegate.gate.plan import Plan
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.verdict.ledger import Commitment


def outlooks(
    plan: Plan, tasks: Sequence[GateTask], measuring: Measuring, commitments: Mapping[str, Commitment]
) -> tuple[tuple[Outlook, ...], dict[Check, str]]:
    """What is expected of the checks that a model has to answer for, and what is wrong with their baselines; a comparison needs two models.

    Args:
        plan: of the run.
        tasks: of the run.
        measuring: knows the order of the documents, and what the store can answer.
        commitments: what was fixed for each task, by task.
    """
    found: list[Outlook | None] = []
    warned: dict[Check, str] = {}
    for planned in plan.tasks if len(plan.facts) > 1 else ():
        if planned.problem or not any(planned.missing.values()):
            continue
        task = next(task for task in tasks if task.name == planned.name)
        draws, (kept, sides) = measuring.draws[task.name], measuring.kept(task.name)
        warnings = {check: baseline_warning(task, check, kept) for check in task.checks if kept}
        warned |= {check: warning for check, warning in warnings.items() if warning}
        found += [
            outlook(task, check, draws, commitments[task.name].terms(task, check, draws), kept=kept, sides=sides)
            for check in task.checks
        ]
    return tuple(one for one in found if one is not None), warned
