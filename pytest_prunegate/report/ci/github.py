"""What GitHub's runner reads of a run: checks as annotations on their line of thresholds.yaml, and the Markdown report in the job's summary."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_prunegate.plain import one_line, plain
from pytest_prunegate.report.page.renderer import render
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_prunegate.report.summary.check_records import CheckSummary
    from pytest_prunegate.report.summary.records import Summary


VARIABLE = "GITHUB_STEP_SUMMARY"
LIMIT = 1 << 20  # bytes a step: above it GitHub shows nothing of the step's summary
_CUT = "\n\n**The report is cut here:** GitHub shows 1 MiB of a step. All of it is in comparison_report.md.\n"
_FENCE = "```"


def append_step_summary(
    summaries: Sequence[Summary], *, lead: str = "", environ: Mapping[str, str] = os.environ
) -> str | None:
    """Append reports to the job's summary, behind what earlier runs of the step put there.

    Args:
        summaries: one for each comparison.
        lead: Markdown that stands before them.
        environ: names the file; nothing is done where it names none.

    Returns:
        What went wrong, in a sentence: never a reason to fail.
    """
    name = environ.get(VARIABLE)
    if not name:
        return None
    text = "\n".join([*([lead] if lead else []), *(render(summary, "report.md.j2") for summary in summaries)])
    try:
        return _append(Path(name), text)
    except (OSError, ValueError) as error:  # a name may hold what no path can
        return f"The job's summary was not written ({VARIABLE}={name}): {error}"


def _append(path: Path, text: str) -> str | None:
    with path.open("ab") as file:
        there = file.tell()
        shown = _within(("\n" if there else "") + text, LIMIT - there)
        file.write(shown.encode())
    return None if shown else f"The job's summary is full ({VARIABLE}={path}), and the report is not in it."


def _within(text: str, room: int) -> str:
    """As many whole lines as there is room for, with a sentence where some are left out; nothing where not one fits."""
    if len(text.encode()) <= room:
        return text
    size, kept = len(_CUT.encode()) + len(_FENCE), []
    for line in text.splitlines(keepends=True):
        size += len(line.encode())
        if size > room:
            break
        kept.append(line)
    shown = "".join(kept)
    if not shown.strip():
        return ""
    is_open = sum(line.startswith(_FENCE) for line in kept) % 2
    return shown + (_FENCE if is_open else "") + _CUT


_MOST = 10  # of each kind that GitHub shows for a step; the rest would vanish without a word
_LONGEST = 4000  # characters of a message that GitHub's runner passes on: 4,096 with what escaping adds
_LONGEST_PROPERTY = 1000  # longer than paths get
_ORDER = (Outcome.FAIL, Outcome.ERROR, Outcome.INCONCLUSIVE)


def check_annotations(
    summaries: Sequence[Summary], *, thresholds: Path | None, rootdir: Path, environ: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """The workflow commands that annotate what did not pass; none outside of GitHub's runner.

    A failure and an error are errors, failures first. An inconclusive check is a warning, so that it takes no failure's
    place. What an earlier run found is a notice: the exit code does not speak of it.

    Args:
        summaries: one for each comparison.
        thresholds: the thresholds file; None where it is the package's own, and nobody's to annotate.
        rootdir: pytest's, from which the file is named where the runner says nothing of the workspace.
        environ: says whether this is GitHub's runner, and where the workspace is.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return ()
    file = _named(thresholds, environ.get("GITHUB_WORKSPACE"), rootdir) if thresholds else None
    found: dict[str, list[tuple[CheckSummary, str]]] = {"error": [], "warning": [], "notice": []}
    for outcome in _ORDER:
        for summary in summaries:
            for check in summary.checks:
                if check.outcome == outcome:
                    found[_kind(check)].append((check, _candidate(summary) if len(summaries) > 1 else ""))
    return tuple(line for kind, checks in found.items() for line in _lines(kind, checks, file))


def _kind(check: CheckSummary) -> str:
    if check.is_earlier:
        return "notice"
    return "warning" if check.outcome == Outcome.INCONCLUSIVE else "error"


def _lines(kind: str, checks: list[tuple[CheckSummary, str]], file: str | None) -> Iterator[str]:
    """One command for each check; where there are more than GitHub shows, the last one names the rest."""
    shown = checks if len(checks) <= _MOST else checks[: _MOST - 1]
    for check, candidate in shown:
        place = {"file": file, "line": str(check.line)} if file and check.line else {}
        since = f" in the run of {check.measured}" if check.is_earlier else ""
        title = f"{_name(check, candidate)} {check.outcome.upper()}{since}"
        yield _command(kind, {**place, "title": title}, check.reason)
    if rest := checks[len(shown) :]:
        names = ", ".join(f"{_name(check, candidate)} {check.outcome.upper()}" for check, candidate in rest)
        yield _command(kind, {"title": f"{len(rest)} more checks"}, f"{names}. The job's summary has all of them.")


def _name(check: CheckSummary, candidate: str) -> str:
    return f"{check.task}::{check.name}{f'[{candidate}]' if candidate else ''}"


def _candidate(summary: Summary) -> str:
    pruned = summary.models["pruned"]
    return pruned.name or pruned.path


def _named(thresholds: Path, workspace: str | None, rootdir: Path) -> str:
    """The file's path as GitHub knows it: from the workspace, else from pytest's rootdir."""
    for folder in [Path(workspace)] if workspace else []:
        for path, base in ((thresholds, folder), (thresholds.resolve(), folder.resolve())):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
    return thresholds.relative_to(rootdir).as_posix() if thresholds.is_relative_to(rootdir) else thresholds.as_posix()


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    """A workflow command. What is escaped cannot end it, nor begin another one."""
    said = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{kind} {said}::{_data(plain(message), _LONGEST)}"


def _data(text: str, longest: int) -> str:
    short = text if len(text) <= longest else f"{text[:longest]} ..."
    return short.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(one_line(text), _LONGEST_PROPERTY).replace(":", "%3A").replace(",", "%2C")
