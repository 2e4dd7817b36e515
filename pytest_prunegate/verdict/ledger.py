"""What is fixed for a pair of models on a task before its first document, and kept by every later run.

A second look at a sample, with more documents or another rule, is a second chance to err: the looks are counted, and the
permutation of the first one is kept whatever seed a later run asks for, and whatever else stands in the data. Where it cannot be (the
same questions in another order, with other answers), each further draw halves the error rate. Of what was fixed and what is asked the stricter holds:
rule U may be read at any rate, since its bets do not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import xxhash

from pytest_prunegate.input.thresholds import Decide, Inconclusive
from pytest_prunegate.store.row_copy import DRAW
from pytest_prunegate.verdict.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_prunegate.checkpoint.facts import ModelFacts
    from pytest_prunegate.input.model_argument import Side
    from pytest_prunegate.input.thresholds import Decision
    from pytest_prunegate.store import Store
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.tasks.prepared import PreparedTask
    from pytest_prunegate.tasks.requests import Request
    from pytest_prunegate.verdict.sampling import Draws

_EARLY = "early"
_BY_RULE, _BY_SAMPLE = "rule", "sample"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a check's verdict stands on.

    `looks` are the looks at a part of the documents that came before this one, each with what judged it; `checks` is how
    many thresholds share the error rate of a false FAIL. Where `is_sequential`, documents are looked at one by one until
    they decide: because it was asked for, or because an earlier look at this sample already had its one chance.
    `candidates` is how many pruned models share the error rate of any verdict: to choose among them is to look so often. `draw` counts
    the permutations that were looked at before this one.
    """

    decision: Decision
    error_rate: float
    indifference: float
    checks: int
    seed: int
    is_sequential: bool = False
    looks: tuple[tuple[str, str], ...] = ()
    candidates: int = 1
    draw: int = 0

    @property
    def own_rate(self) -> float:
        """The part of the error rate that this candidate may use on this draw: half of what the one before had."""
        return self.error_rate / float(2**self.draw) / self.candidates

    @property
    def rate_of_sample(self) -> float:
        """The error rate of this look, if it is one at a sample of fixed size: half of the one before."""
        return self.own_rate / float(2 ** len(self.looks))

    @property
    def stated_error(self) -> float:
        """The largest probability of a wrong verdict over all looks so far, and over all candidates; one rule may look as often as it likes."""
        judges = [by for _, by in self.looks] + [_BY_RULE if self.is_sequential else _BY_SAMPLE]
        rate = self.error_rate / float(2**self.draw)
        samples = sum(rate / float(2**place) for place, by in enumerate(judges) if by == _BY_SAMPLE)
        other_draws = sum(self.error_rate / float(2**place) for place in range(self.draw))
        return samples + (rate if _BY_RULE in judges else 0) + other_draws


@dataclass(frozen=True, kw_only=True)
class Commitment:
    """The permutation, the number of thresholds and of candidates, and each check's error rate, indifference and looks, by its metric.

    `bases` decide the permutation of each part. `draws` are digests of the orders in which the documents were looked at, `draw` the
    place of this run's among them.
    """

    seed: int
    asked_seed: int
    checks: int
    candidates: int = 1
    bases: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    draw: int = 0
    rules: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As the store keeps it."""
        several = {"candidates": self.candidates} if self.candidates > 1 else {}
        drawn = {"bases": list(self.bases), "draws": list(self.draws)} if self.draws else {}
        return {"seed": self.seed, "checks": self.checks, **several, **drawn, "rules": dict(self.rules)}

    def terms(self, task: GateTask, check: Check, draws: Draws) -> Terms:
        """The terms of a check in this run."""
        look = _look(
            task, check, draws, other_seed=self.asked_seed if self.asked_seed != self.seed else None, draw=self.draw
        )
        rule = self.rules.get(_key(check)) if look is not None else None
        looks = [(at, by) for at, by in rule["looks"]] if rule else []
        place = next((place for place, (at, _) in enumerate(looks) if at == look), None)
        return Terms(
            decision=check.decision,
            error_rate=float(rule["error_rate"] if rule else check.decision.error_rate),
            indifference=float(rule["indifference"] if rule else check.decision.indifference),
            checks=self.checks,
            candidates=self.candidates,
            draw=self.draw if rule else 0,
            seed=self.seed,
            looks=tuple(looks[:place]) if place is not None else (),
            is_sequential=place is not None and looks[place][1] == _BY_RULE,
        )


def kept_seed(kept: Mapping[str, Any] | None, asked: int) -> int:
    """The seed of the permutation: the first run's."""
    return int(kept["seed"]) if kept else asked


