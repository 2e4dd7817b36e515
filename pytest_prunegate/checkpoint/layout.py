"""Where a checkpoint's tensors go in the model that its configuration describes, what each is there, and how they do not fit.

The records alone: they are made by transformers' own loader (``execution/meta_model.py``), which needs torch, and are remembered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
    from pytest_prunegate.checkpoint.structure import TensorCounts


class Role(StrEnum):
    """What a tensor is to the model."""

    LINEAR = "linear"  # matrices that the model multiplies with, those of experts included
    ROUTER = "router"  # matrices that choose experts
    OTHER = "other"  # embeddings, the output head, norms, biases, convolutions along the sequence, buffers


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a tensor of the files goes: its role, and the layer of the decoder; None for what is in none."""

    role: Role
    layer: int | None


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A parameter whose shape in the files is not the model's."""

    name: str
    stored: tuple[int, ...]
    expected: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A checkpoint's tensors in the model.

    Attributes:
        architecture: name of the model's class.
        places: of each tensor that the model takes.
        unused: tensors that it does not take.
        ignored: tensors that it does not take and computes itself, by transformers' own list (rotary frequencies, position ids).
        missing: parameters that no tensor fills.
        mismatched: parameters whose shapes differ.
        tied: names of tensors that are one parameter in the model, for each such parameter.
        layers: of the decoder; 0 where it has none.
        linear: elements of the model's matrices, each parameter once.
        router: the same for its routers.
    """

    architecture: str
    places: Mapping[str, Place]
    unused: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    tied: tuple[tuple[str, ...], ...] = ()
    layers: int = 0
    linear: int = 0
    router: int = 0

    def again(self) -> frozenset[str]:
        """Tensors that are another one's parameter once more."""
        return frozenset(name for group in self.tied for name in group[1:])


class Inspector(Protocol):
    """What of a checkpoint takes torch to be told. Reading files alone imports none of it."""

    def layout_of(self, folder: Path, tensors: Sequence[TensorInfo], arguments: Mapping[str, Any]) -> Layout | str:
        """The layout of a checkpoint, or why it cannot be told.

        Args:
            folder: of the checkpoint.
            tensors: of its weight files.
            arguments: of the side, with which transformers loads it.
        """

    def unpickled(self, files: Sequence[Path], digest: str) -> Counted | str:
        """The tensors of pickled weights, or why they cannot be told.

        Args:
            files: of the weights.
            digest: of what is in them.
        """

    def unpacked(self, files: Sequence[Path], declared: Mapping[str, Any], digest: str) -> Counted | str:
        """The tensors of packed weights as the matrices that they stand for, or why they cannot be told.

        Args:
            files: of the weights.
            declared: the ``quantization_config``.
            digest: of what is in the files.
        """

    def merged(self, adapter: Path, base: ModelParts, digest: str) -> Mapping[str, TensorCounts] | str:
        """What is counted in the base's matrices that an adapter changes, by name, after it is merged into them; or why that cannot be told.

        Args:
            adapter: its folder.
            base: what it is put on.
            digest: of both.
        """


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Tensors, and what was counted in each of them; None where its bytes do not tell it."""

    tensors: tuple[TensorInfo, ...]
    counts: tuple[TensorCounts | None, ...]


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """A base as an adapter meets it."""

    folder: Path
    files: tuple[Path, ...]
    arguments: Mapping[str, Any]


class NoInspector:
    """Where nothing that takes torch is looked at."""

    _REASON = "the model was not built"

    def layout_of(self, folder: Path, tensors: Sequence[TensorInfo], arguments: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Nothing is told."""
        return self._REASON

    def unpickled(self, files: Sequence[Path], digest: str) -> str:  # noqa: ARG002
        """Nothing is told."""
        return self._REASON

    def unpacked(self, files: Sequence[Path], declared: Mapping[str, Any], digest: str) -> str:  # noqa: ARG002
        """Nothing is told."""
        return self._REASON

    def merged(self, adapter: Path, base: ModelParts, digest: str) -> str:  # noqa: ARG002
        """Nothing is told."""
        return self._REASON


