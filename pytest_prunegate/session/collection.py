"""pytest's nodes: ThresholdsFile -> TaskCollector -> CheckItem. They decide nothing; the gate does."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_prunegate.gate.candidate_gates import CandidateGates
from pytest_prunegate.plain import one_line, seen_from
from pytest_prunegate.report.ci.junit import PREFIX, properties
from pytest_prunegate.report.screen.failed_check import EMPTY, FEW, MANY, LostAnswer, failed_check
from pytest_prunegate.report.summary.wording import rerun_command, verdict_sentence
from pytest_prunegate.tasks.guarded import warnings_logged
from pytest_prunegate.verdict.answers import changed_documents
from pytest_prunegate.verdict.outcome import LOST, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_prunegate.gate.gate import Gate
    from pytest_prunegate.gate.pair import Pair
    from pytest_prunegate.tasks.answer_texts import Answer
    from pytest_prunegate.tasks.checks import Check, GateTask
    from pytest_prunegate.verdict.answers import ChangedDocument
    from pytest_prunegate.verdict.verdicts import CheckResult


GATES = pytest.StashKey[CandidateGates]()

_LONG_CHOICE = 110  # characters that stand in two lines of the screen
_NOT_IN_MARKS = re.compile(r"[^\w:+.\-\[\]\\/]")  # what pytest's -m expressions do not accept


class CheckFailedError(AssertionError):
    """A check is not within its thresholds, or nobody knows; carries how it ended, and its message has the figures."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(verdict_sentence(result))
        self.result = result


def mark_name(name: str) -> str:
    """A task's name as a mark; a few of lm-eval's names hold characters that ``-m`` does not take."""
    return _NOT_IN_MARKS.sub("_", name).lstrip("_")


def mark_names(task: GateTask) -> list[str]:
    """All marks of a task's items."""
    return list(dict.fromkeys([mark_name(task.name), *task.kind.marks(task), *map(mark_name, task.origins), *task.spec.marks]))  # fmt: skip


def check_name(check: Check, pair: Pair) -> str:
    """The last part of a check's node id: its name, and a named candidate in brackets."""
    pruned = pair.options.pruned
    return one_line(f"{check.name}[{pruned.name}]" if pruned and pruned.name else check.name)


class ThresholdsFile(pytest.File):
    """The collected thresholds file."""

    gates: CandidateGates

    @classmethod
    def from_gates(cls, parent: pytest.Collector, *, gates: CandidateGates, **kwargs: Any) -> ThresholdsFile:
        """Make the node, with the gates that its items ask once they are open."""
        node: ThresholdsFile = cls.from_parent(parent, **kwargs)
        node.gates = gates
        return node

    def collect(self) -> Iterator[TaskCollector]:
        """For each candidate one collector for each selected task; what is about a pruned model alone is left out of a baseline.

        The tasks of several candidates have the same names, so that ``thresholds.yaml::gsm8k`` selects that of each.
        """
        for pair in self.gates.pairs:
            for task in pair.tasks:
                if task.selected and (task.is_of_original or not pair.baseline_only):
                    yield TaskCollector.from_task(self, task=task, pair=pair)


class TaskCollector(pytest.Collector):
    """A task of one candidate; its setup measures once for all of its selected checks."""

    parent: ThresholdsFile
    task: GateTask
    pair: Pair

    @classmethod
    def from_task(cls, parent: ThresholdsFile, *, task: GateTask, pair: Pair) -> TaskCollector:
        """Make the node with the task's marks."""
        node: TaskCollector = cls.from_parent(parent, name=one_line(task.name))
        node.task = task
        node.pair = pair
        for name in mark_names(task):
            node.add_marker(name)
        node.add_marker(pytest.mark.prunegate)
        return node

    @property
    def gate(self) -> Gate:
        """The gate of the candidate, which is open by now."""
        return self.parent.gates.of(self.pair.candidate)

    def collect(self) -> Iterator[CheckItem]:
        """One item for each check."""
        for check in self.task.checks:
            yield CheckItem.from_check(self, check=check)

    def setup(self) -> None:
        """Let both models answer. pytest remembers a failure for each of the items below."""
        if self.config.option.setuponly:  # --setup-plan sets it too; both promise to run nothing
            return
        try:
            with warnings_logged():
                self.gate.measure(self.task.name)
        except Exception as error:
            for item in self.session.items:
                if isinstance(item, CheckItem) and item.parent is self:
                    self.gate.record_error(item.check, error)
                    item.tell_properties()
            raise


