"""What of a checkpoint takes torch to be told, remembered in the cache directory, so that a rerun does not import it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import xxhash

from pytest_prunegate.atomic_file import replacing
from pytest_prunegate.checkpoint.files import code_files, read_json
from pytest_prunegate.checkpoint.hashing import hash_file
from pytest_prunegate.checkpoint.layout import Counted, Layout, Mismatch, Place, Role
from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
from pytest_prunegate.checkpoint.structure import TensorCounts
from pytest_prunegate.resources import installed_version
from pytest_prunegate.tasks.guarded import quiet, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.layout import ModelParts

_T = TypeVar("_T")
_VERSION = 2  # raise it when what is told, or how it is written down, changes


class TorchInspector:
    """Asks torch, transformers and peft, and remembers what they said.

    Args:
        folder: takes one small file for each checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def layout_of(self, folder: Path, tensors: Sequence[TensorInfo], arguments: Mapping[str, Any]) -> Layout | str:
        """The layout of a checkpoint, from the model that transformers builds of its configuration on the meta device."""

        def build() -> Layout:
            from pytest_prunegate.execution.meta_model import build_layout

            return build_layout(folder, tensors, arguments)

        code = [[path.name, hash_file(path)] for path in code_files(folder)]
        held = [[tensor.name, tensor.dtype, tensor.shape] for tensor in tensors]
        key = ["layout", read_json(folder / "config.json"), code, held, dict(arguments)]
        return self._told(key, build, asdict, _layout)

    def unpickled(self, files: Sequence[Path], digest: str) -> Counted | str:
        """The tensors of pickled weights, which torch reads as tensors alone (``weights_only``)."""

        def read() -> Counted:
            from pytest_prunegate.execution.held_tensors import count_tensors

            return count_tensors(files)

        return self._told(["pickled", digest], read, asdict, _counted)

    def unpacked(self, files: Sequence[Path], declared: Mapping[str, Any], digest: str) -> Counted | str:
        """The tensors of packed weights, which the package that packed them computes."""

        def read() -> Counted:
            from pytest_prunegate.execution.unpacked import count_unpacked

            return count_unpacked(files, declared)

        return self._told(["unpacked", digest, dict(declared)], read, asdict, _counted)

    def merged(self, adapter: Path, base: ModelParts, digest: str) -> Mapping[str, TensorCounts] | str:
        """What is counted in the base's matrices that an adapter changes, merged by peft one module after the other."""

        def merge() -> dict[str, TensorCounts]:
            from pytest_prunegate.execution.merged import merged_counts

            return merged_counts(adapter, base)

        return self._told(["merged", digest], merge, msgspec.to_builtins, _merged)

    def _told(
        self, key: list[Any], ask: Callable[[], _T], as_json: Callable[[_T], Any], from_json: Callable[[Any], _T]
    ) -> _T | str:
        packages = [installed_version(name) for name in ("torch", "transformers")]
        text = json.dumps([_VERSION, packages, key], sort_keys=True, default=str)
        entry = self._folder / f"{xxhash.xxh3_128_hexdigest(text.encode())}.json"
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.ValidationError
        ):
            return from_json(json.loads(entry.read_text(encoding="utf-8")))
        try:
            with quiet():
                told = ask()
        except Exception as error:  # noqa: BLE001 - an architecture's code may raise anything
            return reason_of(error)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            entry.parent.mkdir(parents=True, exist_ok=True)
            with replacing(entry) as file:
                file.write(json.dumps(as_json(told)).encode())
        return told


def _layout(kept: Any) -> Layout:
    places = {name: Place(role=Role(one["role"]), layer=one["layer"]) for name, one in kept["places"].items()}
    mismatched = tuple(
        Mismatch(name=one["name"], stored=tuple(one["stored"]), expected=tuple(one["expected"]))
        for one in kept["mismatched"]
    )
    return Layout(
        architecture=kept["architecture"], places=places, mismatched=mismatched, tied=tuple(map(tuple, kept["tied"])),
        unused=tuple(kept["unused"]), ignored=tuple(kept["ignored"]), missing=tuple(kept["missing"]), layers=kept["layers"],
        linear=kept["linear"], router=kept["router"],
    )  # fmt: skip


def _counted(kept: Any) -> Counted:
    tensors = tuple(
        TensorInfo(name=one["name"], dtype=one["dtype"], shape=tuple(one["shape"])) for one in kept["tensors"]
    )
    return Counted(
        tensors=tensors, counts=msgspec.convert(kept["counts"], tuple[TensorCounts | None, ...], str_keys=True)
    )


def _merged(kept: Any) -> dict[str, TensorCounts]:
    return msgspec.convert(kept, dict[str, TensorCounts], str_keys=True)
