"""Which requests run together, and how a batch's size follows memory."""

from __future__ import annotations

import pytest

from pytest_prunegate.execution import batch_runner as batches
from pytest_prunegate.execution import devices
from pytest_prunegate.execution.batch_runner import (
    BatchSize,
    MemoryBound,
    first_batch,
    groups_of,
    in_groups,
    length_of,
    work_of,
)
from pytest_prunegate.execution.devices import available_memory
from pytest_prunegate.tasks.requests import Request


def asked(context: str, continuation: str) -> Request:
    return Request(kind="loglikelihood", context=context, continuation=continuation)


def generating(context: str, tokens: int = 8) -> Request:
    return Request(kind="generate_until", context=context, gen_kwargs=f'{{"max_gen_toks":{tokens}}}')


def test_choices_on_one_context_stay_together_and_the_longest_come_first() -> None:
    requests = [asked("short", "yes"), asked("much longer", "yes"), asked("short", "no"), asked("much longer", "no")]
    groups = groups_of(requests)
    assert groups == [(requests[1], requests[3]), (requests[0], requests[2])]


def test_the_time_of_choices_is_that_of_the_longest_of_each_question() -> None:
    """They are answered together: whoever counts each of them expects four times as long for four choices."""
    requests = [asked("short", "yes"), asked("much longer", "yes"), asked("short", "no"), asked("much longer", "no")]
    assert [group[0].context for group in in_groups(requests)] == ["short", "much longer"]
    assert work_of(requests) == len("shortyes") + len("much longeryes")


def test_the_order_does_not_depend_on_what_is_answered_already() -> None:
    requests = [generating(letter * length) for letter, length in zip("abcdef", (3, 9, 3, 7, 9, 1), strict=True)]
    order = [group[0] for group in groups_of(requests)]
    rest = [group[0] for group in groups_of(requests[::2])]
    assert rest == [request for request in order if request in requests[::2]]


def test_a_batch_has_one_set_of_generation_arguments() -> None:
    groups = groups_of([generating("a", 8), generating("bb", 8), generating("c", 4)])
    assert {request.gen_kwargs for group in first_batch(groups, 3) for request in group} == {groups[0][0].gen_kwargs}
    assert len(first_batch(groups, 1)) == 1


def test_a_generation_takes_room_for_what_it_will_say() -> None:
    assert length_of((generating("a", 100),)) > length_of((generating("a" * 50, 8),))


class TestBatchSize:
    def test_halves_down_to_one_and_no_further(self) -> None:
        size = BatchSize(6)
        found = []
        while size.ran_out(size.now):
            found.append(size.now)
        assert found == [3, 1]

    def test_grows_again_after_a_while_up_to_what_was_asked(self) -> None:
        size = BatchSize(6)
        size.ran_out(6)
        seen = set()
        for _ in range(40):
            size.worked()
            seen.add(size.now)
        assert seen == {3, 6}

    def test_waits_longer_each_time_that_growing_failed(self) -> None:
        size, waits = BatchSize(2), []
        for _ in range(3):
            assert size.ran_out(2)
            batches = 0
            while size.now == 1:
                size.worked()
                batches += 1
            waits.append(batches)
        assert waits == [waits[0], 2 * waits[0], 4 * waits[0]]


class TestMemoryBound:
    @pytest.fixture
    def bound(self, monkeypatch: pytest.MonkeyPatch) -> MemoryBound:
        self.resident, self.free = 1000, 8000
        monkeypatch.setattr(MemoryBound, "_resident", lambda _self: self.resident)
        monkeypatch.setattr(batches, "available_memory", lambda: self.free)
        return MemoryBound()

    def take(self, bound: MemoryBound, requests: int, taken: int) -> None:
        with bound.measured(requests, length=10):
            self.resident += taken
        self.resident -= taken

    def test_the_first_batch_is_one_request(self, bound: MemoryBound) -> None:
        assert bound.most(64, length=10) == 1

    def test_as_many_as_fit_into_what_is_free(self, bound: MemoryBound) -> None:
        self.take(bound, 1, 100)  # 10 bytes for each character of a request
        assert bound.most(1000, length=10) == 64  # 80% of 8,000 bytes
        assert bound.most(1000, length=20) == 32
        assert bound.most(5, length=10) == 5, "never more than was asked for"
        self.free = 10
        assert bound.most(1000, length=10) == 1, "never less than one"

    def test_the_dearest_batch_counts(self, bound: MemoryBound) -> None:
        self.take(bound, 1, 100)
        self.take(bound, 10, 4000)
        self.take(bound, 10, 0)
        assert bound.most(1000, length=10) == 16

    def test_memory_that_the_process_keeps_counts_as_free(self, bound: MemoryBound) -> None:
        self.take(bound, 1, 100)
        self.resident, self.free = 5000, 4000
        assert bound.most(1000, length=10) == 64


def test_a_containers_limit_counts_where_it_is_nearer(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    monkeypatch.setattr(devices, "_CGROUP", folder)
    machine = available_memory()
    (folder / "memory.max").write_text("1000000\n")
    (folder / "memory.current").write_text("900000\n")
    (folder / "memory.stat").write_text("anon 700000\ninactive_file 200000\n")
    assert available_memory() == 300_000, "the page cache gives way"
    (folder / "memory.max").write_text("max\n")
    assert available_memory() == pytest.approx(machine, rel=0.5)