class CheckItem(pytest.Item):
    """One check: set up by a comparison, run by asserting its verdict.

    It has what plugins and hooks expect of a test function (`obj`, `funcargs`, `fixturenames`), as pytest's doctests have, and uses no fixture.
    """

    parent: TaskCollector
    check: Check
    check_name: str
    """The last part of the node id."""
    result: CheckResult
    obj: None = None
    fixturenames: tuple[str, ...] = ()

    @classmethod
    def from_check(cls, parent: TaskCollector, *, check: Check) -> CheckItem:
        """Make the node; a named candidate stands behind the check's name, in brackets."""
        node: CheckItem = cls.from_parent(parent, name=check_name(check, parent.pair))
        node.check, node.check_name = check, node.name
        return node

    def show_task(self) -> None:
        """Put the task into the name, which IDEs and reports show without the node id; pytest's own use of it, to select, is over by now."""
        self.name = f"{self.parent.name} {self.check_name}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initrequest()

    def _initrequest(self) -> None:
        """Forget the fixtures' values, of which there are none; plugins that run an item again call it."""
        self.funcargs: dict[str, object] = {}

    @property
    def function(self) -> Callable[[], None]:
        """What is run."""
        return self.runtest

    @property
    def gate(self) -> Gate:
        """The gate of the candidate, which is open by now."""
        return self.parent.gate

    @property
    def candidate(self) -> str | None:
        """The pruned model's name, where it is one of several."""
        return self.parent.pair.candidate

    def setup(self) -> None:
        """Compare; what broke is an error, not a failure."""
        if self.config.option.setuponly:
            return
        try:
            with warnings_logged():
                self.result = self.gate.judge(self.check)
        finally:
            self.tell_properties()

    def tell_properties(self) -> None:
        """Put what is known of the check into its JUnit properties, however it ended."""
        result = self.gate.results.get(self.check)
        others = [one for one in self.user_properties if not one[0].startswith(PREFIX)]
        self.user_properties[:] = [*others, *(properties(result) if result else ())]  # an item may be set up again

    def runtest(self) -> None:
        """Assert the verdict.

        Raises:
            CheckFailedError: the pruned model lost more than its threshold allows, or the documents do not decide it.
        """
        if self.result.outcome in {Outcome.FAIL, Outcome.INCONCLUSIVE}:
            raise CheckFailedError(self.result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The verdict in words, and how to run the item alone; no traceback."""
        if not isinstance(excinfo.value, CheckFailedError):
            return super().repr_failure(excinfo, style)
        from pytest_prunegate.report.summary.file_names import FileNames

        result, is_long = excinfo.value.result, self.config.getoption("verbose", 0) > 1
        folder = self.config.invocation_params.dir  # a node id would be relative to rootdir, where nobody stands
        names = FileNames(self.gate.candidate)
        file, report = (
            seen_from(folder, path) for path in (self.path, self.gate.options.output / names.comparisons[-1])
        )
        return failed_check(
            result, self._lost(result, in_full=is_long), name=self.check_name, path=str(self.path),
            rest=f"{report}, {names.changed} beside it",
            command=rerun_command(self.gate.options.given, f"{file}::{self.check.task}::{self.check_name}"),
            in_full=is_long, is_one_line=self.config.getoption("tbstyle", "auto") == "line",
        )  # fmt: skip

    def _lost(self, result: CheckResult, *, in_full: bool) -> list[LostAnswer]:
        """The largest losses of the check, in words."""
        measured = self.gate.measurements.get(self.check.task)
        if not measured or not result.comparison or not result.comparison.lost:
            return []
        changed = changed_documents(self.parent.task, self.check, measured, comparison=result.comparison)
        lost = [document for document in changed if document.change == LOST][: MANY if in_full else FEW]
        return [_in_words(document, in_full=in_full) for document in lost]

    def reportinfo(self) -> tuple[Any, int, str]:
        """File, line (from 0) and name, for pytest's reports."""
        return self.path, max(self.check.line - 1, 0), f"{self.check.task}::{self.check_name}"


def _in_words(document: ChangedDocument, *, in_full: bool) -> LostAnswer:
    texts = document.texts()
    original, pruned = (_answer(answer, in_full=in_full) for answer in (texts.original, texts.pruned))
    place = f"document {document.doc_id}"
    return LostAnswer(
        document=f"{document.member} {place}" if document.member else place, question=texts.prompt,
        gold=_beginning(texts.gold) if texts.original.is_choice and not in_full else texts.gold, original=original, pruned=pruned,
    )  # fmt: skip


def _answer(answer: Answer, *, in_full: bool) -> str:
    """A text with its note. Of a long choice its beginning alone: behind it the note names the other choices, which read as if it ended in them."""
    text = answer.text if answer.text.strip() else EMPTY
    if answer.is_choice and not in_full and len(text) + len(answer.note) > _LONG_CHOICE:
        return _beginning(text)
    return f"{text} ({answer.note})" if answer.note else text


def _beginning(text: str) -> str:
    return text if len(text) <= _LONG_CHOICE else f"{text[:_LONG_CHOICE]} ..."


def unknown_names(arguments: Sequence[str], file: str, pairs: Sequence[Pair]) -> Iterator[str]:
    """What is wrong with ``thresholds.yaml::task::check`` where there is no such task or check, with the nearest names.

    Args:
        arguments: pytest's.
        file: the name of the thresholds file.
        pairs: with the tasks that the file has.
    """
    known: dict[str, list[str]] = {}
    for pair in pairs:
        for task in pair.tasks:
            known.setdefault(one_line(task.name), []).extend(check_name(check, pair) for check in task.checks)
    for argument in arguments:
        path, *names = argument.split("::", 2)
        if re.split(r"[/\\]", path)[-1] != file or not names:
            continue
        asked, *checks = names
        if asked not in known:
            yield f"{file} has no task {asked}. {_nearest(asked, list(known))}"
        elif checks and checks[0] not in known[asked]:
            yield f"{file}: {asked} has no check {checks[0]}. {_nearest(checks[0], known[asked])}"


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known)
    return f"Did you mean {' or '.join(near)}?" if near else f"It has: {', '.join(known)}."


