"""The rooms' arrows, and what an idle plugin costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
# A room may import the rooms below it (at run time; types are free), errors, and plain.
ROOMS = {
    "__main__": ["fetch_command", "history_command", "proposal", "ratchet", "recorded", "store_command"],
    "store_command": ["baseline", "store"],
    "history_command": ["atomic_file", "report"],
    "proposal": ["needs", "recorded", "thresholds", "thresholds_reader"],
    "ratchet": ["needs", "recorded", "task_words", "thresholds", "thresholds_reader"],
    "needs": ["recorded", "thresholds"],
    "recorded": ["report"],
    "task_words": ["thresholds"],
    "plugin": ["run", "fixtures", "flags"],
    "run": [
        "closing",
        "collection",
        "distributed",
        "exit_codes",
        "fixtures",
        "gates",
        "interruption",
        "other_plugins",
        "report",
        "rootdir",
        "run_input",
        "session",
    ],
    "distributed": ["closing", "collection", "compare", "exit_codes", "flags", "interruption", "options", "scheduling"],
    "exit_codes": ["compare"],
    "scheduling": [],
    "other_plugins": ["collection"],
    "closing": ["compare", "report"],
    "session": ["preflight", "report", "reporting", "evaluation"],
    "reporting": ["identity", "report"],
    "preflight": ["estimates", "places", "report", "checkpoint", "checks", "evaluation", "store"],
    "estimates": ["checkpoint", "report"],
    "places": ["report"],
    "fetch_command": ["fetch", "options", "resources", "run_input", "task_options"],
    "fetch": ["run_input", "model_argument", "estimates", "places", "report", "checkpoint", "evaluation"],
    "run_input": ["options", "thresholds_reader", "resolution", "resources", "report", "evaluation"],
    "fixtures": ["run", "collection", "report", "gate", "checks", "compare"],
    "collection": ["answers", "report", "gate", "checks", "compare"],
    "rootdir": ["flags"],
    "answers": ["check_scores", "checks", "evaluation"],
    "report": [
        "answers",
        "differences",
        "atomic_file",
        "candidate_pairs",
        "identity",
        "loss_interval",
        "plan",
        "check_scores",
        "checks",
        "compare",
        "task_words",
        "thresholds",
        "resources",
        "verdicts",
        "noise",
        "outlook",
    ],
    "differences": ["checkpoint"],
    "identity": ["checkpoint", "checks", "thresholds", "evaluation"],
    "gates": ["gate", "interruption", "options", "plan", "shared", "sides", "store"],
    "shared": ["evaluation"],
    "gate": [
        "interruption",
        "baseline",
        "judging",
        "outlook",
        "noise",
        "protocol",
        "verdicts",
        "measuring",
        "run_notes",
        "plan",
        "check_scores",
        "evaluation",
        "compare",
        "store",
        "serving",
        "checkpoint",
        "checks",
    ],
    "measuring": ["plan", "progress", "waiting", "check_scores", "checks", "evaluation"],
    "waiting": [],
    "run_notes": ["baseline", "checkpoint", "checks", "evaluation", "thresholds"],
    "outlook": ["check_scores", "checks", "paired", "stats", "thresholds"],
    "noise": ["check_scores", "evaluation", "progress", "thresholds"],
    "judging": ["verdicts", "paired", "check_scores", "checks", "compare", "scores"],
    "candidate_pairs": ["check_scores", "loss_interval", "paired", "stats", "thresholds"],
    "verdicts": ["loss_interval", "compare", "stats", "thresholds"],
    "protocol": ["checks", "drawing", "store", "thresholds"],
    "drawing": ["checks", "evaluation", "thresholds"],
    "paired": ["check_scores", "checks", "stats"],
    "check_scores": ["plan", "checks", "evaluation", "scores"],
    "loss_interval": ["stats", "thresholds"],
    "stats": [],
    "progress": [],
    "compare": ["thresholds", "scores", "checks"],
    "evaluation": ["atomic_file", "serving", "checkpoint", "store", "scores", "checks"],
    "atomic_file": [],
    "baseline": ["atomic_file", "checkpoint", "checks", "evaluation", "store", "task_words"],
    "resolution": ["checks", "group_metrics", "metric_names", "task_options", "thresholds", "evaluation"],
    "group_metrics": ["metric_names", "evaluation"],
    "metric_names": ["checks", "thresholds"],
    "checks": ["thresholds", "metric_names", "yaml_nodes"],
    "thresholds_reader": ["task_reader", "decision_reader", "threshold_values", "thresholds", "yaml_nodes"],
    "task_reader": ["dataset_reader", "decision_reader", "secrets", "trust", "threshold_values", "thresholds"],
    "dataset_reader": ["threshold_values"],
    "secrets": [],
    "decision_reader": ["threshold_values", "thresholds"],
    "threshold_values": ["thresholds"],
    "thresholds": [],
    "plan": [],
    "serving": ["checkpoint"],
    "checkpoint": ["model_argument"],
    "store": [],
    "options": ["flags", "model_argument", "option_reader", "resources"],
    "candidate_names": ["model_argument"],
    "option_reader": ["candidate_names", "flags", "secrets", "trust", "model_argument", "task_options", "thresholds"],
    "interruption": [],
    "model_argument": ["served_argument"],
    "served_argument": [],
    "sides": ["baseline", "checkpoint", "evaluation", "serving"],
    "task_options": ["thresholds"],
    "trust": ["flags"],
    "flags": [],
    "scores": [],
    "yaml_nodes": [],
    "resources": [],
    "errors": [],
    "plain": [],
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def runtime_imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, those for types left out."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in typing_only]
    return {(node.module or "").split(".")[1] for node in nodes if (node.module or "").startswith("pytest_prunegate.")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_run_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    allowed = {room, "errors", "plain", *ROOMS[room]}
    assert runtime_imports(path) <= allowed


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_evaluation_imports_the_heavy_packages(path: Path) -> None:
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        (node.module or "").split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    heavy = names & {"torch", "transformers", "lm_eval", "datasets"}
    assert not heavy or room_of(path) == "evaluation"


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


def test_modules_stay_readable() -> None:
    long = {path.name: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