def settle(
    kept: Mapping[str, Any] | None, task: GateTask, draws: Draws, *, seed: int, in_file: int, candidates: int = 1
) -> Commitment:
    """What holds for this run: what was fixed before, with this run's looks added.

    Args:
        kept: what the store has; None at the first run.
        task: with its checks.
        draws: of the task, by the kept seed.
        seed: that this run asks for.
        in_file: thresholds of the whole file, each of which may fail falsely.
        candidates: pruned models of the run, any of which may be judged falsely.
    """
    rules: dict[str, dict[str, Any]] = {key: dict(rule) for key, rule in (kept["rules"] if kept else {}).items()}
    own, notes = kept_seed(kept, seed), list[str]()
    is_looked_at = any(_look(task, check, draws, other_seed=None, draw=0) for check in task.checks)
    orders, place = _placed_draw(kept, draws) if is_looked_at else (tuple(kept.get("draws", ())) if kept else (), 0)
    for check in task.checks:
        look = _look(task, check, draws, other_seed=seed if own != seed else None, draw=place)
        if look is None:
            continue
        asked = {"error_rate": str(check.decision.error_rate), "indifference": str(check.decision.indifference)}
        rule = rules.setdefault(_key(check), asked | {"looks": []})
        notes += _tightened(check, rule, asked)
        if look not in [at for at, _ in rule["looks"]]:
            rule["looks"] = [*rule["looks"], [look, _judge(task, check, draws, look, again=bool(rule["looks"]))]]
    if place:
        notes.append(
            f"{task.name}: these questions were drawn in another order before (their rows stand in another order, or their answers changed): "
            f"each further draw is another chance, and has half of the error rate of the one before (draw {place + 1})."
        )
    if own != seed and rules:
        notes.append(
            f"{task.name}: its documents were drawn with seed {own} before, and that draw is kept: another one ({seed} is asked for) "
            "would be a second chance."
        )
    return Commitment(
        seed=own, asked_seed=seed, checks=max(in_file, int(kept["checks"]) if kept else 0),
        candidates=max(candidates, int(kept.get("candidates", 1)) if kept else 1), bases=draws.bases, draws=orders, draw=place,
        rules=rules, notes=tuple(notes),
    )  # fmt: skip


def _placed_draw(kept: Mapping[str, Any] | None, draws: Draws) -> tuple[tuple[str, ...], int]:
    """The orders that were looked at, this run's among them, and its place."""
    orders, own = tuple(kept.get("draws", ())) if kept else (), draws.digest()
    found = orders if own in orders else (*orders, own)
    return found, found.index(own)


def _tightened(check: Check, rule: dict[str, Any], asked: Mapping[str, str]) -> Iterator[str]:
    """Let the stricter of what was fixed and what is asked hold, and say so."""
    for name, value in asked.items():
        if Decimal(rule[name]) == Decimal(value):
            continue
        kept, rule[name] = rule[name], min(rule[name], value, key=Decimal)
        yield (
            f"{check.label}: {name} {kept} was fixed before its first document, and {value} is asked for: the stricter one holds, {rule[name]}."
        )


