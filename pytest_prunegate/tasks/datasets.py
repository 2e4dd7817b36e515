"""A task's own data in place of the hub's: what ``dataset:`` in thresholds.yaml says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_prunegate.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class _Splits(dict[str, Any]):
    """A data set's splits. A split that is only for examples may be missing where no example is drawn."""

    def __init__(
        self, splits: Mapping[str, Any], *, task: str, example_splits: Collection[str], num_fewshot: int
    ) -> None:
        super().__init__(splits)
        self._task = task
        self._example_splits = example_splits
        self._num_fewshot = num_fewshot

    def __missing__(self, split: str) -> Any:
        if split in self._example_splits and self._num_fewshot == 0:
            return next(iter(self.values()))  # lm-eval looks at it, and draws nothing from it
        purpose = f" for its {self._num_fewshot} examples" if split in self._example_splits else ""
        raise TaskError(
            f"{self._task}: the task needs the split {split!r}{purpose}; "
            f"its `dataset` in the thresholds file has {', '.join(self)}. Add {split} to data_files."
        )


def with_local_data(
    task_class: type[Any],
    dataset: Mapping[str, Any],
    *,
    task: str,
    config: Mapping[str, Any],
    num_fewshot: int,
) -> type[Any]:
    """The task class with another download.

    A subclass serves tasks from YAML and tasks written in Python alike; the latter ignore a changed configuration.

    Args:
        task_class: lm-eval's class of the task.
        dataset: arguments of ``datasets.load_dataset``.
        task: its name, for messages.
        config: the task's YAML, for the names of its splits.
        num_fewshot: how many examples a prompt will have.

    Raises:
        TaskError: from the class's construction: a split that is needed is missing.
    """
    evaluated = {config.get("test_split") or config.get("validation_split")}
    named = {"train", config.get("training_split"), config.get("fewshot_split")} - evaluated
    examples = {str(split) for split in named if split}

    class LocalData(task_class):  # type: ignore[misc]  # the base is known at run time only
        def download(self, *_args: Any, **_kwargs: Any) -> None:
            from datasets import load_dataset

            loaded = load_dataset(**dataset)
            self.dataset = _Splits(loaded, task=task, example_splits=examples, num_fewshot=num_fewshot)

    return LocalData
