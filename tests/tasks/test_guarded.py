"""What foreign code raised, in a sentence."""

from __future__ import annotations

import pytest

from pytest_prunegate.errors import TaskError
from pytest_prunegate.tasks.guarded import causes, guarded, reason_of


def test_the_cause_at_the_start_of_the_chain_is_told() -> None:
    error = RuntimeError("An error occurred while generating the dataset")
    error.__cause__ = ValueError("conversion failed")
    error.__cause__.__cause__ = TypeError("column answer: string in one file, int64 in another")

    def load() -> None:
        raise error

    with pytest.raises(TaskError) as raised:
        guarded(load, "mine: no data: {reason}. Check it.")
    assert str(raised.value) == (
        "mine: no data: RuntimeError: An error occurred while generating the dataset (caused by TypeError: column answer: string in one file, "
        "int64 in another). Check it."
    )


def test_a_message_of_several_lines_is_whole() -> None:
    error = ValueError("Couldn't instantiate the tokenizer from one of:\n(1) a file\n(2) a slow tokenizer.\n")
    assert (
        reason_of(error)
        == "ValueError: Couldn't instantiate the tokenizer from one of: (1) a file (2) a slow tokenizer"
    )


def test_a_message_without_end_is_cut_between_words() -> None:
    reason = reason_of(RuntimeError("size mismatch " * 1000))
    assert len(reason) < 600
    assert reason.endswith((" size ...", " mismatch ..."))


def test_an_exception_without_a_message_says_what_was_run() -> None:
    def run(count: int) -> None:
        if count != 1:
            raise AssertionError

    with pytest.raises(AssertionError) as raised:
        run(2)
    reason = reason_of(raised.value)
    assert reason.startswith("AssertionError in test_guarded.py, line ")
    assert reason.endswith(": raise AssertionError")
    assert reason_of(KeyError()) == "KeyError: no reason given"


def test_what_was_only_being_handled_is_no_cause() -> None:
    error = ValueError("the file is empty")
    error.__context__ = KeyError("cache")
    assert reason_of(error) == "ValueError: the file is empty"


def test_an_exception_that_was_raised_from_itself_is_told_once() -> None:
    error = ValueError("the file is empty")
    error.__cause__ = error
    assert reason_of(error) == "ValueError: the file is empty"


def test_causes_end_where_they_go_round_in_a_circle() -> None:
    first, second = ValueError("first"), ExceptionGroup("both", [KeyError("inner")])
    first.__cause__, second.__cause__ = second, first
    assert [type(one) for one in causes(first)] == [ValueError, ExceptionGroup, KeyError]
