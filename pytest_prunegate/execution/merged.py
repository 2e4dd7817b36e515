"""Merges an adapter into its base one module after the other, by peft's own code, and counts the zeros that are left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper

from pytest_prunegate.checkpoint.layout import Role
from pytest_prunegate.execution.held_tensors import counts_of, info_of, load_tensors
from pytest_prunegate.execution.meta_model import build_model, module_roles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.layout import ModelParts
    from pytest_prunegate.checkpoint.structure import TensorCounts

_ADAPTER = "default"


def merged_counts(adapter: Path, base: ModelParts) -> dict[str, TensorCounts]:
    """What is counted in each matrix of a base that an adapter changes, after it, by the names in the base's files.

    The base is built without memory; only the matrix that is being merged is read from the files.

    Args:
        adapter: its folder.
        base: what it is put on.

    Raises:
        ValueError: a matrix is made of several tensors of the files.
        Exception: whatever peft raises where it cannot merge.
    """
    held = load_tensors(base.files)
    built = build_model(base.folder, (info_of(name, one) for name, one in held.items()), base.arguments)
    roles = module_roles(built.model)
    stored: dict[str, list[str]] = {}
    for name, parameters in built.parameters.items():
        for parameter in parameters:
            stored.setdefault(parameter, []).append(name)
    with patch.object(BaseTunerLayer, "_move_adapter_to_device_of_base_layer", _stay):
        model = PeftModel.from_pretrained(built.model, adapter, low_cpu_mem_usage=True, torch_device="cpu")
    found: dict[str, TensorCounts] = {}
    for name, module in _changed(model.base_model.model):
        place = roles.places.get(f"{name}.weight")
        if place is None:
            raise ValueError(f"{name} is changed otherwise than by one matrix")
        if place.role is Role.OTHER:
            continue
        tensor = _alone(f"{name}.weight", stored)
        merged = _merged(module, held[tensor])
        if counts := counts_of(info_of(tensor, merged), merged):
            found[tensor] = counts
    return found


def _stay(*_: Any, **__: Any) -> None:
    """Where its base is, an adapter would lose its weights."""


def _changed(model: Any) -> Iterator[tuple[str, Any]]:
    """Modules that an adapter changes, by the names of those that they take the place of."""
    for name, module in model.named_modules():
        if isinstance(module, (BaseTunerLayer, ModulesToSaveWrapper)):
            yield name, module


def _alone(parameter: str, stored: Mapping[str, list[str]]) -> str:
    names = stored[parameter]
    if len(names) != 1:
        raise ValueError(f"{parameter} is made of {len(names)} tensors of the files")
    return names[0]


def _merged(module: Any, weight: torch.Tensor) -> Any:
    if isinstance(module, ModulesToSaveWrapper):
        return module.modules_to_save[_ADAPTER].weight.detach()
    if any(one.device.type == "meta" for name, one in module.named_parameters() if "base_layer" not in name):
        raise ValueError("the adapter's file lacks some of its weights")
    base = module.get_base_layer()
    base.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    with torch.no_grad():
        module.merge()
    merged = base.weight
    base.weight = torch.nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False)
    return merged.detach()
