"""What two stores fixed for one pair of models, put together: no look of either may become unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol that holds after both.

    The first one's draw and rates hold. The other's looks come after the first one's, so that a look that is repeated is
    judged as strictly as its place asks for; those at another draw keep its seed, as if a run had asked for that seed.

    Args:
        first: the protocol that was fixed earlier.
        second: the other.
    """
    rules = {key: {**rule, "looks": list(rule["looks"])} for key, rule in first["rules"].items()}
    for key, rule in second["rules"].items():
        looks = rules.setdefault(key, {**rule, "looks": []})["looks"]
        known = {at for at, _ in looks}
        told = [[_seen_from(first["seed"], second["seed"], at), by] for at, by in rule["looks"]]
        looks += [[at, by] for at, by in told if at not in known]
    candidates = max(found.get("candidates", 1) for found in (first, second))
    several = {"candidates": candidates} if candidates > 1 else {}
    return {"seed": first["seed"], "checks": max(first["checks"], second["checks"]), **several, "rules": rules}


def _seen_from(own: int, other: int, look: str) -> str:
    """A look at the draw of one seed, as the holder of another's names it. An early look is one at any draw."""
    sample, _, seed = look.partition(", seed ")
    if not sample[:1].isdigit():
        return look
    asked = int(seed) if seed else other
    return sample if asked == own else f"{sample}, seed {asked}"
