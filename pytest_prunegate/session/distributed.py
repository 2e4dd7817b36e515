"""The gate under pytest-xdist: one worker measures, judges and writes; the controller shows what it found.

The controller reads the input, so that mistakes are told once. Workers collect; which items ask the gate they leave in a
file, because xdist tells the controller nothing but names. The worker that gets them opens the gate, and sends its end.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.errors import InputError
from pytest_prunegate.execution.interruption import StopRequest
from pytest_prunegate.flags import PREFLIGHT
from pytest_prunegate.input.options import Require
from pytest_prunegate.session.collection import GateItems, asks_the_gate, outcomes_of, wanted_checks
from pytest_prunegate.session.exit_codes import FailedReports, Ran, exit_status
from pytest_prunegate.session.other_plugins import STANDING, is_standing
from pytest_prunegate.session.run_end import Closing, closing_of, show_closing, show_settings, tell_junit
from pytest_prunegate.verdict.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from xdist.workermanage import WorkerController

    from pytest_prunegate.gate.candidate_gates import CandidateGates
    from pytest_prunegate.input.options import Options
    from pytest_prunegate.session.session import GateSession


_FOLDER, _END = "prunegate_folder", "prunegate_end"


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another one."""
    return hasattr(config, "workerinput")


def is_controller(config: pytest.Config) -> bool:
    """Whether other processes run the tests."""
    options = config.option
    distributes = getattr(options, "dist", "no") != "no" and bool(getattr(options, "tx", None))
    return distributes and not options.collectonly and not is_worker(config)


def refuse_copies(config: pytest.Config) -> None:
    """Stop where the models would be loaded more than once, or out of reach.

    Raises:
        InputError: every worker would measure, or workers are on other machines.
    """
    if not is_controller(config):
        return
    if config.getoption(PREFLIGHT.dest):
        raise InputError(f"{PREFLIGHT.flag} runs no item, and needs no workers. Run it with -n0.")
    if config.option.dist == "each":
        raise InputError("--dist=each would measure on every worker. Use another --dist, or -n0 for one process.")
    if away := [spec for spec in config.option.tx if "popen" not in spec]:
        raise InputError(
            f"--tx={away[0]}: the gate measures, and keeps its answers, on this machine. Use -n, or --tx=popen."
        )


class Worker:
    """Opens the gate for the first item that asks it, and sends what came of it to the controller.

    Args:
        config: pytest's.
        gates: of the run.
        session: of the run.
        open_gate: opens it for all items of a session.
    """

    def __init__(
        self,
        config: pytest.Config,
        gates: CandidateGates,
        session: GateSession,
        open_gate: Callable[[pytest.Session], object],
    ) -> None:
        self._config = config
        self._gates = gates
        self._session = session
        self._open_gate = open_gate
        self._is_open = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Leave the names of the items before xdist tells the controller that they are collected."""
        asking = [item for item in session.items if asks_the_gate(item)]
        items = GateItems(
            asking=tuple(item.nodeid for item in asking),
            checks=tuple((candidate, tuple(names)) for candidate, names in wanted_checks(asking).items()),
        )
        workerinput: dict[str, Any] = self._config.workerinput  # type: ignore[attr-defined]  # put there by xdist
        path = Path(workerinput[_FOLDER]) / f"{workerinput['workerid']}.json"
        path.write_text(json.dumps(asdict(items)), encoding="utf-8")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Find the models and open the store, in the one worker that needs them."""
        if not self._is_open and asks_the_gate(item):
            self._is_open = True
            self._open_gate(item.session)
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Send the end of the run, or the user's mistake that keeps it from starting."""
        closing = closing_of(self._session, self._gates)
        end = {
            # pytest lets the mistake that ended its session pass while it calls this
            "mistake": str(sys.exception()) if exitstatus == pytest.ExitCode.USAGE_ERROR else None,
            "closing": closing.as_json() if closing else None,
            "outcomes": outcomes_of(session.items),
            "broke": bool(self._session.problems),
        }
        self._config.workeroutput[_END] = json.dumps(end)  # type: ignore[attr-defined]  # put there by xdist