def wanted_checks(items: Iterable[pytest.Item]) -> dict[str | None, list[str]]:
    """The node ids of the checks among some items, by candidate."""
    found: dict[str | None, list[str]] = {}
    for item in items:
        if isinstance(item, CheckItem):
            found.setdefault(item.candidate, []).append(item.nodeid)
    return found


def outcomes_of(items: Iterable[pytest.Item]) -> dict[str, Outcome]:
    """How the checks among some items ended, as far as they ran, by node id."""
    checks = [item for item in items if isinstance(item, CheckItem)]
    found = {item.nodeid: item.parent.parent.gates.result(item.candidate, item.check) for item in checks}
    return {name: result.outcome for name, result in found.items() if result}


def asks_the_gate(item: pytest.Item) -> bool:
    """Whether an item is a check, or a test that uses one of the fixtures."""
    uses_fixture = {"prunegate", "prunegate_session", "prunegate_check"} & set(getattr(item, "fixturenames", ()))
    return isinstance(item, CheckItem) or bool(uses_fixture)


@dataclass(frozen=True, kw_only=True)
class GateItems:
    """Names of the collected items that ask the gate, and of those among them that are checks, with their candidates."""

    asking: tuple[str, ...]
    checks: tuple[tuple[str | None, tuple[str, ...]], ...]

    @property
    def wanted(self) -> dict[str | None, tuple[str, ...]]:
        """The checks by candidate."""
        return dict(self.checks)

    @property
    def names(self) -> tuple[str, ...]:
        """The checks of all candidates."""
        return tuple(name for _, names in self.checks for name in names)
