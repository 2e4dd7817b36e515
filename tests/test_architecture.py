"""The rooms' arrows, and what an idle plugin costs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from inspect import ismodule
from pathlib import Path

import pytest_prunegate

PACKAGE = Path(pytest_prunegate.__file__).parent
HEAVY = (
    "torch",
    "transformers",
    "lm_eval",
    "datasets",
    "yaml",
    "jinja2",
    "numpy",
    "huggingface_hub",
    "psutil",
    "xxhash",
    "matplotlib",
)
# The rooms from the ground up, each with those that it imports, for types too: a room imports what stands above it in this list.
ROOMS = {
    "plain": (),
    "errors": ("plain",),
    "atomic_file": (),
    "resources": (),
    "flags": (),
    "stats": (),
    "store": ("errors",),
    "input": ("errors", "flags", "resources"),
    "checkpoint": ("errors", "input"),
    "tasks": ("checkpoint", "errors", "input", "resources", "store"),
    "execution": ("atomic_file", "checkpoint", "errors", "input", "resources", "store", "tasks"),
    "verdict": ("checkpoint", "errors", "input", "plain", "stats", "store", "tasks"),
    "baseline": ("atomic_file", "checkpoint", "errors", "execution", "input", "resources", "store", "tasks"),
    "gate": ("baseline", "checkpoint", "errors", "execution", "input", "plain", "resources", "store", "tasks", "verdict"),
    "report.summary": ("atomic_file", "errors", "gate", "input", "plain", "resources", "tasks", "verdict"),
    "report.screen": ("atomic_file", "checkpoint", "errors", "gate", "input", "plain", "report.summary", "tasks", "verdict"),
    "report.page": ("atomic_file", "errors", "plain", "report.summary", "resources"),
    "report.history": ("atomic_file", "errors", "plain", "report.page", "report.summary", "tasks", "verdict"),
    "report.files": ("atomic_file", "checkpoint", "input", "report.page", "report.summary"),
    "report.ci": ("plain", "report.page", "report.summary", "verdict"),
    "commands": (
        "atomic_file", "baseline", "checkpoint", "errors", "execution", "gate", "input", "plain", "report.history", "report.screen",
        "report.summary", "store", "tasks", "verdict",
    ),
    "session": (
        "errors", "execution", "flags", "gate", "input", "plain", "report.ci", "report.files", "report.history", "report.page",
        "report.screen", "report.summary", "tasks", "verdict",
    ),
    "plugin": ("flags", "session", "verdict"),
    "__main__": ("commands", "errors"),
}  # fmt: skip
MODULES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}
FACES = {name: path for name, path in MODULES.items() if path.name == "__init__.py"}


def room_of(module: str) -> str:
    """A module's room: a package, one of the report's, or a module of the root."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "report" and len(parts) > 2 else parts[0]


