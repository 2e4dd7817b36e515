"""The files that ship beside the code are found, wherever the package is installed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pytest_prunegate.resources import resource_path

PROJECT = Path(__file__).resolve().parents[1]
SHIPPED = (
    "templates/report.md.j2", "templates/report.html.j2", "templates/report.css", "templates/report.js", "templates/history.html.j2",
    "templates/history.css", "templates/candidates.md.j2", "templates/candidates.html.j2", "templates/candidates.css",
    "thresholds.yaml", "thresholds.schema.json", "results.schema.json", "model_results.schema.json", "history.schema.json",
    "candidates.schema.json",
)  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_found_in_this_installation(name: str) -> None:
    assert resource_path(name).is_file()


def test_a_missing_file_is_said() -> None:
    with pytest.raises(FileNotFoundError, match="absent is missing from the installation"):
        resource_path("absent")


def test_the_plugin_is_registered() -> None:
    points = {point.name: point.value for point in importlib.metadata.entry_points(group="pytest11")}
    assert points["prunegate"] == "pytest_prunegate.plugin"


@pytest.mark.slow
def test_the_wheel_holds_them_and_finds_them(tmp_path: Path) -> None:
    if not (PROJECT / "pyproject.toml").is_file():
        pytest.skip(f"no project at {PROJECT}: these are the tests of an installed wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(PROJECT)],
        check=True,
        capture_output=True,
    )
    wheel = next(tmp_path.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"pytest_prunegate/{name}" for name in SHIPPED} <= set(names)
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"from pytest_prunegate.resources import resource_path as find; print(*[find(name) for name in {SHIPPED!r}])"
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert result.stdout.count(str(tmp_path / "site")) == len(SHIPPED)
