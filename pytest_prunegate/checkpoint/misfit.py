"""Says how a checkpoint's tensors do not fit the model that its configuration describes, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pytest_prunegate.checkpoint.layout import Layout, Mismatch

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
            "they differ from layer to layer, the model needs code of its own that reads them."
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
