"""Packed weights as the matrices that they stand for, computed by the package that packed them, and counted one after the other."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.layout import Counted
from pytest_prunegate.checkpoint.packed import COMPUTED
from pytest_prunegate.errors import ModelError
from pytest_prunegate.execution.held_tensors import counts_of, info_of, load_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import torch

    Unpack = Callable[[Mapping[str, torch.Tensor]], Iterator[tuple[str, torch.Tensor]]]


def count_unpacked(files: Iterable[Path], declared: Mapping[str, Any]) -> Counted:
    """Names, dtypes, shapes and counts of the tensors in weight files, with a plain matrix for each that is packed.

    Args:
        files: of the weights.
        declared: the ``quantization_config``, whose method is one of compressed-tensors and bitsandbytes.

    Raises:
        ModelError: the method's package is not installed.
        Exception: it cannot compute them.
    """
    method = str(declared["quant_method"])
    try:
        unpack = _METHODS[method](declared)
    except ImportError as error:
        raise ModelError(f"install {method} ({error})") from None
    found = [(info := info_of(name, tensor), counts_of(info, tensor)) for name, tensor in unpack(load_tensors(files))]
    return Counted(tensors=tuple(info for info, _ in found), counts=tuple(counts for _, counts in found))


def _compressed_tensors(declared: Mapping[str, Any]) -> Unpack:
    """Parts of a module, such as ``weight_packed`` and ``weight_scale``, by the scheme of the group that it is in."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_name

    config = QuantizationConfig.model_validate({**declared, "quant_method": "compressed-tensors"})
    schemes = list(config.config_groups.values())

    def scheme_of(module: str) -> Any:
        named = (one for one in schemes if any(match_name(module, target) for target in one.targets))
        return next(named, schemes[0])  # groups are told apart by names; one alone names the class of its modules

    def unpack(held: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        for module, parts in _modules(held).items():
            prefix = f"{module}." if module else ""
            if not any(f".{name}" in COMPUTED["compressed-tensors"] for name in parts):
                yield from ((prefix + name, tensor) for name, tensor in parts.items())
                continue
            scheme = scheme_of(module)
            compressor = BaseCompressor.get_value_from_registry(str(scheme.format or config.format))
            yield f"{prefix}weight", compressor.decompress(parts, scheme)["weight"]
            if "bias" in parts:
                yield f"{prefix}bias", parts["bias"]

    return unpack


def _modules(held: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in held.items():
        module, _, own = name.rpartition(".")
        found[module][own] = tensor
    return found


def _bitsandbytes(_: Mapping[str, Any]) -> Unpack:
    """Matrices of 4 bits a number, with their scales and tables beside them under the matrix's name."""
    from bitsandbytes.functional import QuantState, dequantize_4bit

    def unpack(held: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        packed = {name.removesuffix(end) for name in held for end in COMPUTED["bitsandbytes"] if name.endswith(end)}
        states: dict[str, dict[str, torch.Tensor]] = {name: {} for name in packed}
        for name, tensor in held.items():
            owner = next((one for one in _prefixes(name) if one in packed), None)
            if owner is not None:
                states[owner][name.removeprefix(f"{owner}.")] = tensor
            elif name not in packed:
                yield name, tensor
        for name, state in states.items():
            yield name, dequantize_4bit(held[name], QuantState.from_dict(state, device=held[name].device))

    return unpack


def _prefixes(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


_METHODS = {"compressed-tensors": _compressed_tensors, "bitsandbytes": _bitsandbytes}
