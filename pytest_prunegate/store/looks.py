"""What two stores fixed for one pair of models, put together: no look of either may become unknown."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DRAW = ", draw "  # before the number of a draw that is not the first, at the end of a look's name


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol that holds after both.

    The first one's draw holds, and the stricter rates of both. The other's looks come after the first one's, so that a look that is
    repeated is judged as strictly as its place asks for; those at another draw keep its seed, as if a run had asked for that seed, and
    the number of that draw among those of both.

    Args:
        first: the protocol that was fixed earlier.
        second: the other.
    """
    draws = list(dict.fromkeys([*first.get("draws", ()), *second.get("draws", ())]))
    rules = {key: {**rule, "looks": list(rule["looks"])} for key, rule in first["rules"].items()}
    for key, rule in second["rules"].items():
        own = rules.setdefault(key, {**rule, "looks": []})
        own |= {name: min(own[name], rule[name], key=Decimal) for name in ("error_rate", "indifference")}
        known = {at for at, _ in own["looks"]}
        told = [[_seen_from(first, second, draws, at), by] for at, by in rule["looks"]]
        own["looks"] += [[at, by] for at, by in told if at not in known]
    candidates = max(found.get("candidates", 1) for found in (first, second))
    several = {"candidates": candidates} if candidates > 1 else {}
    drawn = {"bases": first.get("bases") or second.get("bases"), "draws": draws} if draws else {}
    return {"seed": first["seed"], "checks": max(first["checks"], second["checks"]), **several, **drawn, "rules": rules}


def _seen_from(first: Mapping[str, Any], second: Mapping[str, Any], draws: list[str], look: str) -> str:
    """A look in the words of one protocol, in those of another with this list of draws."""
    label, _, number = look.partition(DRAW)
    sample, _, seed = label.partition(", seed ")
    if sample[:1].isdigit():
        asked = int(seed) if seed else second["seed"]
        label = sample if asked == first["seed"] else f"{sample}, seed {asked}"
        if asked != first["seed"]:  # the seed says that it is another draw
            return label
    own = second.get("draws", ())
    place = draws.index(own[int(number or 0)]) if own else int(number or 0)
    return f"{label}{DRAW}{place}" if place else label
