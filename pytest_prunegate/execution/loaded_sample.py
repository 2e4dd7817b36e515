"""A second opinion on a loaded model: a sample of every tensor against the bytes of the files, and of every parameter at the end.

What the loader read has to be what the files hold, after the change of dtype; and what it made of it has to be what the model holds
when everything is in place. transformers renames tensors, and stacks, joins or splits them (``transformers.core_model_loading``): what it
does is listened to, and not written down a second time.
"""

from __future__ import annotations

import os
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from unittest.mock import patch

import torch
import xxhash
from transformers import PreTrainedModel, core_model_loading

from pytest_prunegate.checkpoint.layout import Mismatch, named
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.held_tensors import TORCH_DTYPES, load_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


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
            listener.renamed(names[0], next(iter(_first(result))))
        else:
            listener.changed(names, _first(result))
        return result

    def converting(transform: Any, *args: Any, **kwargs: Any) -> Any:
        came = waiting.pop(id(transform), [])
        names = [name for name, _ in came]
        for name, coming in came:
            if isinstance(coming, Future) and (tensor := coming.result()) is not None:
                listener.read(name, tensor)
        came.clear()  # a tensor must not live on through this list while it is stacked with others
        result = convert(transform, *args, **kwargs)
        listener.changed(
            names, {name: one[0] if isinstance(one, list) else one for name, one in _first(result).items()}
        )
        return result

    with (
        patch.object(converter, "add_tensor", adding),
        patch.object(renaming, "convert", renaming_one),
        patch.object(converter, "convert", converting),
    ):
        yield


def _first(result: Any) -> Any:
    """What a step of transformers made, without what its version returns beside it."""
    return result[0] if isinstance(result, tuple) else result


@contextmanager
def opening_only(files: Sequence[Path]) -> Iterator[None]:
    """Load models from these weight files and from no others: those that were hashed.

    Raises:
        ModelError: transformers is about to open others, or tensors of the files do not fit together; it would only point to its log.
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
        result = usual(model, state_dict, found, *args, **kwargs)
        _refuse_unconverted(_first(result))
        return result

    with patch.object(PreTrainedModel, "_load_pretrained_model", staticmethod(loading)):
        yield


def _refuse_unconverted(told: Any) -> None:
    """See that all tensors could be stacked, split or renamed into parameters."""
    if failed := getattr(told, "conversion_errors", None):
        reasons = (" ".join(text.strip().splitlines()[-2:]) for text in map(str, failed.values()))
        lines = "\n".join(f"  {name}: {reason}" for name, reason in sorted(zip(failed, reasons, strict=True)))
        raise ModelError(f"tensors of the files do not fit together into parameters of the model:\n{lines}")


def mismatches(told: Mapping[str, Any]) -> tuple[Mismatch, ...]:
    """Parameters whose shapes in the files are not the model's, from what transformers says of a loading."""
    return tuple(
        Mismatch(name=name, stored=tuple(stored), expected=tuple(expected))
        for name, stored, expected in sorted(told["mismatched_keys"])
    )


_ELEMENTS = 32  # of each tensor: one page of the file


@dataclass(frozen=True)
class _Piece:
    """Elements of a tensor; `shape` and `dtype` are the whole tensor's."""

    shape: torch.Size
    dtype: torch.dtype
    elements: torch.Tensor


