"""Figures of the package as a house: its modules, the arrows between them, and how long its functions are.

    python tools/house.py

An arrow is an import of one module by another, for types too. It runs upwards where its target needs the room it starts in, directly or
through other rooms. The last line is one JSON object.
"""

from __future__ import annotations

import ast
import json
import statistics
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "pytest_prunegate"
ENUMS = {"Decide": "input.thresholds", "Measure": "tasks.checks"}
"""Kinds of things, by the modules that define them."""
KINDS, KIND_HOMES = {"CountingKind", "AskingKind"}, ("tasks.checks", "tasks.kinds")
RULES = "input.rules"


def read() -> dict[str, ast.Module]:
    """The syntax tree of each module, by its dotted name within the package; faces are named after their room."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, modules: dict[str, ast.Module]) -> set[str]:
    """Modules of the package that one imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_prunegate"):
            name = str(node.module).removeprefix("pytest_prunegate").lstrip(".")
            for alias in node.names:
                inner = f"{name}.{alias.name}".lstrip(".")
                found.add(inner if inner in modules else name)
    return found - {""}


def room_of(module: str) -> str:
    """A module's room: a package, one of the report's, or a module of the root."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "report" and len(parts) > 2 else parts[0]  # noqa: PLR2004 - report, room, module


def reached(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """What each can be led to, itself only where there is a circle."""
    found = {start: set(targets) for start, targets in arrows.items()}
    changed = True
    while changed:
        changed = False
        for start, targets in found.items():
            further = set().union(*(found.get(target, set()) for target in targets)) - targets
            found[start] = targets | further
            changed = changed or bool(further)
    return found


def branches(modules: dict[str, ast.Module]) -> dict[str, int]:
    """How often modules compare with the members of a kind, or with a rule, that another module defines."""
    rules = {
        name.id for node in modules[RULES].body if isinstance(node, ast.Assign)
        for name in node.targets if isinstance(name, ast.Name) and name.id.isupper()
    }  # fmt: skip
    found = dict.fromkeys((*ENUMS, "Rule", "Kind"), 0)
    for module, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                found["Kind"] += not module.startswith(KIND_HOMES) and ast.unparse(node.args[1]) in KINDS
            if not isinstance(node, (ast.Compare, ast.MatchValue)):
                continue
            inside = list(ast.walk(node))
            for enum, home in ENUMS.items():
                found[enum] += module != home and any(
                    isinstance(one, ast.Attribute) and ast.unparse(one.value) == enum for one in inside
                )
            found["Rule"] += module != RULES and any(isinstance(one, ast.Name) and one.id in rules for one in inside)
    return found


def main() -> None:
    """Measure and print."""
    modules = read()
    arrows = {module: imports(tree, modules) - {module} for module, tree in modules.items()}
    rooms: dict[str, set[str]] = {}
    for module, targets in arrows.items():
        rooms.setdefault(room_of(module), set()).update({room_of(target) for target in targets} - {room_of(module)})
    importers = {module: [other for other, targets in arrows.items() if module in targets] for module in modules}
    among, between = reached(arrows), reached(rooms)
    functions = [
        int(node.end_lineno or 0) - node.lineno + 1
        for tree in modules.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    figures = {
        "modules": len(modules) - 1,
        "at_the_root": sum("." not in module and (PACKAGE / f"{module}.py").exists() for module in modules) + 1,
        "in_a_circle": sorted(module for module, targets in among.items() if module in targets),
        "arrows_between_rooms": sum(map(len, rooms.values())),
        "upward_arrows": sorted(f"{room} -> {other}" for room, targets in rooms.items() for other in targets if room in between[other]),
        "with_one_importer": sum(len(found) == 1 for found in importers.values()),
        "lines": sum(lines.values()),
        "longest_module": max(lines.values()),
        "function_median": statistics.median(functions),
        "function_90th_percentile": statistics.quantiles(functions, n=10)[-1],
        "branches": branches(modules),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
