"""Runs that are asked to stop: they end the batch in hand, say that they are incomplete, and can be resumed."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from faults.injections import lacks
from faults.processes import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.injections import Fault
    from faults.processes import Ended

_STOPPED = 2  # pytest's exit code of an interrupted run
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def stop_signals(fault: Fault) -> None:
    """SIGTERM, SIGUSR1 or Ctrl-C at a random time after the first response."""
    fault.workshop.undisturbed(1)
    for number in fault.points(21):
        batch_size = 4 if number % 5 == 0 else 1
        fault.workshop.undisturbed(batch_size)
        fault.project.forget()
        asked = _SIGNALS[number % 3]
        seconds = fault.random.uniform(0, fault.workshop.seconds[batch_size] + 0.03 * fault.workshop.calls[batch_size])
        ended = fault.run(batch_size=batch_size, timer=Timer(seconds=seconds, signal=asked), on_call=_slowly(0.03))
        _judge(fault, ended, asked.name, batch_size=batch_size)


def time_budget(fault: Fault) -> None:
    """A budget of some seconds, with a model so slow that it ends anywhere in the run."""
    fault.workshop.undisturbed(1)
    for _ in fault.points(10):
        fault.project.forget()
        slowness = fault.random.uniform(0.03, 0.3)
        ended = fault.run(f"--prunegate-time-budget={fault.random.randint(2, 5)}s", on_call=_slowly(slowness))
        if ended.code == 4 and "--prunegate-time-budget" in ended.output:
            fault.skipped = "there is no --prunegate-time-budget"
            return
        _judge(fault, ended, "time budget", batch_size=1)


def _slowly(seconds: float) -> Callable[[int], None]:
    return lambda _number: time.sleep(seconds)


def _judge(fault: Fault, ended: Ended, what: str, *, batch_size: int) -> None:
    if ended.code == 0:
        fault.judge(f"{what}: it came too late", [], ended)
        return
    problems = [f"{what}: exit code {ended.code}, signal {ended.signal}"] if ended.code != _STOPPED else []
    report = fault.project.results / "comparison_report.md"
    events = fault.project.events()
    if any(event["event"] == "answered" for event in events):
        is_marked = report.exists() and "INCOMPLETE" in report.read_text()
        problems += [] if is_marked else [f"{what}: no report that says INCOMPLETE"]
        problems += lacks(ended, "to go on from there", "goes on from there")
    before = {row for event in events for row in event.get("rows", ())}
    problems += fault.resumed(batch_size=batch_size)
    again = before & {row for event in fault.project.events() for row in event.get("rows", ())}
    problems += [f"{what}: {len(again)} rows were computed again"] if again else []
    fault.judge(f"{what}: exit code {ended.code}, INCOMPLETE, and a resume to the same", problems, ended)
