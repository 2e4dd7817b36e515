"""What a model's files say of it: fingerprint, size, sparsity, dtype, longest input, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_prunegate.checkpoint.files import (
    Stamp,
    adapter_files,
    change_since,
    checkpoint_files,
    read_json,
    refuse_changed,
    refuse_redirects,
    stamps_of,
    tokenizer_files,
    weight_files,
)
from pytest_prunegate.checkpoint.fingerprint import (
    adapter_fingerprint,
    checkpoint_fingerprint,
    joined_fingerprint,
    template_digest,
    tokenizer_digest,
)
from pytest_prunegate.checkpoint.gguf import gguf_layout, read_gguf
from pytest_prunegate.checkpoint.layout import (
    Counted,
    Layout,
    ModelParts,
    NoInspector,
    refuse_misfit,
    refuse_not_finite,
)
from pytest_prunegate.checkpoint.packed import Weights, counted_weights, packed_format, quantised_on_loading
from pytest_prunegate.checkpoint.scan import NO_MEMORY, Scan, ScanMemory, scan_files, scan_gguf
from pytest_prunegate.checkpoint.sparsity import Sparsity, sparsity, with_merged
from pytest_prunegate.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_prunegate.checkpoint.layout import Inspector
    from pytest_prunegate.checkpoint.location import Location
    from pytest_prunegate.checkpoint.mask_survival import Survival
    from pytest_prunegate.input.model_argument import Side

_SAFETENSORS_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# What lm-eval consults, in its order (lm_eval.models.utils.resolve_max_length).
_LENGTH_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")
_LM_EVAL_DEFAULT_LENGTH = 2048
_NO_INSPECTOR = NoInspector()
AS_SERVED = "as served"  # the dtype of a model that a server answers for
_UNSET_LENGTH = 10**29  # tokenizers write 1e30 for "no limit known"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer_config.json",
)


@dataclass(frozen=True, kw_only=True)
class TokenizerSource:
    """Where a side's tokenizer is loaded from, and digests of what decides how it encodes, and of its chat template.

    `gguf` names the file in the folder that carries it; None for a folder with files of its own. `template` is None
    where there is no chat template.
    """

    folder: Path
    gguf: str | None
    digest: str
    template: str | None


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """Where a model is asked, and by which id. `lender` is the side whose tokenizer it takes, where it names none."""

    url: str
    model: str
    lender: str | None


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A model as the run and the reports know it. Sizes in bytes, lengths in tokens; None where unknown.

    `folder` is what transformers loads: the base's where `adapter` is one, and of a served model its tokenizer alone. `weights` are the
    files of its weights there, `ignored` names of tensors in them that the model computes itself.
    `quantised` names a packed format. `files` are all that the fingerprint covers, as they were before they were read; None for
    one that was not there. `file` is the baseline that takes the place of the model, which is then never loaded. `maker` is the function that
    makes it (``module:function``), whose `folder` has what it said of itself.
    """

    side: Side
    name: str | None
    path: str
    folder: Path
    revision: str | None
    fingerprint: str
    architecture: str | None
    dtype: str
    max_length: int
    parameters: int | None
    size: int | None
    sparsity: Sparsity
    tokenizer: TokenizerSource
    ignored: tuple[str, ...] = ()
    vocab_size: int | None = None
    quantised: str | None = None
    weights: tuple[Path, ...] = ()
    gguf: str | None = None
    adapter: Path | None = None
    base: str | None = None
    base_sparsity: Sparsity | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[Path, Stamp | None] = field(default_factory=dict)
    served: ServedModel | None = None
    file: Path | None = None
    maker: str | None = None
    mask_from: ModelFacts | None = None
    """The model right after pruning, with whose zeros this one's are compared."""

    @property
    def title(self) -> str:
        """How messages name the model."""
        return f"{self.side} model {self.name or self.path}"

    @cached_property
    def survival(self) -> Survival:
        """What became of the zeros of the model that it was made from.

        Raises:
            ModelError: they cannot be looked at, or the two are not of one shape.
        """
        from pytest_prunegate.checkpoint.mask_survival import survival_of

        assert self.mask_from is not None
        for facts in (self.mask_from, self):
            if facts.sparsity.problem:
                raise ModelError(f"the zeros of {facts.path} are not counted: {facts.sparsity.problem}")
            if facts.adapter:
                raise ModelError(f"{facts.path} is an adapter: merge it into its base, and save the whole model")
        return survival_of(self.mask_from.sparsity.tensors, self.sparsity.tensors)

    def change(self) -> str | None:
        """What changed among its files since they were read, and how; None where nothing did."""
        return change_since(self.files)

    def refuse_changed(self) -> None:
        """See that the files are still those that the fingerprint was taken of.

        Raises:
            ModelError: one of them changed; it says how.
        """
        refuse_changed(self.title, self.files)


