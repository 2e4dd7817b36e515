"""Models that a function of the user's makes (``--pruned=my_module:load_model``): what no configuration describes, and no loader rebuilds.

The function takes no arguments and returns a transformers model and its tokenizer. It is called once to be looked at, and again when the
model is run; both have to be the same.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pytest_prunegate.checkpoint.facts import ModelFacts, longest_input, tokenizer_source
from pytest_prunegate.checkpoint.files import read_json, stamps_of
from pytest_prunegate.checkpoint.fingerprint import made_fingerprint
from pytest_prunegate.checkpoint.hashing import hash_file
from pytest_prunegate.checkpoint.layout import Counted, Layout, Role, named, refuse_not_finite
from pytest_prunegate.checkpoint.sparsity import Sparsity, sparsity
from pytest_prunegate.errors import InputError, ModelError
from pytest_prunegate.execution.held_tensors import counts_of, info_of
from pytest_prunegate.execution.meta_model import module_roles
from pytest_prunegate.tasks.guarded import quiet, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_prunegate.input.model_argument import ModelArgument

    Made = tuple[PreTrainedModel, PreTrainedTokenizerBase]

_CONTRACT = "It takes no arguments, and returns a transformers model (PreTrainedModel) and its tokenizer."


def made_facts(argument: ModelArgument, cache_dir: Path) -> ModelFacts:
    """Make a model, and tell what there is to tell of it. What it says of itself and its tokenizer are put into the cache.

    Raises:
        InputError: there is no such function, or the cache cannot be written.
        ModelError: it raises, returns something else, or its weights are NaN or infinite.
    """
    assert argument.maker is not None
    function, code = _function(argument)
    module, tokenizer = _made(argument.where, function)
    folder, fingerprint = _kept(argument, module, tokenizer, hash_file(code), cache_dir)
    config = read_json(folder / "config.json")
    facts = ModelFacts(
        side=argument.side, name=argument.name, path=argument.value, folder=folder, revision=None, fingerprint=fingerprint,
        architecture=type(module).__name__, dtype=str(module.dtype).removeprefix("torch."), max_length=longest_input(config, folder),
        parameters=sum(parameter.numel() for parameter in module.parameters()), size=None, sparsity=_sparsity(argument, module),
        tokenizer=tokenizer_source(folder), vocab_size=(config.get("text_config") or config).get("vocab_size"),
        arguments=argument.arguments, files=stamps_of([code]), maker=argument.maker,
    )  # fmt: skip
    del module
    gc.collect()
    return facts


def make_again(facts: ModelFacts) -> Made:
    """The model itself, in eval mode, and its tokenizer.

    Raises:
        ModelError: it raises, or makes another model than before.
    """
    assert facts.maker is not None
    (code,) = facts.files
    name, _, attribute = facts.maker.partition(":")
    module, tokenizer = _made(facts.title, getattr(sys.modules[name], attribute))
    if made_fingerprint(facts.folder, _tensors_digest(module), hash_file(code)) != facts.fingerprint:
        raise ModelError(
            f"{facts.title}: {facts.maker} made a model with other tensors than the first time. Load its weights, or seed what draws them."
        )
    return module, tokenizer


def _function(argument: ModelArgument) -> tuple[Callable[[], Any], Path]:
    """The function, and the file that it stands in; modules beside the thresholds file are found."""
    name, _, attribute = str(argument.maker).partition(":")
    if str(argument.cwd) not in sys.path:
        sys.path.insert(0, str(argument.cwd))
    try:
        with quiet():
            module = importlib.import_module(name)
    except (
        Exception,
        SystemExit,
    ) as error:  # the user's code may raise anything, or read a command line that is pytest's
        what = f"there is no such directory, and as a function: {name} cannot be imported"
        raise InputError(f"{argument.where}: {what}: {reason_of(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function) or module.__file__ is None:
        raise InputError(f"{argument.where}: {module.__file__ or name} has no function {attribute}. {_CONTRACT}")
    try:
        source = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # an object that can be called
        source = None
    return function, Path(source or module.__file__)


def _made(where: str, function: Callable[[], Any]) -> Made:
    try:
        with quiet():
            found = function()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{where}: the function raised: {reason_of(error)}") from error
    is_pair = isinstance(found, tuple) and len(found) == len(("module", "tokenizer"))
    if not (is_pair and isinstance(found[0], PreTrainedModel) and isinstance(found[1], PreTrainedTokenizerBase)):
        said = ", ".join(type(one).__name__ for one in found) if isinstance(found, tuple) else type(found).__name__
        raise ModelError(f"{where}: the function returned {said}. {_CONTRACT}")
    module, tokenizer = found
    if absent := [name for name, tensor in module.state_dict().items() if tensor.is_meta]:
        raise ModelError(
            f"{where}: the function returned a model without all of its weights: {named(absent)} on the meta device. Load them without offloading."
        )
    module.tie_weights()  # as lm-eval does, before anything is looked at
    return module.eval(), tokenizer


def _kept(
    argument: ModelArgument, module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, code: str, cache_dir: Path
) -> tuple[Path, str]:
    """A folder of the cache with the model's configuration and its tokenizer, and the fingerprint that it is called by."""
    parent = cache_dir / "made"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=parent, prefix=".new-"))
        try:
            with quiet():
                module.config.save_pretrained(new)
                if module.generation_config is not None:
                    module.generation_config.save_pretrained(new)
                tokenizer.save_pretrained(new)
            fingerprint = made_fingerprint(new, _tensors_digest(module), code)
            folder = parent / fingerprint
            try:
                new.rename(folder)
            except OSError:  # another run was there before
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{argument.where}: its tokenizer cannot be kept in {parent}: {error.strerror}. Name a writable folder with --prunegate-cache-dir."
        ) from error
    except (ValueError, TypeError) as error:  # transformers refuses to write what it would not read
        raise ModelError(f"{argument.where}: what the model says of itself cannot be written down: {reason_of(error)}") from error  # fmt: skip
    return folder, fingerprint


def _tensors_digest(module: PreTrainedModel) -> str:
    """xxh3_128 of names, dtypes, shapes and bytes of all parameters and buffers that are saved."""
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(module.state_dict().items()):
        held = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy())
    return str(digest.hexdigest())


def _sparsity(argument: ModelArgument, module: PreTrainedModel) -> Sparsity:
    """Zeros of the module's own parameters."""
    roles = module_roles(module)
    held = dict(module.named_parameters())
    infos = tuple(info_of(name, parameter) for name, parameter in held.items())
    counts = tuple(counts_of(info, held[info.name].detach().cpu()) for info in infos)
    layout = Layout(
        architecture=type(module).__name__, places={name: roles.place([name]) for name in held}, layers=roles.layers,
        linear=roles.elements(Role.LINEAR), router=roles.elements(Role.ROUTER),
    )  # fmt: skip
    counted = Counted(tensors=infos, counts=counts)
    refuse_not_finite(Path(str(argument.maker)), counted, layout)
    return sparsity(counted, layout)
