"""What two stores fixed for one pair, put together: no look becomes unknown, whichever draw it was at."""

from __future__ import annotations

from typing import Any

from pytest_prunegate.store.row_copy import joined

RATES = {"error_rate": "0.05", "indifference": "0.02"}


def fixed(seed: int, *looks: str, checks: int = 1, key: str = "acc,none") -> dict[str, Any]:
    return {"seed": seed, "checks": checks, "rules": {key: {**RATES, "looks": [[look, "sample"] for look in looks]}}}


def looks(protocol: dict[str, Any], key: str = "acc,none") -> list[str]:
    return [look for look, _ in protocol["rules"][key]["looks"]]


def test_looks_at_one_draw_are_joined() -> None:
    found = joined(fixed(1, "40", "80", checks=2), fixed(1, "40", "60", checks=5))
    assert looks(found) == ["40", "80", "60"]
    assert found["checks"] == 5


def test_looks_at_another_draw_keep_its_seed() -> None:
    found = joined(fixed(1, "40"), fixed(7, "40", "60 of others", "50, seed 1", "30, seed 9", "early"))
    assert found["seed"] == 1
    assert looks(found) == ["40", "40, seed 7", "60 of others, seed 7", "50", "30, seed 9", "early"]


def test_the_stricter_rates_hold_and_draws_are_told_apart() -> None:
    first, second = fixed(1, "40"), fixed(1, "40", "early", "60, draw 1")
    first |= {"bases": ["a"], "draws": ["x"]}
    second |= {"bases": ["b"], "draws": ["y", "x"]}
    second["rules"]["acc,none"] |= {"error_rate": "0.01", "indifference": "0.10"}
    found = joined(first, second)
    assert (found["bases"], found["draws"]) == (["a"], ["x", "y"])
    assert looks(found) == ["40", "40, draw 1", "early, draw 1", "60"]
    rule = found["rules"]["acc,none"]
    assert (rule["error_rate"], rule["indifference"]) == ("0.01", "0.02")
    assert joined(found, second) == found


def test_to_join_twice_changes_nothing_and_nothing_is_changed_in_place() -> None:
    first, second = fixed(1, "40"), fixed(7, "40", key="f1,none")
    once = joined(first, second)
    assert joined(once, second) == once
    assert looks(once, "f1,none") == ["40, seed 7"]
    assert first == fixed(1, "40")