class Controller:
    """Sends all that asks the gate to one worker, and shows how it ended.

    Args:
        config: pytest's.
        options: of the run.
    """

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self._config = config
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="prunegate-"))
        config.add_cleanup(lambda: shutil.rmtree(self._folder, ignore_errors=True))
        self._nodes: list[WorkerController] = []
        self._closing: Closing | None = None
        self._outcomes: dict[str, Outcome] = {}
        self._broke = False
        self._failed = FailedReports()
        config.pluginmanager.register(self._failed, "prunegate-failed")
        self._interrupted = False
        self._signals = contextlib.ExitStack()
        config.add_cleanup(self._signals.close)

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Tell a worker where to leave what it collected."""
        self._nodes.append(node)
        node.workerinput[_FOLDER] = str(self._folder)
        node.workerinput[STANDING] = is_standing(self._config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Whatever ``--dist`` says, the checks are not split."""
        from pytest_prunegate.session.scheduling import GateScheduling

        return GateScheduling(config, log, dist=config.option.dist, collected=self._collected)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Say where to look meanwhile: a worker has no screen. A signal ends the workers as Ctrl-C does."""
        self._signals.enter_context(StopRequest().listening())
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None and self._config.get_verbosity() >= 0:
            log = self._options.output / "evaluation.log"
            terminal.write_line(f"prunegate: one worker measures; its settings and progress: tail -F {log}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: WorkerController) -> None:
        """Take what a worker sent. A mistake of the user's ends the run here as in one process, and is told once.

        Raises:
            pytest.UsageError: a worker met one.
        """
        if end := _end_of(node):
            if end["mistake"]:
                raise pytest.UsageError(end["mistake"])
            self._closing = Closing.from_json(end["closing"]) if end["closing"] else self._closing
            self._outcomes |= {name: Outcome(outcome) for name, outcome in end["outcomes"].items()}
            self._broke = self._broke or end["broke"]

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A worker that crashed says nothing about a model: an error, even where another worker then judges."""
        if crashitem in self._collected().asking:
            self._broke = True
            report.when = "setup"  # pytest tells errors from failures by the phase
            report.longrepr = f"{report.longrepr}. Every answer so far is kept, and not asked for again."

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Set the exit code, as one process would."""
        tell_junit(self._config, self._closing)
        stopped = bool(session.shouldfail)
        self._interrupted = exitstatus == pytest.ExitCode.INTERRUPTED and not stopped
        wanted = self._collected()
        if stopped and exitstatus == pytest.ExitCode.INTERRUPTED:  # xdist's way to stop at -x
            exitstatus = pytest.ExitCode.TESTS_FAILED
        if wanted.checks and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            ran = Ran(
                status=exitstatus, outcomes=self._outcomes, wanted=wanted.wanted, failed=frozenset(self._failed.found),
                others=len(wanted.names) != session.testscollected, stopped=stopped, broke=self._broke,
            )  # fmt: skip
            session.exitstatus = exit_status(ran, any_is_enough=self._options.require is Require.ANY)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The settings that the worker could not show, and the table of all checks."""
        if self._interrupted:  # xdist listens no longer, and ends its workers; they still wrote what they had
            closings = [end["closing"] for end in map(_end_of, self._nodes) if end and end["closing"]]
            self._closing = Closing.from_json(closings[-1]) if closings else None
        if self._closing is not None:
            show_settings(self._closing, terminalreporter)
            show_closing(self._closing, terminalreporter, interrupted=self._interrupted)
        elif self._broke or self._interrupted:
            what = "was interrupted" if self._interrupted else "crashed, and wrote no report"
            line = f"The worker that measured {what}. Every answer so far is kept: the same command goes on from there."
            terminalreporter.write_line(line, red=True)

    def _collected(self) -> GateItems:
        """What asks the gate; all workers collect the same."""
        for path in sorted(self._folder.glob("*.json")):
            found = json.loads(path.read_text("utf-8"))
            checks = tuple((candidate, tuple(names)) for candidate, names in found["checks"])
            return GateItems(asking=tuple(found["asking"]), checks=checks)
        return GateItems(asking=(), checks=())


def _end_of(node: WorkerController) -> dict[str, Any] | None:
    """What a worker sent when its session finished; None where it did not come to that."""
    text = getattr(node, "workeroutput", {}).get(_END)
    return json.loads(text) if text else None
