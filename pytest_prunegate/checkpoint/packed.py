"""Formats that quantise or pack weights: which one a checkpoint is in, and its tensors as the matrices that they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.layout import Counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.layout import Inspector
    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
    from pytest_prunegate.checkpoint.scan import Scan

# Ends of the names of tensors that say: the numbers beside them have to be computed before their zeros can be counted.
COMPUTED = {
    "compressed-tensors": (".weight_packed", ".weight_zero_point"),
    "bitsandbytes": (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"),
}


@dataclass(frozen=True, kw_only=True)
class PackedFormat:
    """A format of weights, by its name, and the ``quantization_config`` that declares it. `problem` says why it was not unpacked."""

    name: str
    declared: Mapping[str, Any]
    problem: str | None = None

    def __str__(self) -> str:
        return f"{self.name}; {self.problem}" if self.problem else self.name


def packed_format(config: Mapping[str, Any]) -> PackedFormat | None:
    """The format that a configuration declares; None where weights are stored as plain numbers."""
    declared = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(declared, dict):
        return None
    method = str(declared.get("quant_method") or "no method named")
    if method == "compressed-tensors":
        compressed = (declared.get("sparsity_config") or {}).get("format", "dense")
        if compressed == "dense" and not declared.get("config_groups"):
            return None
        formats = dict.fromkeys(str(one) for one in (declared.get("format"), compressed) if one not in {None, "dense"})
        return PackedFormat(name=", ".join([method, *formats]), declared=declared)
    if declared.get("load_in_4bit") or declared.get("load_in_8bit"):
        method += ", 4 bits" if declared.get("load_in_4bit") else ", 8 bits"
    return PackedFormat(name=method, declared=declared)


def quantised_on_loading(arguments: Mapping[str, Any]) -> str | None:
    """The format that a side's arguments ask transformers to quantise to."""
    asked = arguments.get("quantization_config")
    if not isinstance(asked, dict):
        asked = {key: True for key in ("load_in_4bit", "load_in_8bit") if arguments.get(key)}
    found = packed_format({"quantization_config": {"quant_method": "bitsandbytes", **asked}}) if asked else None
    return f"{found.name}, on loading" if found else None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The tensors of weight files with what was counted in them, or why they are not known; and the format that they are in."""

    counted: Counted | str
    packed: PackedFormat | None


def counted_weights(files: Sequence[Path], scan: Scan, packed: PackedFormat | None, inspector: Inspector) -> Weights:
    """What was counted in the tensors of weight files, those that are packed as the matrices that they stand for.

    Raises:
        ModelError: the parts of a packed tensor do not fit together.
    """
    if any(path.suffix != ".safetensors" for path in files):
        return Weights(counted=inspector.unpickled(files, scan.digest), packed=packed)
    counted = Counted(tensors=scan.tensors, counts=scan.counts)
    if any(tensor.name.endswith(".bitmask") for tensor in scan.tensors):
        from pytest_prunegate.checkpoint.bitmask import with_bitmasks

        return Weights(counted=with_bitmasks(counted), packed=packed)
    if packed is None or not _is_computed(scan.tensors, packed):
        return Weights(counted=counted, packed=packed)
    unpacked = inspector.unpacked(files, packed.declared, scan.digest)
    if isinstance(unpacked, str):
        problem = f"they cannot be unpacked: {unpacked.rstrip('.')}"
        return Weights(
            counted=counted, packed=PackedFormat(name=packed.name, declared=packed.declared, problem=problem)
        )
    return Weights(counted=unpacked, packed=packed)


def _is_computed(tensors: Iterable[TensorInfo], packed: PackedFormat) -> bool:
    ends = COMPUTED.get(str(packed.declared.get("quant_method")), ())
    return bool(ends) and any(tensor.name.endswith(ends) for tensor in tensors)
