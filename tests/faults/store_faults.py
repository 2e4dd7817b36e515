"""Faults of what holds the responses: the disk, its bytes, the clock beside it, and another process."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from faults.injections import lacks, tracebacks
from faults.points import Point, Where
from faults.processes import start, wait
from faults.project import differences, outcome_of, response_differences
from faults.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from faults.injections import Fault
    from faults.processes import Ended

_DISK = 1 << 20  # bytes of the small disk
_MOST_ROOM = 360 << 10  # of it, that a run finds; the rest is taken by another file
_HOURS = 3600.0


def disk_full(fault: Fault) -> None:
    """The disk of the store is full at some time: an error that says so, and once there is room a resume to the same."""
    store = fault.project.folder / "store"
    fault.workshop.undisturbed(1)
    for number in fault.points(10):
        fault.project.forget()
        with _small_disk(fault, store) as mounted:
            if not mounted:
                return
            filler = store / "filler"
            filler.write_bytes(b"\0" * (_DISK - fault.random.randrange(_MOST_ROOM * number // 10)))
            ended = fault.run()
            before = fault.project.responses()
            filler.unlink()
            problems = (
                []
                if ended.code == 0
                else lacks(ended, "disk is full", "disk of the store is full", "no space left", "make room")
            )
            problems += fault.resumed()
            after = fault.project.responses()
            lost = [key for key, response in before.items() if after.get(key) != response]
            problems += [f"{len(lost)} responses were lost"] if lost else []
            fault.judge(
                "there was room" if ended.code == 0 else "an error that says so, then a resume to the same",
                problems,
                ended,
            )
            fault.project.forget()


def output_disk_full(fault: Fault) -> None:
    """The disk of the reports is full: no green run, no half report, and once there is room the same files."""
    fault.workshop.undisturbed(1)
    for room in (0, 4 << 10, 40 << 10):
        fault.project.forget()
        with _small_disk(fault, fault.project.results) as mounted:
            if not mounted:
                return
            (fault.project.results / "filler").write_bytes(b"\0" * (_DISK - room))
            ended = fault.run()
            problems = (
                ["exit code 0"]
                if ended.code == 0
                else lacks(ended, "disk is full", "disk of the store is full", "no space left", "make room")
            )
            complete = fault.workshop.undisturbed(1).files
            halves = [name for name, content in fault.project.files().items() if content != complete[name]]
            problems += [f"{name} is not whole" for name in halves]
            (fault.project.results / "filler").unlink()
            fault.judge("an error that says so, then a resume to the same", problems + fault.resumed(), ended)
            fault.project.forget()


@contextlib.contextmanager
def _small_disk(fault: Fault, folder: Path) -> Iterator[bool]:
    """A file system of its own in a folder's place."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = found.stderr.strip() if found.returncode else None
    except OSError as error:
        problem = str(error)
    if problem:
        fault.skipped = f"no small disk can be mounted here: {problem}"
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def store_corrupted(fault: Fault) -> None:
    """One byte of the file is another: the same scores and verdicts from true answers, whatever has to be asked again."""
    fault.workshop.undisturbed(1)
    fault.project.forget()
    fault.run()
    whole = fault.project.store.read_bytes()
    for _ in fault.points(50):
        fault.project.forget()
        place = fault.random.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= fault.random.randrange(1, 256)
        fault.project.store.write_bytes(damaged)
        ended = fault.run()
        fault.judge(_what_was_done(fault), _figures(fault, ended, f"byte {place} of {len(whole)}"), ended)


def _what_was_done(fault: Fault) -> str:
    known = {"", "-wal", "-shm", "-journal", ".lock"}
    files = {path.name.removeprefix(fault.project.store.name) for path in fault.project.store.parent.glob("responses*")}
    asked = sum(len(event["rows"]) for event in fault.project.events() if event["event"] == "called")
    aside = "the file was set aside" if files - known else "the file was kept"
    return f"{aside}, {'some rows' if asked else 'nothing'} asked again"


def _figures(fault: Fault, ended: Ended, where: str) -> list[str]:
    """In what scores, verdicts and answers differ; a report may say what happened to the store.

    A row whose key was hit is an answer to nothing that anybody asks, and may stay.
    """
    expected = fault.workshop.undisturbed(1)
    try:
        found = outcome_of(fault.project, ended.code)
    except Exception as error:  # noqa: BLE001 - a damaged file may be read as anything
        return [f"{where}: the store is unreadable after the run: {error}"]
    asked = {key: response for key, response in found.responses.items() if key in expected.responses}
    found = replace(found, responses=asked)
    problems = differences(found, expected, batch_size=4) + response_differences(
        found.responses, expected.responses, exact=True
    )
    return [f"{where}: {problem}" for problem in dict.fromkeys(problems)]


