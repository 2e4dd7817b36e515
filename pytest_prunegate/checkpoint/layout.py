"""Where a checkpoint's tensors go in the model that its configuration describes, and what each of them is there.

The records alone: they are made by transformers' own loader (``execution/meta_model.py``), which needs torch, and are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo


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

    def merged(self, adapter: Path, base: ModelParts, digest: str) -> tuple[MergedZeros, ...] | str:
        """Zeros of the base's matrices that an adapter changes, before and after it is merged into them; or why they cannot be told.

        Args:
            adapter: its folder.
            base: what it is put on.
            digest: of both.
        """


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Tensors, and the zeros in each of them; None where its bytes do not tell them."""

    tensors: tuple[TensorInfo, ...]
    zeros: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class MergedZeros:
    """Zeros of a matrix of a base, alone and with an adapter merged into it, and its layer of the decoder."""

    layer: int | None
    before: int
    after: int


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

    def merged(self, adapter: Path, base: ModelParts, digest: str) -> str:  # noqa: ARG002
        """Nothing is told."""
        return self._REASON
