"""What earlier runs left in the output folder: figures that still hold, and figures about something else.

A figure of an earlier run stands in this run's report where the models, the settings and the data that it depends on are
those of this run; its verdict is judged anew, by today's thresholds. Everything else is stale: it is listed, and its files
are moved away. Nothing is ever joined because it has the same name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_prunegate.gate.identity import WORDS, Identities, data_fingerprint
from pytest_prunegate.input.thresholds import Decide
from pytest_prunegate.report.summary.records import PartSummary
from pytest_prunegate.verdict.compare import Comparison, Outcome, broken_thresholds
from pytest_prunegate.verdict.loss_interval import LossInterval
from pytest_prunegate.verdict.measurement import MemberResult
from pytest_prunegate.verdict.noise import Noise
from pytest_prunegate.verdict.result import CheckResult
from pytest_prunegate.verdict.verdicts import Basis, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.report.summary.file_names import FileNames
    from pytest_prunegate.tasks.checks import Check

_UNREADABLE = (OSError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_VERDICTS = ("pass", "fail", "inconclusive", "recorded")


@dataclass(frozen=True, kw_only=True)
class KeptResult:
    """A check's figures from an earlier run, judged anew, and when that run began.

    `changes` is the file with the answers that changed in that run, where that run says that there is one.
    """

    result: CheckResult
    measured: str
    decision: Mapping[str, Any]
    parts: tuple[PartSummary, ...] = ()
    changes: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A check's figures from an earlier run that are about something else, and about what."""

    task: str
    name: str
    measured: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What is kept of earlier runs, what is stale, and the files that hold it all."""

    results: Mapping[Check, KeptResult] = field(default_factory=dict)
    tasks: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    stale: tuple[Stale, ...] = ()
    files: tuple[str, ...] = ()
    started: str = ""


def read_earlier(gate: Gate, identities: Identities, folder: Path, names: FileNames, *, version: int) -> Earlier:
    """Sort what the output folder holds.

    Args:
        gate: this run, after its last check.
        identities: what its figures depend on.
        folder: the output folder; it may not exist.
        names: of this run's files; those of other candidates are none of its business.
        version: of the results that can be read.
    """
    path = folder / names.results
    archived = (folder / "archive").glob(f"*/{names.results}")
    if not path.is_file():
        return _with_archived(gate, identities, Earlier(), archived, version)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != version:
            raise ValueError(f"version {found['version']}")
        sorted_out = replace(_sort(gate, identities, found, folder), files=_files_of(found, names))
    except _UNREADABLE as error:
        reason = f"the earlier {names.results} cannot be read: {type(error).__name__}: {error}"
        models = sorted(path.name for path in folder.glob(names.model_files))
        stale = Stale(task="all", name="all", measured="", reason=reason)
        sorted_out = Earlier(stale=(stale,), files=(*models, *names.comparisons, names.changed))
    return _with_archived(gate, identities, sorted_out, archived, version)


def _sort(gate: Gate, identities: Identities, found: dict[str, Any], folder: Path) -> Earlier:
    by_name = {(check.task, check.name): check for check in gate.checks}
    tasks = {task["name"]: task for task in found["tasks"]}
    results: dict[Check, KeptResult] = {}
    stale: list[Stale] = []
    changes = _changed_file(found)
    for kept in found["checks"]:
        if kept["outcome"] not in _VERDICTS:
            continue
        check = by_name.get((kept["task"], kept["name"]))
        reason = _reason(gate, identities, check, kept, tasks.get(kept["task"]))
        if reason is not None or check is None:
            stale.append(Stale(task=kept["task"], name=kept["name"], measured=kept["measured"], reason=reason or ""))
        elif check in gate.results and gate.results[check].outcome is Outcome.ERROR:
            stale.append(Stale(task=kept["task"], name=kept["name"], measured=kept["measured"], reason="this run's ended in an error"))  # fmt: skip
        elif check not in gate.results:
            results[check] = KeptResult(
                result=_judged_anew(check, kept), measured=kept["measured"], decision=kept["decision"],
                parts=tuple(PartSummary(**part) for part in kept["parts"]), changes=folder / changes if changes else None,
            )  # fmt: skip
    still = {check.task for check in results}
    return Earlier(
        results=results, tasks={name: task for name, task in tasks.items() if name in still}, stale=tuple(stale),
        started=str(found["started"]),
    )  # fmt: skip


def _with_archived(
    gate: Gate, identities: Identities, earlier: Earlier, archived: Iterable[Path], version: int
) -> Earlier:
    """What was archived may hold again: after another setting was tried, or a run that broke. The newest comes first."""
    results, tasks = dict(earlier.results), dict(earlier.tasks)
    for path in sorted(archived, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            older = _sort(gate, identities, found, path.parent) if found["version"] == version else Earlier()
        except _UNREADABLE:  # it was told when it was moved
            continue
        results = {**older.results, **results}
        tasks = {**older.tasks, **tasks}
    return replace(earlier, results=results, tasks=tasks)


def _reason(
    gate: Gate, identities: Identities, check: Check | None, kept: dict[str, Any], task: dict[str, Any] | None
) -> str | None:
    """Why an earlier figure is not about what this run is about; None where it is."""
    if check is None:
        return "no longer in the thresholds file"
    identity = identities.of(check)
    differing = [word for name, word in WORDS.items() if identity.get(name) != kept["identity"].get(name)]
    parts = gate.prepared.get(check.task)
    if not differing and parts and task and data_fingerprint(parts) != task["data_fingerprint"]:
        differing.append(WORDS["data"])
    if differing:
        return ", ".join(differing)
    if reason := _undecided_now(gate, check, kept):
        return reason
    original = kept["exact"]["original"]
    if not (original and Fraction(original)) and any(threshold.rule.needs_original for threshold in check.thresholds):
        return "the original scores 0, and today's threshold is relative"
    return None


def _undecided_now(gate: Gate, check: Check, kept: dict[str, Any]) -> str | None:
    """Why a verdict on a part of the documents, or on others, does not hold today: only measured figures can be judged anew."""
    decision = kept["decision"]
    if decision["basis"] == Basis.MEASURED:
        return "decided otherwise" if check.decision.decide is Decide.CONFIDENT else None
    asked = {name: str(value) for name, value in asdict(check.decision).items()}
    thresholds = [threshold.describe() for threshold in check.thresholds]
    shared = decision["checks"] >= gate.thresholds and decision.get("candidates", 1) >= len(gate.options.candidates)
    is_same = decision["asked"] == asked and kept["thresholds"] == thresholds and shared
    return None if is_same else "decided otherwise, or by other thresholds"


def _verdict(kept: dict[str, Any], comparison: Comparison) -> Verdict:
    """An earlier verdict; by the measured figures, it is today's."""
    decision = kept["decision"]
    basis, needed = Basis(decision["basis"]), decision["needed"]
    strictest = tuple(decision["strictest"].get(threshold.rule.key) for threshold in comparison.check.thresholds)
    return Verdict(
        outcome=comparison.outcome if basis is Basis.MEASURED else Outcome(decision["outcome"]), basis=basis,
        used=decision["documents"], total=decision["of"], error_rate=decision["error_rate"], indifference=decision["indifference"],
        needed=(needed[0], needed[1]) if needed else None, interval=_interval(kept["interval"]), strictest=strictest,
        note=decision["note"],
    )  # fmt: skip


