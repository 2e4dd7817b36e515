"""What each parameter of a model is there: a matrix that is multiplied with, a router, or something else; told by its module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pytest_prunegate.checkpoint.layout import Place, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

_MATRIX = 2
_ROUTER_CLASS = re.compile(r"Router|Gating|Gate$")
_ROUTER_NAME = re.compile(r"(^|_)(gate|router|classifier)$")
_DECAY = "A_log"  # of state space models: a stack of numbers that are multiplied one by one
_EXPERT_CLASS = re.compile(r"Expert")
_TEXT_INPUTS = ("input_ids", "inputs_embeds", "decoder_input_ids")


@dataclass(frozen=True)
class ModuleRoles:
    """The roles of a model's parameters.

    Args:
        places: of each parameter, by its name.
        sizes: elements of each parameter, one that several modules share under one name alone.
        layers: of the decoder.
    """

    places: Mapping[str, Place]
    sizes: Mapping[str, int]
    layers: int

    def place(self, parameters: Sequence[str]) -> Place:
        """Where a tensor goes that fills these parameters."""
        return next(
            (self.places[name] for name in parameters if name in self.places), Place(role=Role.OTHER, layer=None)
        )

    def elements(self, role: Role) -> int:
        """Elements of all parameters of a role."""
        return sum(size for name, size in self.sizes.items() if self.places[name].role is role)


def module_roles(model: PreTrainedModel) -> ModuleRoles:
    """Tell the role of each of a model's parameters, on whatever device it is."""
    stack = _decoder_stack(model)
    outside = tuple(f"{name}." for name, module in model.named_modules() if _takes_no_text(module))
    ends = (model.get_output_embeddings(), model.get_input_embeddings())
    again = set(model.all_tied_weights_keys)
    places: dict[str, Place] = {}
    sizes: dict[str, int] = {}
    for name, module in model.named_modules():
        parent, _, attribute = name.rpartition(".")
        for key, parameter in module.named_parameters(recurse=False):
            path = f"{name}.{key}" if name else key
            is_apart = path.startswith(outside) or any(module is end for end in ends)
            role = Role.OTHER if is_apart else _role(key, attribute, module, model.get_submodule(parent), parameter)
            places[path] = Place(role=role, layer=_layer(path, stack))
            if path not in again:
                sizes[path] = parameter.numel()
    return ModuleRoles(places=places, sizes=sizes, layers=len(model.get_submodule(stack)) if stack else 0)


def _role(name: str, attribute: str, module: nn.Module, parent: nn.Module, parameter: torch.Tensor) -> Role:
    if parameter.ndim < _MATRIX or isinstance(module, nn.Embedding) or name == _DECAY:
        return Role.OTHER
    if _chooses_experts(attribute, module, parent):
        return Role.ROUTER if isinstance(module, nn.Linear) or min(parameter.shape) > 1 else Role.OTHER
    if isinstance(module, _ConvNd):  # one that filters each channel by itself is no matrix
        return Role.OTHER if module.groups == module.in_channels > 1 else Role.LINEAR
    if isinstance(module, (nn.Linear, Conv1D)) or "Linear" in type(module).__name__:
        return Role.LINEAR
    return Role.LINEAR if _is_stack(module, parameter) else Role.OTHER


def _is_stack(module: nn.Module, parameter: torch.Tensor) -> bool:
    """Whether a parameter is a stack of matrices, as of experts; some write it as one tall matrix."""
    if parameter.ndim > _MATRIX:
        return bool(min(parameter.shape[-2:]) > 1)
    is_alone = all(one.ndim == _MATRIX for one in module.parameters(recurse=False))  # beside stacks these are biases
    return is_alone and bool(_EXPERT_CLASS.search(type(module).__name__))


def _chooses_experts(attribute: str, module: nn.Module, parent: nn.Module) -> bool:
    if any(_ROUTER_CLASS.search(type(one).__name__) for one in (module, parent)):
        return True
    beside = any(name == "experts" or _EXPERT_CLASS.search(type(one).__name__) for name, one in parent.named_children())
    return beside and bool(_ROUTER_NAME.search(attribute))


def _decoder_stack(model: PreTrainedModel) -> str | None:
    """Name of the list of the decoder's layers: of the outermost lists the one that is called so, or the largest."""
    found: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = sum(parameter.numel() for parameter in module.parameters())
    decoders = [name for name in found if "decoder" in name.split(".")] or list(found)
    return max(decoders, key=lambda name: found[name], default=None)


def _layer(path: str, stack: str | None) -> int | None:
    return int(path.removeprefix(f"{stack}.").split(".")[0]) if stack and path.startswith(f"{stack}.") else None


def _takes_no_text(module: nn.Module) -> bool:
    """Whether a module is the tower of images or sounds of a model: no text passes through it."""
    takes: Any = module.main_input_name if isinstance(module, PreTrainedModel) else _TEXT_INPUTS[0]
    return str(takes) not in _TEXT_INPUTS
