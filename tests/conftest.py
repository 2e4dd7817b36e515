"""Fixtures of all tests."""

from __future__ import annotations

import gc
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.pytester import SysModulesSnapshot
from support.scripted import (
    ScriptedExecutor,
    ScriptedModel,
    remembered_tokenizer,
    write_checkpoint,
    write_data,
)

from pytest_prunegate.execution.registry import EXECUTORS
from pytest_prunegate.gate.gate import Gate
from pytest_prunegate.report.page import renderer as rendering
from pytest_prunegate.tasks import index, tokenizers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_prunegate.verdict.check_scores import Measurement

pytest_plugins = ["pytester", "support.headless"]
NO_PLOTS: dict[str, Any] = {"plots": {}, "plots_problem": None}
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.parent.name not in {"slow", "faults"})


@pytest.fixture(scope="session")
def index_dir(pytestconfig: pytest.Config) -> Path:
    """A cache directory with the index of lm-eval's tasks, kept between runs."""
    assert pytestconfig.cache is not None
    folder = Path(pytestconfig.cache.mkdir("prunegate-index"))
    if index.load_index(folder) is None:
        index.build_index(folder)
    return folder


@pytest.fixture(scope="session")
def tasks(index_dir: Path) -> index.TaskIndex:
    """lm-eval's tasks."""
    found = index.load_index(index_dir)
    assert found is not None
    return found


class Bench:
    """A project folder with two scripted checkpoints, small data, and runs of pytest in it."""

    def __init__(self, pytester: pytest.Pytester, cache: Path, executor: ScriptedExecutor) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.executor = executor
        self.draws = False  # plots take a fifth of a run, and have tests of their own
        self._cache = cache
        write_data(self.path / "data")

    def models(self, *, original: dict[str, Any] | None = None, pruned: dict[str, Any] | None = None) -> None:
        """Write both checkpoints."""
        write_checkpoint(self.path / "original", **(original or {}))
        write_checkpoint(self.path / "pruned", **(pruned or {"wrong": [19]}))

    def thresholds(self, text: str, name: str = "thresholds.yaml") -> Path:
        """Write a thresholds file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def run(
        self, *arguments: str, models: tuple[str, ...] = ("--original=original", "--pruned=pruned")
    ) -> pytest.RunResult:
        """Run pytest in the folder, in this process."""
        return self.pytester.runpytest_inprocess(
            *models,
            f"--prunegate-cache-dir={self._cache}",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:randomly",
            "-p",
            "no:pytest-retry",  # it keeps the options of a process's first run
            *arguments,
            no_reraise_ctrlc=True,
        )

    def once(self, kept: Path, make: Callable[[], object]) -> None:
        """Make what the folder is to hold, or copy what was made before.

        Args:
            kept: where it is kept for the tests that follow.
            make: makes it in this folder.
        """
        if kept.exists():
            shutil.copytree(kept, self.path, dirs_exist_ok=True)
        else:
            make()
            shutil.copytree(self.path, kept)

    def executed(self, task: str) -> dict[str, int]:
        """Requests of a task that the last run asked a model, by side, as evaluation.log has it."""
        log = (self.results / "evaluation.log").read_text()
        counts = re.findall(rf"{re.escape(task)}: requests executed in this run: (.*)", log)[-1]
        return {side: int(number) for side, number in re.findall(r"(\w+) (\d+)", counts)}

    @property
    def results(self) -> Path:
        return self.path / "prunegate-results"


@pytest.fixture
def bench(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A project with scripted models instead of real ones."""

    def make(*given: Any) -> ScriptedModel:  # by the bench's executor of the moment
        return real_bench.executor(*given)

    monkeypatch.setitem(EXECUTORS, "fast", make)
    monkeypatch.setattr(tokenizers, "_load", remembered_tokenizer)
    return real_bench


@pytest.fixture
def real_bench(
    pytester: pytest.Pytester, index_dir: Path, tasks: index.TaskIndex, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """A project whose models are loaded with transformers."""
    before = set(sys.modules)
    monkeypatch.setattr(SysModulesSnapshot, "restore", lambda _self: _forget_modules_in(pytester.path, before))
    for name in (
        "HF_HUB_CACHE",
        "HF_DATASETS_CACHE",
        "TOKENIZERS_PARALLELISM",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "TRANSFORMERS_VERBOSITY",
    ):
        monkeypatch.setenv(name, "1")  # so that what a run sets is undone
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    at_once = SimpleNamespace(**vars(time) | {"sleep": lambda _: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", at_once)  # imported before, it would wait and try again
    for name in ("PYTEST_XDIST_WORKER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):  # of the run of this suite itself
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "COLUMNS", "500"
    )  # a sentence stands in one line; what 80 columns make of it is tested by itself
    gc.freeze()  # what libraries hold costs every swap of models a quarter of a second
    load, draw = index.load_index, rendering._drawn
    monkeypatch.setattr(index, "load_index", lambda folder: tasks if folder == index_dir else load(folder))
    found = Bench(pytester, index_dir, ScriptedExecutor())
    monkeypatch.setattr(rendering, "_drawn", lambda summary: draw(summary) if found.draws else NO_PLOTS)
    yield found
    gc.unfreeze()


def _forget_modules_in(folder: Path, before: set[str]) -> None:
    """Forget the project's own test modules, and no library: torch and PyYAML do not survive a second import."""
    for name in sys.modules.keys() - before:
        if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.fixture
def all_measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Measurement, ...]]:
    """What the gate of an inner run measured, by task; one for each member of a group."""
    found: dict[str, tuple[Measurement, ...]] = {}
    measure = Gate.measure

    def spy(self: Gate, name: str) -> tuple[Measurement, ...]:
        found[name] = measure(self, name)
        return found[name]

    monkeypatch.setattr(Gate, "measure", spy)
    return found


@pytest.fixture
def measured(all_measured: dict[str, tuple[Measurement, ...]]) -> Mapping[str, Measurement]:
    """What the gate of an inner run measured, by task."""
    return _First(all_measured)


class _First(Mapping[str, "Measurement"]):
    """The first part of each task, as it stands when it is looked at."""

    def __init__(self, members: dict[str, tuple[Measurement, ...]]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Measurement:
        return self._members[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@pytest.fixture
def shared_data() -> Path:
    """Real data beside the project; tests that need it are skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data is not at {SHARED_DATA}")
    return SHARED_DATA