def read_facts(location: Location, memory: ScanMemory = NO_MEMORY, inspector: Inspector = _NO_INSPECTOR) -> ModelFacts:
    """Everything that the files of a model say. Reads all weights once, and not at all where `memory` knows them.

    Args:
        location: of the files.
        memory: of earlier readings.
        inspector: tells what takes torch: which of the tensors the model multiplies with. Without one, no zeros are counted.

    Raises:
        ModelError: weights, configuration or tokenizer are missing or damaged, or the weights do not fit the configuration.
    """
    try:
        return _facts(location, memory, inspector)
    except OSError as error:
        raise ModelError(f"{error.filename or location.folder}: this file of the model cannot be read: {error.strerror}.") from error  # fmt: skip
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(f"{location.folder}: what its configuration files say cannot be understood: {reason}") from error  # fmt: skip


def _facts(location: Location, memory: ScanMemory, inspector: Inspector) -> ModelFacts:
    files = stamps_of(_covered_files(location))  # before anything is read
    if location.base is not None:
        base = read_facts(location.base, memory, inspector)
        facts, files = _adapter_facts(location, base, memory, inspector), {**base.files, **files}
    elif location.argument.gguf:
        facts = _gguf_facts(location, location.folder / location.argument.gguf, memory)
    else:
        facts = _checkpoint_facts(location, memory, inspector)
    if location.tokenizer:
        facts = replace(facts, tokenizer=tokenizer_source(location.tokenizer))
    return replace(facts, files=files)


def _covered_files(location: Location) -> list[Path]:
    folder = location.folder
    own = tokenizer_files(location.tokenizer) if location.tokenizer else []
    if location.base is not None:
        return adapter_files(folder) + own
    if location.argument.gguf:
        return [folder / location.argument.gguf, *tokenizer_files(folder), *own]
    return checkpoint_files(folder, location.argument.arguments) + own


def _checkpoint_facts(location: Location, memory: ScanMemory, inspector: Inspector) -> ModelFacts:
    folder, argument = location.folder, location.argument
    config = read_json(folder / "config.json")
    refuse_redirects(folder)
    weights = tuple(weight_files(folder, argument.arguments))
    scan = scan_files(weights, memory)
    held = counted_weights(weights, scan, packed_format(config), inspector)
    counted, packed = held.counted, held.packed
    layout = (
        inspector.layout_of(folder, counted.tensors, argument.arguments) if isinstance(counted, Counted) else counted
    )
    if isinstance(layout, Layout) and not packed:
        refuse_misfit(folder, layout, _torn(layout, scan))
    if isinstance(counted, Counted) and isinstance(layout, Layout):
        refuse_not_finite(folder, counted, layout)
    zeros = _sparsity(held, layout)
    return ModelFacts(
        side=argument.side,
        name=argument.name,
        path=argument.value,
        folder=folder,
        revision=location.revision,
        fingerprint=checkpoint_fingerprint(folder, scan),
        architecture=next(iter(config.get("architectures") or []), config.get("model_type")),
        dtype=_dtype(config, scan),
        max_length=longest_input(config, folder),
        parameters=None if packed and zeros.problem else _parameters(counted, layout),
        weights=weights,
        size=sum(path.stat().st_size for path in weights),
        sparsity=zeros,
        ignored=layout.ignored if isinstance(layout, Layout) else (),
        tokenizer=tokenizer_source(location.tokenizer or folder),
        vocab_size=(config.get("text_config") or config).get("vocab_size"),
        quantised=packed.name if packed else quantised_on_loading(argument.arguments),
        arguments=argument.arguments,
    )


def _torn(layout: Layout, scan: Scan) -> Iterator[tuple[str, ...]]:
    """Names of tensors that are one parameter in the model, and differ in the files."""
    digests = {tensor.name: digest for tensor, digest in zip(scan.tensors, scan.digests, strict=True)}
    return (group for group in layout.tied if len({digests.get(name) for name in group}) > 1)


def _parameters(counted: Counted | str, layout: Layout | str) -> int | None:
    """How many the model has: no tensor that it does not take, and none twice."""
    if isinstance(counted, str):
        return None
    taken = counted.tensors
    if isinstance(layout, Layout):
        again = layout.again()
        taken = tuple(tensor for tensor in taken if tensor.name in layout.places and tensor.name not in again)
    return sum(tensor.elements for tensor in taken) or None


def _sparsity(held: Weights, layout: Layout | str) -> Sparsity:
    if isinstance(held.counted, str):
        return Sparsity(problem=f"its pickled weights cannot be read: {held.counted}")
    return sparsity(held.counted, layout, held.packed)