def _key(check: Check) -> str:
    """A check by what it measures, whatever the thresholds file calls it."""
    return f"{check.metric},{check.filter}"


def _look(task: GateTask, check: Check, draws: Draws, *, other_seed: int | None, draw: int) -> str | None:
    """What this run looks at; None where it is everything there is. To ask for another seed, or another draw, is to ask for another look."""
    is_sample = draws.sampled < draws.total
    goes_on = is_sample and check.decision.inconclusive is Inconclusive.CONTINUE
    if draws.is_pooled and task.stops_early(check) and (check.decision.decide is Decide.EARLY or goes_on):
        return _EARLY + _of_draw(draw)
    if not is_sample or not draws.is_random:
        return None
    about = " of others" if check.decision.decide is Decide.CONFIDENT else ""
    seed = "" if other_seed is None else f", seed {other_seed}"
    return f"{draws.sampled}{about}{seed}{_of_draw(draw)}"


def _of_draw(draw: int) -> str:
    return f"{DRAW}{draw}" if draw else ""


def _judge(task: GateTask, check: Check, draws: Draws, look: str, *, again: bool) -> str:
    """What judges a look: a sample of fixed size has one chance, and the rule for any number of looks all later ones."""
    takes_over = again and draws.is_pooled and task.stops_early(check) and check.decision.decide is not Decide.CONFIDENT
    return _BY_RULE if look.startswith(_EARLY) or takes_over else _BY_SAMPLE


class Ledger:
    """The commitments of a run: drawn by at the plan, fixed in the store before a task's first document.

    Args:
        store: keeps them.
        facts: the models' by side.
        keys: of the requests of a part to one side; their content identifies what a pair of models is asked.
        seed: that this run asks for.
        checks: thresholds of the whole file.
        candidates: pruned models of the run.
    """

    def __init__(
        self, store: Store, facts: Mapping[Side, ModelFacts], keys: Callable[[PreparedTask, Side], Mapping[Request, str]], *,
        seed: int, checks: int, candidates: int,
    ) -> None:  # fmt: skip
        self._store = store
        self._facts = facts
        self._keys = keys
        self._seed = seed
        self._checks = checks
        self._candidates = candidates
        self._pairs: dict[str, str] = {}
        self.of: dict[str, Commitment] = {}

    def draw(self, task: GateTask, parts: tuple[PreparedTask, ...]) -> Draws:
        """The order of a task's documents, by the seed of the first run of this pair."""
        self._pairs[task.name] = self._pair(task, parts)
        kept = self._store.protocol(self._pairs[task.name])
        draws = draw(task, parts, kept_seed(kept, self._seed), bases=(kept or {}).get("bases"))
        self.of[task.name] = settle(
            kept, task, draws, seed=self._seed, in_file=self._checks, candidates=self._candidates
        )
        return draws

    def fix(self, task: GateTask) -> None:
        """Keep what holds for a task, where it is drawn from at all; a baseline alone is no look at a pair."""
        commitment = self.of[task.name]
        if commitment.rules and len(self._facts) > 1:
            self._store.fix_protocol(self._pairs[task.name], commitment.as_json())

    @property
    def notes(self) -> tuple[str, ...]:
        """Where this run asks for what was fixed otherwise before."""
        return tuple(note for commitment in self.of.values() for note in commitment.notes)

    def _pair(self, task: GateTask, parts: tuple[PreparedTask, ...]) -> str:
        """A digest of both models and of everything that they may be asked, whatever the task is called, and in whatever order it stands."""
        digest = xxhash.xxh3_128(b"pooled" if task.members else b"alone")
        for side, facts in self._facts.items():
            digest.update(facts.fingerprint.encode())
            for part in parts:
                keys = self._keys(part, side)
                generated = [key for request, key in keys.items() if request.gen_kwargs is not None]
                digest.update(
                    "".join(sorted(generated or keys.values())).encode()
                )  # squadv2 asks more where more is wanted
        return digest.hexdigest()