@cache
def imports(module: str) -> frozenset[str]:
    """Modules of this package that one imports, for types too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_prunegate."):
            name = str(node.module).partition(".")[2]
            inner = {f"{name}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner or {name if name in MODULES else f"{name}.__init__"}
    return frozenset(found - {module})


@cache
def foreign(module: str) -> frozenset[str]:
    """Packages of others that a module imports."""
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return frozenset(name.split(".")[0] for name in names)


def test_the_arrows_between_rooms_are_these() -> None:
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in MODULES.keys() - FACES.keys():
        room = room_of(module)
        found[room] |= {room_of(other) for other in imports(module)} - {room}
    assert {room: tuple(sorted(others)) for room, others in found.items()} == ROOMS


def test_a_room_is_entered_by_what_its_face_names() -> None:
    """`__all__` of a room has the modules that other rooms import, and names that the face itself hands on; nothing more."""
    faces = {room: importlib.import_module(f"pytest_prunegate.{room}") for room in ROOMS if f"{room}.__init__" in FACES}
    entered: dict[str, set[str]] = {room: set() for room in faces}
    for module in MODULES:
        for other in imports(module):
            room = room_of(other)
            if room in entered and room != room_of(module) and other != f"{room}.__init__":
                entered[room].add(other.removeprefix(f"{room}.").partition(".")[0])
    handed_on = {
        room: {name for name in face.__all__ if hasattr(face, name) and not ismodule(getattr(face, name))}
        for room, face in faces.items()
    }
    assert {room: set(face.__all__) - handed_on[room] for room, face in faces.items()} == entered


def test_arrows_run_downwards() -> None:
    order = list(ROOMS)
    assert [
        (room, other) for room, others in ROOMS.items() for other in others if order.index(other) >= order.index(room)
    ] == []


def drawing() -> str:
    """The rooms as a Mermaid graph, without arrows that others imply; what stands at the root is left out."""
    folders = {module.rpartition(".")[0] for module in FACES}
    rooms = {room: set(others) & folders for room, others in ROOMS.items() if room in folders}
    below: dict[str, set[str]] = {}
    for room, others in rooms.items():  # from the ground up
        below[room] = others.union(*(below[other] for other in others))
    implied = {room: set().union(*(below[other] for other in others)) for room, others in rooms.items()}
    lines = [f"    {room} --> {other}" for room in reversed(rooms) for other in sorted(rooms[room] - implied[room])]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def test_the_drawing_is_that_of_the_imports() -> None:
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    assert drawing() in page, f"replace the drawing in docs/architecture.md:\n{drawing()}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: set(imports(module)) - FACES.keys() for module in MODULES.keys() - FACES.keys()}
    while ground := [module for module, others in left.items() if not others]:
        left = {module: others.difference(ground) for module, others in left.items() if module not in ground}
    assert left == {}


def test_what_is_private_is_imported_by_nobody() -> None:
    """Names that begin with an underscore, within a room too: what two modules need has a name for both."""
    assert [
        (module, alias.name)
        for module in MODULES
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_prunegate")
        for alias in node.names
        if alias.name.startswith("_")
    ] == []


def test_the_root_is_small_and_every_room_says_what_it_holds() -> None:
    assert len([module for module in MODULES if "." not in module]) <= 8
    assert [
        module
        for module, path in FACES.items()
        if module != "__init__" and not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_heavy_packages_are_imported_where_models_run_and_tasks_are_built() -> None:
    heavy = {"torch", "transformers", "lm_eval", "datasets"}
    assert {room_of(module) for module in MODULES if foreign(module) & heavy} == {"execution", "tasks"}
    assert {room_of(module) for module in MODULES if "torch" in foreign(module)} == {"execution"}


def test_decisions_link_to_code_that_is_there() -> None:
    page = Path(__file__).parents[1] / "docs" / "decisions.md"
    records = page.read_text().split("\n## ")[1:]
    links = [re.findall(r"\]\(([^)]+\.py)\)", record) for record in records]
    assert [record.splitlines()[0] for record, found in zip(records, links, strict=True) if not found] == []
    assert [
        link for found in links for link in found if not (PACKAGE.parent / link.removeprefix("../")).is_file()
    ] == []


def test_a_test_stands_in_the_room_of_what_it_tests() -> None:
    tests = Path(__file__).parent
    folders = {".".join(path.parent.relative_to(tests).parts) for path in tests.rglob("test_*.py")}
    assert folders - set(ROOMS) == {"", "faults", "slow"}, "these look at all of it"


def test_no_test_imports_another() -> None:
    """What several of them need stands in tests/support."""
    tests = Path(__file__).parent
    assert [
        path.name
        for path in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    ] == []


def modules_after(code: str, cwd: Path) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=cwd)
    return set(result.stdout.splitlines()[-1].split())


def test_an_idle_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    loaded = modules_after(
        "import pytest\nassert pytest.main(['--markers', '-p', 'no:hypothesispytest', '-p', 'no:randomly']) == 0",
        tmp_path,
    )
    assert "pytest_prunegate.plugin" in loaded, "the plugin is installed"
    assert not loaded & set(HEAVY)
    ours = {name for name in loaded if name.startswith("pytest_prunegate.")}
    assert ours == {"pytest_prunegate.plugin", "pytest_prunegate.flags"}


def test_an_idle_run_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    code = "import pytest\nassert pytest.main(['-p', 'no:hypothesispytest', '-p', 'no:randomly']) == 0"
    loaded = modules_after(code, tmp_path)
    assert not loaded & set(HEAVY)


def test_a_command_starts_without_what_other_commands_do(tmp_path: Path) -> None:
    """Each stands in the help of all; a shell that completes words asks for it at every key."""
    loaded = modules_after("import pytest_prunegate.__main__", tmp_path)
    ours = {name.split(".")[1] for name in loaded if name.startswith("pytest_prunegate.")}
    assert not ours & {"gate", "execution", "checkpoint", "store", "input", "tasks"}


def test_modules_stay_readable() -> None:
    long = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
