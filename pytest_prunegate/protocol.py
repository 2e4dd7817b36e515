"""What is fixed for a pair of models on a task before its first document, and kept by every later run.

A second look at a sample, with more documents or another rule, is a second chance to err: the looks are counted, and the
permutation of the first one is kept whatever seed a later run asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.drawing import draw
from pytest_prunegate.thresholds import Decide, Inconclusive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_prunegate.checks import Check, GateTask
    from pytest_prunegate.drawing import Draws
    from pytest_prunegate.evaluation.answering import Answering
    from pytest_prunegate.evaluation.prepared import PreparedTask
    from pytest_prunegate.store import Store
    from pytest_prunegate.thresholds import Decision

_SEQUENTIAL = "early"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a check's verdict stands on.

    `looks` are the looks at a sample that came before this one; `checks` is how many verdicts of FAIL share the error rate.
    Where `is_sequential`, documents are looked at one by one until they decide: because it was asked for, or because an
    earlier look at this sample already had its one chance.
    """

    decision: Decision
    error_rate: float
    indifference: float
    checks: int
    seed: int
    is_sequential: bool = False
    looks: tuple[str, ...] = ()

    @property
    def stated_error(self) -> float:
        """The largest probability of a wrong verdict over all looks so far.

        One rule may look as often as it likes; a sample of fixed size before it, or further ones of half the error rate
        each, add as much again.
        """
        is_one_rule = self.is_sequential and all(look == _SEQUENTIAL for look in self.looks)
        return self.error_rate * (1 if is_one_rule or not self.looks else 2)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The permutation, the number of checks, and each check's error rate, indifference and looks, by the check's label."""

    seed: int
    asked_seed: int
    checks: int
    rules: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def _other_seed(self) -> int | None:
        return self.asked_seed if self.asked_seed != self.seed else None

    def as_json(self) -> dict[str, Any]:
        """As the store keeps it."""
        return {"seed": self.seed, "checks": self.checks, "rules": dict(self.rules)}

    def terms(self, check: Check, draws: Draws) -> Terms:
        """The terms of a check in this run."""
        rule, look = self.rules.get(check.label), _look(check, draws, other_seed=self._other_seed)
        looks = tuple(rule["looks"]) if rule else ()
        before = looks[: looks.index(look)] if look in looks else ()
        is_confident = check.decision.decide is Decide.CONFIDENT
        return Terms(
            decision=check.decision,
            error_rate=float(rule["error_rate"] if rule else check.decision.error_rate),
            indifference=float(rule["indifference"] if rule else check.decision.indifference),
            checks=self.checks,
            seed=self.seed,
            looks=before,
            is_sequential=look == _SEQUENTIAL or (bool(before) and draws.is_pooled and not is_confident),
        )


def kept_seed(kept: Mapping[str, Any] | None, asked: int) -> int:
    """The seed of the permutation: the first run's."""
    return int(kept["seed"]) if kept else asked


def settle(
    kept: Mapping[str, Any] | None, checks: tuple[Check, ...], draws: Draws, *, seed: int, in_file: int
) -> Protocol:
    """What holds for this run: what was fixed before, with this run's looks added.

    Args:
        kept: what the store has; None at the first run.
        checks: of the task.
        draws: of the task, by the kept seed.
        seed: that this run asks for.
        in_file: thresholds of the whole file, each of which may fail falsely.
    """
    rules: dict[str, dict[str, Any]] = {label: dict(rule) for label, rule in (kept["rules"] if kept else {}).items()}
    notes: list[str] = []
    for check in checks:
        look = _look(check, draws, other_seed=seed if kept and int(kept["seed"]) != seed else None)
        if look is None:
            continue
        asked = {"error_rate": str(check.decision.error_rate), "indifference": str(check.decision.indifference)}
        rule = rules.setdefault(check.label, asked | {"looks": []})
        for name, value in asked.items():
            if Decimal(rule[name]) != Decimal(value):
                notes.append(
                    f"{check.label}: {name} {rule[name]} was fixed before its first document, and is kept ({value} is asked for)."
                )
        if look not in rule["looks"]:
            rule["looks"] = [*rule["looks"], look]
    if kept and rules and int(kept["seed"]) != seed:
        notes.append(
            f"{checks[0].task}: its documents were drawn with seed {kept['seed']} before, and that draw is kept: another one ({seed} is asked for) "
            "would be a second chance."
        )
    return Protocol(
        seed=kept_seed(kept, seed), asked_seed=seed, checks=max(in_file, int(kept["checks"]) if kept else 0), rules=rules, notes=tuple(notes)
    )  # fmt: skip


def _look(check: Check, draws: Draws, *, other_seed: int | None) -> str | None:
    """What this run looks at; None where it is everything there is. To ask for another seed is to ask for another look."""
    is_sample = draws.sampled < draws.total
    goes_on = is_sample and check.decision.inconclusive is Inconclusive.CONTINUE
    if draws.is_pooled and (check.decision.decide is Decide.EARLY or goes_on):
        return _SEQUENTIAL
    asked = f"{draws.sampled}" if other_seed is None else f"{draws.sampled}, seed {other_seed}"
    return asked if is_sample and draws.is_random else None


class Protocols:
    """The protocols of a run: drawn by at the plan, fixed in the store before a task's first document.

    Args:
        store: keeps them.
        answering: knows the requests, whose content identifies what a pair of models is asked; none is executed.
        seed: that this run asks for.
        checks: thresholds of the whole file.
    """

    def __init__(self, store: Store, answering: Answering, *, seed: int, checks: int) -> None:
        self._store = store
        self._answering = answering
        self._seed = seed
        self._checks = checks
        self._pairs: dict[str, str] = {}
        self.of: dict[str, Protocol] = {}

    def draw(self, task: GateTask, parts: tuple[PreparedTask, ...]) -> Draws:
        """The order of a task's documents, by the seed of the first run of this pair."""
        self._pairs[task.name] = self._pair(task, parts)
        kept = self._store.protocol(self._pairs[task.name])
        draws = draw(task, parts, kept_seed(kept, self._seed))
        self.of[task.name] = settle(kept, task.checks, draws, seed=self._seed, in_file=self._checks)
        return draws

    def fix(self, task: GateTask) -> None:
        """Keep what holds for a task, where it is drawn from at all; a baseline alone is no look at a pair."""
        protocol = self.of[task.name]
        if protocol.rules and len(self._answering.facts) > 1:
            self._store.fix_protocol(self._pairs[task.name], protocol.as_json())

    @property
    def notes(self) -> tuple[str, ...]:
        """Where this run asks for what was fixed otherwise before."""
        return tuple(note for protocol in self.of.values() for note in protocol.notes)

    def _pair(self, task: GateTask, parts: tuple[PreparedTask, ...]) -> str:
        """A digest of both models and of everything that they may be asked."""
        digest = xxhash.xxh3_128(task.name.encode())
        for side, facts in self._answering.facts.items():
            digest.update(facts.fingerprint.encode())
            for part in parts:
                digest.update("".join(self._answering.keys(part, side).values()).encode())
        return digest.hexdigest()
