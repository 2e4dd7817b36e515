"""Which worker of pytest-xdist runs what: everything that asks the gate runs on one, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from xdist.workermanage import WorkerController

    from pytest_prunegate.session.collection import GateItems

_GATE = "prunegate"
_SCOPES: dict[str, Callable[[str], str]] = {
    "loadscope": lambda nodeid: nodeid.rsplit("::", 1)[0],
    "loadfile": lambda nodeid: nodeid.split("::", 1)[0],
    "loadgroup": lambda nodeid: nodeid.rpartition("@")[2] if nodeid.rfind("@") > nodeid.rfind("]") else nodeid,
}


class GateScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist publishes no types
    """Keeps the gate's items together on one worker; all others are distributed by ``--dist``.

    Args:
        config: pytest's.
        log: xdist's.
        dist: what ``--dist`` says.
        collected: the items that ask the gate, once a worker has collected.
    """

    def __init__(self, config: pytest.Config, log: Any, *, dist: str, collected: Callable[[], GateItems]) -> None:
        super().__init__(config, log)
        self._scope_of: Callable[[str], str] = _SCOPES.get(dist, lambda nodeid: nodeid)
        self._collected = collected
        self._gate_scopes: frozenset[str] = frozenset()
        self._has_crashed = False

    def schedule(self) -> None:
        """Distribute, now that every worker has collected."""
        self._gate_scopes = frozenset(map(self._scope_of, self._collected().asking))
        super().schedule()

    def remove_node(self, node: WorkerController) -> str | None:
        """Give what a worker that crashed left to another one.

        The checks are judged anew there: the verdicts went with it, the answers are kept. Once: what crashed twice would
        again, and loading models that do not fit until xdist gives up may take the machine with it.
        """
        work = self.assigned_work[node]
        crashed: str | None = next((name for unit in work.values() for name, done in unit.items() if not done), None)
        unit = work.get(_GATE, {})
        if crashed is not None and unit:
            again = unit.keys() & set(self._collected().names)
            unit.update(dict.fromkeys(unit, True) if self._has_crashed else dict.fromkeys(again, False))
            self._has_crashed = True
        super().remove_node(node)
        return crashed

    def mark_test_pending(self, item: str) -> None:
        """Nothing to do: what was not complete on a worker that crashed is distributed again anyway."""

    def _split_scope(self, nodeid: str) -> str:
        scope = self._scope_of(nodeid)
        return _GATE if scope in self._gate_scopes else scope

    def _assign_work_unit(self, node: WorkerController) -> None:
        if _GATE in self.workqueue:  # what takes longest starts first
            self.workqueue.move_to_end(_GATE, last=False)
        super()._assign_work_unit(node)