def power_lost(fault: Fault) -> None:
    """A write-ahead log that ends anywhere, as after a power cut: what is whole is used, and the end is the same."""
    total = len(fault.workshop.undisturbed(1).responses)
    for _ in fault.points(12):
        fault.project.forget()
        ended = fault.run(point=Point(where=Where.ANSWER, number=fault.random.randint(2, total - 2)))
        log = fault.project.store.with_name(f"{fault.project.store.name}-wal")
        if not log.exists():
            fault.skipped = "the store has no write-ahead log here"
            return
        content = log.read_bytes()
        log.write_bytes(content[: fault.random.randrange(len(content))])
        fault.judge("the same end", fault.resumed(), ended)


def clock_set_back(fault: Fault) -> None:
    """By hours, in the middle of a run, or between a kill and its resume: the same files."""
    expected = fault.workshop.undisturbed(1)
    calls, total = fault.workshop.calls[1], len(expected.responses)
    for number in fault.points(12):
        fault.project.forget()
        hours = fault.random.uniform(1, 48)
        if number % 2:
            ended = fault.run(on_call=_clock(at=fault.random.randint(1, calls), back=hours * _HOURS))
            what = "set back in a run"
        else:
            fault.run(point=Point(where=Where.ANSWER, number=fault.random.randint(2, total - 2)))
            watch = Watch(fault.project.journal)
            fault.runs += 1
            prepare = _with_clock(watch, back=hours * _HOURS)
            ended = wait(fault.project, start(fault.project, fault.project.arguments(), prepare))
            what = "set back before the resume"
        fault.judge(f"{what}, the same files", differences(fault.outcome_of(ended), expected, batch_size=1), ended)


def _clock(*, at: int, back: float) -> Callable[[int], None]:
    def on_call(number: int) -> None:
        if number == at:
            _set_back(back)

    return on_call


def _with_clock(watch: Watch, *, back: float) -> Callable[[], None]:
    def prepare() -> None:
        watch.install()
        _set_back(back)

    return prepare


def _set_back(seconds: float) -> None:
    """This process sees an earlier time from now on; the monotonic clock goes on, as an operating system's does."""
    now = time.time
    time.time = lambda: now() - seconds

    class Earlier(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.now(tz) - dt.timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        if name.startswith("pytest_prunegate") and getattr(module, "datetime", None) is dt.datetime:
            module.datetime = Earlier  # type: ignore[attr-defined]


def two_processes(fault: Fault) -> None:
    """At once on one store, one of them killed at times: both judge alike, and a third run finds every answer there."""
    expected = fault.workshop.undisturbed(1)
    for number in fault.points(8):
        fault.project.forget()
        children = []
        for side in ("one", "two"):
            fault.runs += 1
            is_killed = number % 2 == 0 and side == "two"
            point = Point(where=Where.BEFORE_COMMIT, number=fault.random.randint(2, 20)) if is_killed else None
            watch = Watch(fault.project.journal, point=point)
            more = fault.project.arguments(f"--prunegate-output=results-{side}")
            children.append((side, start(fault.project, more, watch.install, output=f"run-{side}.txt")))
            time.sleep(fault.random.uniform(0, 0.5))
        problems: list[str] = []
        for side, child in children:
            ended = wait(fault.project, child, output=f"run-{side}.txt")
            if ended.signal is None:
                path = fault.project.folder / f"results-{side}" / "comparison_results.json"
                outcomes = (
                    [check["outcome"] for check in json.loads(path.read_text())["checks"]] if path.exists() else []
                )
                right = (ended.code, outcomes) == (0, [outcome for _, outcome in expected.verdicts])
                problems += tracebacks(ended) + (
                    [] if right else [f"exit code {ended.code}, {outcomes}: {ended.output[-300:]}"]
                )
        problems += fault.resumed()
        asked = sum(event["event"] == "called" for event in fault.project.events())
        problems += [f"the third run asked {asked} times"] if asked and number % 2 else []
        fault.judge("both alike, and a third run", problems, replace(ended, output=ended.output[-200:]))
