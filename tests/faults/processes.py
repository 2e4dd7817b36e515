"""Runs of the gate as forks of one process that has imported everything: a run costs a second, and can be killed."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faults.project import Project

_PAUSE = 0.002
_LONGEST = 180.0  # seconds; a run that hangs is killed and counted as broken
_MODULES = (
    "datasets", "lm_eval.models.huggingface", "lm_eval.tasks", "numpy", "pytest", "scipy.stats", "torch", "transformers", "jinja2",
    "transformers.models.llama.modeling_llama", "pytest_prunegate.execution.lm_eval_model", "pytest_prunegate.tasks.scorer",
    "pytest_prunegate.tasks.task_builder", "pytest_prunegate.tasks.kinds", "pytest_prunegate.report.summary.summary",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended: with an exit code or by a signal; and what it wrote on the screen."""

    code: int | None
    signal: int | None
    output: str

    @property
    def has_traceback(self) -> bool:
        """Whether it showed the user one."""
        return "Traceback (most recent call last)" in self.output or "INTERNALERROR" in self.output


@dataclass(frozen=True, kw_only=True)
class Timer:
    """A signal from outside: so many seconds after the run's first response, or after its start."""

    seconds: float
    signal: int = signal.SIGKILL
    from_start: bool = False


def preload() -> None:
    """Import what every run needs, without a thread that a fork would lose."""
    os.environ |= {
        "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "COLUMNS": "160",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p prunegate",
    }  # fmt: skip
    for name in _MODULES:
        __import__(name)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # pages that the collector does not write to stay shared


def start(project: Project, arguments: Sequence[str], prepare: Callable[[], None], *, output: str = "run.txt") -> int:
    """Start a run.

    Args:
        project: whose folder it runs in.
        arguments: of pytest.
        prepare: called in the run before pytest starts.
        output: file in the project's folder that takes what the run writes on the screen.

    Returns:
        The process's id.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.chdir(project.folder)
        screen = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(screen, number)
        prepare()
        import pytest

        code = int(pytest.main(list(arguments)))
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(project: Project, child: int, *, timer: Timer | None = None, output: str = "run.txt") -> Ended:
    """Wait for a run's end, and send it the timer's signal."""
    began, due, last = time.monotonic(), None, False
    if timer and timer.from_start:
        due = began + timer.seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        now = time.monotonic()
        if timer and due is None and b'"answered"' in _journal(project):
            due = now + timer.seconds
        if timer and due is not None and now >= due and not last:
            os.kill(child, timer.signal)
            last = True
        if now > began + _LONGEST:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError(
                f"a run did not end within {_LONGEST} s: {(project.folder / output).read_text()[-2000:]}"
            )
        time.sleep(_PAUSE)
    text = (project.folder / output).read_text(errors="replace")
    killed = os.WIFSIGNALED(status)
    return Ended(
        code=None if killed else os.WEXITSTATUS(status), signal=os.WTERMSIG(status) if killed else None, output=text
    )


def run(
    project: Project, arguments: Sequence[str], prepare: Callable[[], None], *, timer: Timer | None = None
) -> Ended:
    """Start a run with an empty journal, and wait for its end."""
    project.journal.unlink(missing_ok=True)
    return wait(project, start(project, arguments, prepare), timer=timer)


def _journal(project: Project) -> bytes:
    return project.journal.read_bytes() if project.journal.exists() else b""
