"""Watches transformers' loader: which tensors of the files became which parameters.

transformers renames tensors, and stacks, joins or splits them (``transformers.core_model_loading``). What it does is listened
to, and not written down a second time.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch

from transformers import PreTrainedModel, core_model_loading

from pytest_prunegate.checkpoint.layout import Mismatch
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch


class Listener(Protocol):
    """Hears of every tensor that is loaded. Nothing is done for it while a model with names of its own alone is loaded."""

    def read(self, name: str, tensor: torch.Tensor) -> None:
        """A tensor was read that will be changed: under its name in the files, in the dtype and on the device of its parameter."""

    def renamed(self, name: str, parameter: str) -> None:
        """A tensor became a parameter as it is."""

    def changed(self, names: Sequence[str], parameters: Mapping[str, torch.Tensor]) -> None:
        """Tensors of these names were stacked, split, or changed otherwise, and became these parameters."""


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Let a listener hear of whatever is loaded meanwhile."""
    waiting: dict[int, list[tuple[str, Any]]] = {}
    renaming, converter = core_model_loading.WeightRenaming, core_model_loading.WeightConverter
    add, rename, convert = converter.add_tensor, renaming.convert, converter.convert

    def adding(transform: Any, target: str, name: str, pattern: str, coming: Any) -> None:
        waiting.setdefault(id(transform), []).append((name, coming))
        add(transform, target, name, pattern, coming if isinstance(coming, Future) else _heard_when_made(coming, name))

    def _heard_when_made(make: Any, name: str) -> Any:
        def made() -> Any:
            tensor = make()
            if tensor is not None:
                listener.read(name, tensor)
            return tensor

        return made

    def renaming_one(transform: Any, *args: Any, **kwargs: Any) -> Any:
        names = [name for found in transform.layer_targets.values() for name in found]
        result = rename(transform, *args, **kwargs)
        if transform.quantization_operation is None:
            listener.renamed(names[0], next(iter(result)))
        else:
            listener.changed(names, result)
        return result

    def converting(transform: Any, *args: Any, **kwargs: Any) -> Any:
        came = waiting.pop(id(transform), [])
        names = [name for name, _ in came]
        for name, coming in came:
            if isinstance(coming, Future) and (tensor := coming.result()) is not None:
                listener.read(name, tensor)
        came.clear()  # a tensor must not live on through this list while it is stacked with others
        result = convert(transform, *args, **kwargs)
        listener.changed(names, {name: one[0] if isinstance(one, list) else one for name, one in result.items()})
        return result

    with (
        patch.object(converter, "add_tensor", adding),
        patch.object(renaming, "convert", renaming_one),
        patch.object(converter, "convert", converting),
    ):
        yield


@contextmanager
def opening_only(files: Sequence[Path]) -> Iterator[None]:
    """Load models from these weight files and from no others: those that were hashed.

    Raises:
        ModelError: transformers is about to open others.
    """
    usual = PreTrainedModel._load_pretrained_model  # noqa: SLF001 - the one place that all its ways of finding files lead to

    def loading(model: Any, state_dict: Any, found: Sequence[str] | None, *args: Any, **kwargs: Any) -> Any:
        opened = {Path(path).resolve() for path in found or ()}
        odd = sorted(opened ^ {path.resolve() for path in files})
        if odd:
            would = "would load" if odd[0] in opened else "would not load"
            raise ModelError(
                f"{odd[0]}: transformers {would} this file, and the gate's fingerprint says otherwise. Leave one set of weights in the "
                "directory, under the usual name."
            )
        return usual(model, state_dict, found, *args, **kwargs)

    with patch.object(PreTrainedModel, "_load_pretrained_model", staticmethod(loading)):
        yield


def mismatches(told: Mapping[str, Any]) -> tuple[Mismatch, ...]:
    """Parameters whose shapes in the files are not the model's, from what transformers says of a loading."""
    return tuple(
        Mismatch(name=name, stored=tuple(stored), expected=tuple(expected))
        for name, stored, expected in sorted(told["mismatched_keys"])
    )