def _gguf_facts(location: Location, path: Path, memory: ScanMemory) -> ModelFacts:
    header, argument = read_gguf(path), location.argument
    scan = scan_gguf(path, header.tensors, memory)
    counted = Counted(tensors=scan.tensors, counts=scan.counts)
    refuse_not_finite(path, counted)
    digest = scan.digest
    tokenizer = TokenizerSource(
        folder=location.folder, gguf=path.name, digest=digest, template=digest if header.has_template else None
    )
    if (location.folder / "tokenizer.json").is_file():  # transformers prefers it to the one in the file
        tokenizer = tokenizer_source(location.folder)
    return ModelFacts(
        side=argument.side,
        name=argument.name,
        path=argument.value,
        folder=location.folder,
        revision=None,
        fingerprint=digest if tokenizer.gguf else joined_fingerprint(digest, tokenizer.digest, str(tokenizer.template)),
        architecture=f"{header.architecture} (GGUF)",
        dtype="float32",  # what transformers makes of it, whatever the file's own types are
        max_length=header.max_length or _LM_EVAL_DEFAULT_LENGTH,
        parameters=header.elements,
        size=path.stat().st_size,
        sparsity=sparsity(counted, gguf_layout(header)),
        tokenizer=tokenizer,
        vocab_size=header.vocab_size,
        quantised=f"GGUF {', '.join(header.quantised)}" if header.quantised else None,
        weights=(path,),
        gguf=path.name,
        arguments=argument.arguments,
    )


def _adapter_facts(location: Location, base: ModelFacts, memory: ScanMemory, inspector: Inspector) -> ModelFacts:
    folder, argument = location.folder, location.argument
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise ModelError(
            f"{folder}: there is no adapter_model.safetensors in this adapter. Save it as safetensors: pickled adapters are not opened."
        )
    scan = scan_files([weights], memory)
    refuse_not_finite(folder, Counted(tensors=scan.tensors, counts=scan.counts))
    added = sum(tensor.elements for tensor in scan.tensors)
    fingerprint = adapter_fingerprint(base.fingerprint, folder, scan)
    return replace(
        base,
        name=argument.name,
        path=argument.value,
        revision=location.revision,
        fingerprint=fingerprint,
        parameters=None if base.parameters is None else base.parameters + added,
        size=(base.size or 0) + weights.stat().st_size,
        sparsity=_merged_sparsity(folder, base, fingerprint, inspector),
        base_sparsity=base.sparsity,
        tokenizer=tokenizer_source(folder) if has_tokenizer(folder) else base.tokenizer,
        quantised=base.quantised or quantised_on_loading(argument.arguments),
        adapter=folder,
        base=base.path,
        arguments=argument.arguments,
    )


def _merged_sparsity(folder: Path, base: ModelFacts, fingerprint: str, inspector: Inspector) -> Sparsity:
    if base.sparsity.problem:
        return Sparsity(problem=f"its base's weights are not counted: {base.sparsity.problem}")
    parts = ModelParts(folder=base.folder, files=base.weights, arguments=base.arguments)
    merged = inspector.merged(folder, parts, fingerprint)
    if isinstance(merged, str):
        return Sparsity(problem=f"the adapter cannot be merged into its base to count them: {merged}")
    return with_merged(base.sparsity, merged)


def tokenizer_source(folder: Path) -> TokenizerSource:
    """The tokenizer in a directory.

    Raises:
        ModelError: there is none.
    """
    if not has_tokenizer(folder):
        raise ModelError(f"{folder}: there is no tokenizer in this directory. Save the original's beside the weights.")
    refuse_redirects(folder)
    return TokenizerSource(folder=folder, gguf=None, digest=tokenizer_digest(folder), template=template_digest(folder))


def has_tokenizer(folder: Path) -> bool:
    """Whether a directory holds a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZERS)


def _dtype(config: dict[str, Any], scan: Scan) -> str:
    """The dtype that ``dtype="auto"`` loads: the configuration's, else the first floating point tensor's."""
    text_config = config.get("text_config") or {}
    written = (
        config.get("dtype") or config.get("torch_dtype") or text_config.get("dtype") or text_config.get("torch_dtype")
    )
    if isinstance(written, str):
        return written.removeprefix("torch.")
    stored = (tensor.dtype for tensor in scan.tensors)
    return next((_SAFETENSORS_DTYPES[dtype] for dtype in stored if dtype in _SAFETENSORS_DTYPES), "float32")


def longest_input(config: dict[str, Any], folder: Path) -> int:
    """The longest input of a model in tokens, as lm-eval finds it: of its configuration, or of the tokenizer beside it."""
    text_config = config.get("text_config") or config
    for key in _LENGTH_KEYS:
        if isinstance(text_config.get(key), int):
            return int(text_config[key])
    written = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return int(written) if written and written < _UNSET_LENGTH else _LM_EVAL_DEFAULT_LENGTH
