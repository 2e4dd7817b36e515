"""Builds the model of a configuration on torch's meta device, without memory: each tensor's place in it, and what each parameter is there."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn
from torch.nn.modules.conv import _ConvNd
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
from transformers.pytorch_utils import Conv1D

from pytest_prunegate.checkpoint.layout import Layout, Place, Role
from pytest_prunegate.execution.loaded_sample import heard, mismatches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.safetensors_header import TensorInfo


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


# Buffers that models once kept in their files and compute now; transformers passes over them in the same way
# (PreTrainedModel._adjust_missing_and_unexpected_keys).
_COMPUTED = (r"rotary_emb\.inv_freq", r"(^|\.)position_ids$")
# Arguments of the side that settle something else.
_NOT_OF_THE_CONFIGURATION = frozenset(
    {"revision", "tokenizer", "dtype", "max_length", "backend", "quantization_config"}
)
_DTYPE = torch.float32  # shapes decide here; what a tensor is stored as does not


@dataclass
class MetaModel:
    """A model without memory, into which tensors of the files' shapes were loaded.

    `told` is what transformers says of them; `parameters` has the names of those that each tensor went into.
    """

    model: Any
    told: Mapping[str, Any]
    parameters: Mapping[str, tuple[str, ...]]


def build_model(folder: Path, tensors: Iterable[TensorInfo], arguments: Mapping[str, Any]) -> MetaModel:
    """Build the model of a checkpoint without its weights, and let transformers load tensors of the files' shapes into it.

    Args:
        folder: of the checkpoint.
        tensors: of its weight files.
        arguments: of the side, with which transformers loads it.

    Raises:
        Exception: whatever transformers raises where it does not know the architecture, or the code of its own is not trusted.
    """
    given = {key: value for key, value in arguments.items() if key not in _NOT_OF_THE_CONFIGURATION}
    config = transformers.AutoConfig.from_pretrained(folder, **{"trust_remote_code": False} | given)
    for part in (config, config.get_text_config()):
        if getattr(part, "quantization_config", None) is not None:
            del part.quantization_config  # the names and shapes before anything was packed
    with torch.device("meta"):
        built = _auto_class(config, arguments).from_config(
            config, trust_remote_code=bool(arguments.get("trust_remote_code"))
        )
    placed = _Placed()
    with heard(placed), _quiet():
        model, told = type(built).from_pretrained(
            None, config=built.config, state_dict=_without_memory(tensors), device_map={"": "meta"}, dtype=_DTYPE,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    return MetaModel(model=model, told=told, parameters=placed.parameters)


def build_layout(folder: Path, tensors: Sequence[TensorInfo], arguments: Mapping[str, Any]) -> Layout:
    """Where each tensor of a checkpoint goes, and what it is there.

    Args:
        folder: of the checkpoint.
        tensors: of its weight files.
        arguments: of the side, with which transformers loads it.

    Raises:
        Exception: as for building the model.
    """
    built = build_model(folder, tensors, arguments)
    model, told, parts = built.model, built.told, module_roles(built.model)
    unused = [tensor.name for tensor in tensors if tensor.name not in built.parameters]
    ignored = [name for name in unused if not told["unexpected_keys"] or _is_computed(name, model)]
    return Layout(
        architecture=type(model).__name__,
        places={name: parts.place(parameters) for name, parameters in built.parameters.items()},
        unused=tuple(name for name in unused if name not in ignored),
        ignored=tuple(ignored),
        missing=tuple(sorted(told["missing_keys"])),
        mismatched=mismatches(told),
        tied=_tied(built),
        layers=parts.layers,
        linear=parts.elements(Role.LINEAR),
        router=parts.elements(Role.ROUTER),
    )


def _tied(built: MetaModel) -> tuple[tuple[str, ...], ...]:
    """Names of tensors that are one parameter in the model."""
    source = dict(built.model.all_tied_weights_keys)
    shared = {*source, *source.values()}
    groups: dict[str, list[str]] = {}
    for name, parameters in built.parameters.items():
        if parameters[0] in shared:
            groups.setdefault(source.get(parameters[0], parameters[0]), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def _auto_class(config: Any, arguments: Mapping[str, Any]) -> Any:
    """As lm-eval chooses it (HFLM._get_backend)."""
    backend = arguments.get("backend", "default")
    known = config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    is_seq2seq = backend == "seq2seq" or (backend == "default" and known)
    return transformers.AutoModelForSeq2SeqLM if is_seq2seq else transformers.AutoModelForCausalLM


def _without_memory(tensors: Iterable[TensorInfo]) -> dict[str, torch.Tensor]:
    return {tensor.name: torch.empty(tensor.shape, dtype=_DTYPE, device="meta") for tensor in tensors}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of what does not fit: it is told in this package's words."""
    level, bar = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bar:
            transformers.logging.enable_progress_bar()


@dataclass
class _Placed:
    """Which parameters each tensor of the files went into."""

    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def read(self, name: str, tensor: torch.Tensor) -> None:
        """Nothing is in these tensors."""

    def renamed(self, name: str, parameter: str) -> None:
        """One tensor became one parameter."""
        self.parameters[name] = (parameter,)

    def changed(self, names: Sequence[str], parameters: Mapping[str, torch.Tensor]) -> None:
        """Several tensors may become one parameter, and one tensor several."""
        self.parameters |= dict.fromkeys(names, tuple(parameters))


def _is_computed(name: str, model: Any) -> bool:
    patterns = [*_COMPUTED, *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())]
    return any(re.search(pattern, name) for pattern in patterns)