_NAMED = 3
_MASK = re.compile(r"(^|[._])(binary_)?mask$")
_MASKED = re.compile(r"\.\w+_orig$")  # torch.nn.utils.prune keeps the dense weight under this name
# What wraps a model, by what it puts before or into the names of its tensors, and how it is taken off again.
_WRAPPERS = (
    ("_orig_mod.", "torch.compile", "save the model itself: `model._orig_mod.save_pretrained(...)`"),
    ("base_model.model.", "PEFT", "merge the adapter: `model.merge_and_unload().save_pretrained(...)`"),
    (".base_layer.", "PEFT", "merge the adapter: `model.merge_and_unload().save_pretrained(...)`"),
    ("_fsdp_wrapped_module.", "FSDP", "save the full state dict of the module inside"),
    ("_checkpoint_wrapped_module.", "activation checkpointing", "save the module inside"),
    ("module.", "DistributedDataParallel", "save the module inside: `model.module.save_pretrained(...)`"),
)
_UNMASK = (
    "The model would be judged as if it were not pruned. Multiply them into the weights before saving: "
    "`torch.nn.utils.prune.remove(module, name)`, NNCF's `nncf.strip(model)`, or modelopt's export of its model."
)


def refuse_misfit(folder: Path, layout: Layout, torn: Iterable[tuple[str, ...]]) -> None:
    """See that the files hold what the model takes, and nothing else.

    Args:
        folder: of the checkpoint.
        layout: where its tensors go.
        torn: names of tensors that are one parameter in the model, and differ in the files.

    Raises:
        ModelError: they do not fit; it names the tensors, and both shapes where those differ.
    """
    problems = [*_unused(layout), *_missing(layout), *_mismatched(layout.mismatched), *_torn(torn)]
    if problems:
        raise ModelError(
            f"{folder}: the weights do not fit the model that config.json describes ({layout.architecture}): {' '.join(problems)}"
        )


def refuse_not_finite(where: Path, counted: Counted, layout: Layout | None = None) -> None:
    """See that every weight is a number: one that is not makes all that the model says worthless.

    Args:
        where: the folder or file that they are in.
        counted: the tensors of the files.
        layout: what of them the model takes; None for all.

    Raises:
        ModelError: parameters hold infinite or no numbers; it names them, and how many.
    """
    found = [
        f"{tensor.name} ({counts.not_finite:,} of {tensor.elements:,})"
        for tensor, counts in zip(counted.tensors, counted.counts, strict=True)
        if counts is not None and counts.not_finite and (layout is None or tensor.name in layout.places)
    ]
    if found:
        raise ModelError(
            f"{where}: weights are NaN or infinite: {named(found)}. The model diverged, or its numbers do not fit the dtype that it was "
            "saved in: take an earlier checkpoint, or save it again in bfloat16 or float32."
        )


def _unused(layout: Layout) -> Iterator[str]:
    left = list(layout.unused)
    masks = [name for name in left if _MASK.search(name) or _MASKED.search(name)]
    if masks:
        yield f"it has no place for the masks of a pruner: {named(masks)}. {_UNMASK}"
        left = [name for name in left if name not in masks]
    for mark, who, advice in _WRAPPERS:
        wrapped = [
            name
            for name in left
            if name.startswith(mark) or (mark.startswith(".") and mark in name) or f".{mark}" in name
        ]
        if wrapped:
            yield f"{named(wrapped)} {_bear(wrapped)} a name that {who} gives (`{mark.strip('.')}`): {advice}."
            left = [name for name in left if name not in wrapped]
    if left:
        layers = f" It has {layout.layers} layers." if layout.layers else ""
        yield (
            f"it has no place for {named(left)}, which it would be loaded without.{layers} Correct config.json, or take them out of the files."
        )


def _bear(names: Sequence[str]) -> str:
    return "bears" if len(names) == 1 else "bear"


def _missing(layout: Layout) -> Iterator[str]:
    if layout.missing:
        yield (
            f"the files lack {named(layout.missing)}, and transformers would fill in random numbers. Save the whole model."
        )


def _mismatched(mismatched: Sequence[Mismatch]) -> Iterator[str]:
    if mismatched:
        shapes = [
            f"{one.name} is {list(one.stored)} in the files, {list(one.expected)} in the model" for one in mismatched
        ]
        yield (
            f"shapes differ: {named(shapes, '; ')}. Write the sizes that the pruner left into config.json (such as intermediate_size); where "
            "they differ from layer to layer, name a function that makes the model and its tokenizer: --pruned=my_module:load_model."
        )


def _torn(torn: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for names in torn:
        yield (
            f"the configuration ties {' and '.join(names)}, and they differ in the files: one of them would be ignored. Set "
            "tie_word_embeddings to false in config.json, or save the model with both the same."
        )


def named(names: Sequence[str], between: str = ", ") -> str:
    """The first few of several names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{between.join(names[:_NAMED])}{more}"