class LoadedSample:
    """Listens to a model being loaded, and keeps a few elements of whatever is not loaded as it is."""

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}
        self._read: dict[str, _Piece] = {}
        self._made: dict[str, _Piece] = {}

    def read(self, name: str, tensor: torch.Tensor) -> None:
        """Keep a sample of a tensor that will be changed."""
        if not tensor.is_meta:
            self._read[name] = _piece(name, tensor)

    def renamed(self, name: str, parameter: str) -> None:
        """Keep which parameter a tensor became."""
        self._renamed[parameter] = name

    def changed(self, names: Sequence[str], parameters: Mapping[str, torch.Tensor]) -> None:  # noqa: ARG002
        """Keep a sample of each parameter as the loader made it."""
        for name, tensor in parameters.items():
            if not tensor.is_meta:
                self._made[name] = _piece(name, tensor)

    def compare(self, folder: Path, files: Sequence[Path], model: Any) -> int:
        """Compare with the files, and with the model as it is now.

        Args:
            folder: of the checkpoint, for messages.
            files: its weights.
            model: transformers'.

        Returns:
            How many of the model's tensors could not be compared, because another loader, a quantiser, a tensor parallel plan or an
            offload to disk made something else of them.

        Raises:
            ModelError: an element differs; it names the tensors.
        """
        with torch.no_grad():
            return self._compare(folder, files, model)

    def _compare(self, folder: Path, files: Sequence[Path], model: Any) -> int:
        every = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
        state = {name: one for name, one in every if not one.is_meta}
        loaded = {name: state[parameter] for parameter, name in self._renamed.items() if parameter in state}
        sizes = {name: tensor.numel() for name, tensor in loaded.items()} | {
            name: one.shape.numel() for name, one in self._read.items()
        }
        held = _from_files(files, sizes)
        checked = {name: _sample(name, tensor) for name, tensor in loaded.items() if name in held}
        checked |= {name: piece.elements for name, piece in self._read.items() if name in held}
        if odd := _different(checked, held):
            raise ModelError(
                f"{folder}: what was loaded is not what the files hold: {named(odd)}. Either they changed while they were read, or transformers "
                "read other files, or the configuration ties parameters that differ in the files (tie_word_embeddings). Correct that, and let "
                "nothing write to the checkpoint."
            )
        kept = {
            name: piece.elements for name, piece in self._made.items()
            if name in state and (state[name].shape, state[name].dtype) == (piece.shape, piece.dtype)
        }  # fmt: skip
        if odd := _different(kept, {name: _sample(name, state[name]) for name in kept}):
            raise ModelError(
                f"{folder}: {named(odd)} changed after they were loaded, so that the model is not the one in the files."
            )
        if not self._renamed and not self._made:  # another loader's
            return len(state)
        verified = {parameter for parameter, name in self._renamed.items() if name in checked} | set(kept)
        return len(set(self._renamed) - verified) + len(set(self._made) - verified)


def _different(pieces: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of those whose elements are not the others' in their dtype, NaN being like NaN. One transfer for each device and dtypes."""
    groups: dict[tuple[torch.device, torch.dtype, torch.dtype], list[str]] = {}
    for name, piece in pieces.items():
        groups.setdefault((piece.device, piece.dtype, others[name].dtype), []).append(name)
    odd: list[str] = []
    for (_, dtype, _), names in groups.items():
        here = _plain(torch.cat([pieces[name] for name in names]).cpu())
        there = _plain(torch.cat([others[name] for name in names]).cpu().to(dtype))
        if not torch.equal(here, there):
            sizes = [pieces[name].numel() for name in names]
            equal = ((here == there) | ((here != here) & (there != there))).split(sizes)  # noqa: PLR0124
            odd += [name for name, alike in zip(names, equal, strict=True) if not bool(alike.all())]
    return sorted(odd)


def _piece(name: str, tensor: torch.Tensor) -> _Piece:
    return _Piece(tensor.shape, tensor.dtype, _sample(name, tensor).clone())


def _sample(name: str, tensor: torch.Tensor) -> torch.Tensor:
    elements = tensor.numel()
    start = _start(name, elements)
    if tensor.is_contiguous():  # one step in place of three, for hundreds of tensors
        return tensor.as_strided((min(_ELEMENTS, elements),), (1,), tensor.storage_offset() + start)
    return tensor.detach().reshape(-1)[start : start + _ELEMENTS]


def _start(name: str, elements: int) -> int:
    """Where a tensor is looked at: the same place for the same name and size."""
    return xxhash.xxh3_64_intdigest(name.encode()) % max(elements - _ELEMENTS + 1, 1)


def _plain(elements: torch.Tensor) -> torch.Tensor:
    """Elements that can be compared: the floating point numbers of one byte by their bits."""
    return elements.view(torch.uint8) if elements.dtype.itemsize == 1 else elements


def _from_files(files: Iterable[Path], sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Elements of tensors in the files, in their dtypes there, where they are as large as `sizes` says."""
    found: dict[str, torch.Tensor] = {}
    for path in files:
        if path.suffix == ".safetensors":
            found |= _of_safetensors(path, sizes)
        else:
            found |= {
                name: _sample(name, one) for name, one in load_tensors([path]).items() if sizes.get(name) == one.numel()
            }
    return found


def _of_safetensors(path: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, torch.Tensor]]:
    pieces: dict[torch.dtype, list[tuple[str, bytes]]] = {}
    with path.open("rb") as file:
        for stored in read_header(path):
            elements, dtype = sizes.get(stored.name), TORCH_DTYPES.get(stored.dtype)
            if dtype is None or not elements or elements != stored.elements:
                continue
            place = stored.start + _start(stored.name, elements) * dtype.itemsize
            held = os.pread(file.fileno(), min(_ELEMENTS, elements) * dtype.itemsize, place)
            pieces.setdefault(dtype, []).append((stored.name, held))
    for dtype, found in pieces.items():  # one tensor for all: hundreds of small ones take their time
        together = torch.frombuffer(bytearray(b"".join(held for _, held in found)), dtype=dtype)
        parts = together.split([len(held) // dtype.itemsize for _, held in found])
        yield from zip((name for name, _ in found), parts, strict=True)
