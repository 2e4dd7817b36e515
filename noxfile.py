"""The same tests with other versions: `nox` runs them all, in an hour and with 30 GB of disk; `nox -s real_gate` is what .ci/run takes of it.

Lowest are the direct dependencies as pyproject.toml declares them, newest what there is today. Each environment is made of the built wheel.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["real_gate", "tests", "guests"]

PYTHON = {"lowest": "3.11", "newest": "3.13"}
TOOLS = (
    "aiohttp", "allure-pytest", "bitsandbytes", "check-jsonschema", "gguf", "hypothesis", "jsonschema", "junitparser", "lxml", "markdown-it-py",
    "peft", "pytest-randomly", "pytest-rerunfailures", "pytest-timeout", "pytest-xdist", "requests", "selenium", "tenacity",
)  # fmt: skip
ROOMS = ("session", "report", "tasks", "input", "gate", "verdict")
# nox would have temporary files below this folder, whose pyproject.toml the tests' own runs of pytest would then find.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TMPDIR": tempfile.gettempdir()}


@nox.session
@nox.parametrize(("python", "dependencies"), [(python, name) for name, python in PYTHON.items()], ids=list(PYTHON))
def real_gate(session: nox.Session, dependencies: str) -> None:
    """A gate on real models, with a wheel that has been installed: dtypes, arguments, adapters, sparsity."""
    _install(session, dependencies)
    _pytest(
        session,
        "-n2",
        "tests/execution/test_model_kinds.py",
        "-k",
        "TestDtypes or TestSparsity or TestWeights or TestVocabularies",
    )


@nox.session
@nox.parametrize(
    ("python", "dependencies", "pytest"),
    [(python, name, pytest) for name, python in PYTHON.items() for pytest in ("8.0", "9.0", "newest")],
)
def tests(session: nox.Session, dependencies: str, pytest: str) -> None:
    """What depends on pytest and on the libraries that reports and tasks use."""
    _install(session, dependencies, *(() if pytest == "newest" else (f"pytest=={pytest}.*",)))
    _pytest(session, "-n", "auto", "--maxprocesses=4", "--dist=worksteal", *(f"tests/{room}" for room in ROOMS))


@nox.session(python=PYTHON["newest"])
def guests(session: nox.Session) -> None:
    """Beside plugins that run, repeat or read tests in their own way."""
    plugins = ("pytest-retry", "pytest-trio", "pytest-flakefinder", "pytest-split", "pytest-html", "pytest-json-report")
    _install(session, "newest", *plugins)
    _pytest(
        session, "tests/session/test_guest.py", "tests/session/test_traps.py", "tests/session/test_other_plugins.py"
    )


def _install(session: nox.Session, dependencies: str, *more: str) -> None:
    """The wheel, what it needs, and what the tests need."""
    made = Path(session.create_tmp())
    session.run("uv", "build", "-q", "--wheel", "--out-dir", str(made), external=True)
    (wheel,) = made.glob("*.whl")
    pins = made / "pins.txt"
    resolution = "lowest-direct" if dependencies == "lowest" else "highest"
    session.run(
        "uv", "pip", "compile", "-q", "pyproject.toml", f"--resolution={resolution}", f"--python-version={PYTHON[dependencies]}",
        f"--output-file={pins}", external=True,
    )  # fmt: skip
    if any(one.startswith("pytest==") for one in more):  # the axis that is varied beside the others
        pins.write_text(
            "".join(line for line in pins.read_text().splitlines(keepends=True) if not line.startswith("pytest=="))
        )
    session.install("-q", f"--constraint={pins}", str(wheel), *TOOLS, *more)


def _pytest(session: nox.Session, *arguments: str) -> None:
    """Run tests in a folder without the package's sources, so that the installed wheel is what is tested."""
    folder = Path(session.create_tmp()) / "tests"
    for name in ("tests", "docs", "pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        session.run("cp", "-r", name, str(folder), external=True, silent=True)
    with session.chdir(folder):
        session.run("python", "-m", "pytest", "-q", *arguments, *session.posargs, env=ENVIRONMENT)