def _judged_anew(check: Check, kept: dict[str, Any]) -> CheckResult:
    """An earlier run's figures under today's thresholds."""
    original, pruned, drop = (
        None if kept["exact"][name] is None else Fraction(kept["exact"][name]) for name in ("original", "pruned", "drop")
    )  # fmt: skip
    if pruned is None:
        raise ValueError(f"{check.label} has no figure of the pruned model")
    relative = drop / abs(original) if drop is not None and original else None
    comparison = Comparison(
        check=check, original=original, pruned=pruned, difference=None if original is None else pruned - original, drop=drop,
        relative_drop=relative, recovery=pruned / original if original and drop is not None else None,
        documents=int(kept["documents"]), lost=kept["lost"], gained=kept["gained"],
        broken=broken_thresholds(check, pruned, drop, relative), silent=kept["silent"],
    )  # fmt: skip
    members = tuple(
        MemberResult(
            name=member["name"], documents=member["documents"], original=Fraction(member["exact"][0]), pruned=Fraction(member["exact"][1]),
            lost=member["lost"], gained=member["gained"],
        ) for member in kept["members"]
    )  # fmt: skip
    verdict = _verdict(kept, comparison)
    return CheckResult(
        check=check, outcome=verdict.outcome, comparison=comparison, documents=comparison.documents,
        total=kept["total_documents"], unit=kept["unit"], members=members, verdict=verdict,
        noise=Noise(**kept["noise"]) if kept["noise"] else None,
    )  # fmt: skip


def _interval(kept: dict[str, Any] | None) -> LossInterval | None:
    if kept is None:
        return None
    relative, absolute, pruned = ((kept[name][0], kept[name][1]) for name in ("relative", "absolute", "pruned"))
    return LossInterval(
        relative=relative, absolute=absolute, pruned=pruned, of_full_run=bool(kept["of_full_run"]),
        is_anytime=bool(kept["is_anytime"]), unit=kept["unit"],
    )  # fmt: skip


def _files_of(found: dict[str, Any], names: FileNames) -> tuple[str, ...]:
    """The files that the earlier run wrote."""
    return names.of((side, model["name"]) for side, model in found["models"].items())


def _changed_file(found: dict[str, Any]) -> str | None:
    """The file beside the results that has the answers that changed; None where none did."""
    name = found["changed"]["file"]
    if name is not None and (not isinstance(name, str) or Path(name).name != name or Path(name).suffix != ".jsonl"):
        raise ValueError(f"{name} is no name of a file")
    return name
