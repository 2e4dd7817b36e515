"""The records of a run's models: what their files say, and what became of their zeros."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_prunegate.input.model_argument import Side
from pytest_prunegate.report.summary.values import Count, Share, Words

_PATTERNS = 3  # of zeros, that are named


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """Sparsity of a decoder layer.

    Attributes:
        layer: Number of the decoder layer, from its tensors' names.
        zeros: Zeros among its linear weights.
        weights: Its linear weights.
        share: zeros / weights.
    """

    layer: Count
    zeros: Count
    weights: Count
    share: Share


@dataclass(frozen=True, kw_only=True)
class PatternSummary:
    """A pattern of zeros that matrices have: dense, unstructured, 2:4, block 32x32, ...

    Attributes:
        name: The pattern.
        matrices: Matrices that have it.
        weights: Their weights.
    """

    name: str
    matrices: Count
    weights: Count


@dataclass(frozen=True, kw_only=True)
class PartSparsity:
    """Sparsity of a part of all layers.

    Attributes:
        part: attention, MLP, experts or other, by the names of tensors.
        zeros: Zeros among its linear weights.
        weights: Its linear weights.
        share: zeros / weights.
    """

    part: str
    zeros: Count
    weights: Count
    share: Share


@dataclass(frozen=True, kw_only=True)
class LayerRegrowth:
    """What became of a decoder layer's zeros.

    Attributes:
        layer: Number of the layer.
        zeros: Zeros right after pruning.
        regrown: Those of them that are numbers again.
        share: regrown / zeros; 0 where there were none.
    """

    layer: Count
    zeros: Count
    regrown: Count
    share: Share


@dataclass(frozen=True, kw_only=True)
class MaskSurvival:
    """What became of the zeros that the pruned model had right after pruning (--prunegate-mask-from).

    Attributes:
        source: The model right after pruning, as the user wrote it.
        fingerprint: Of that model.
        zeros: Its zeros among the weights that it multiplies with.
        regrown: Those of them that are numbers again.
        new: Zeros that were none then.
        share: regrown / zeros.
        layers: Layer by layer.
    """

    source: str
    fingerprint: str
    zeros: Count
    regrown: Count
    new: Count
    share: Share
    layers: tuple[LayerRegrowth, ...]


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A model; what is not known, or was not measured, is null.

    Attributes:
        side: Which of the two it is.
        name: The name that the command line gives it; null where it gives none.
        path: The path, hub id or address, as the user wrote it.
        revision: Commit of a model from a hub.
        base: The base model of an adapter.
        fingerprint: Digest of weights, configuration and tokenizer; of a served model, of its name and report.
        architecture: Its class, as config.json names it.
        parameters: Number of parameters; null where files do not tell.
        size: Size of its weights in bytes.
        quantised: How it is quantised; null where it is not.
        backend: lm-eval's model class that loads it.
        dtype: The type that it computes in.
        arguments: Arguments of this side: --prunegate-original-args or --prunegate-pruned-args.
        max_length: Longest input, in tokens.
        sparsity: Share of zeros among the decoder's linear weights; null where they were not counted.
        zeros: Zeros among those weights.
        weights: Those weights.
        sparsity_problem: Why zeros were not counted.
        base_sparsity: Sparsity of an adapter's base model.
        router_zeros: Zeros among the weights of routers, which are not in the others.
        router_weights: Those weights.
        wikitext_ppl: Perplexity on WikiText2; null where it was not measured.
        wikitext_windows: What that was measured on, in words.
        layers: Sparsity layer by layer; none where it was not counted.
        patterns: Patterns of zeros of the matrices that the model multiplies with, that of most weights first.
        parts: Sparsity by part of the layers.
        blocks: How many blocks of 16x16 numbers have no zero, up to a tenth, and so on to nine tenths or more, nothing but
            zeros: 12 counts; none where all matrices are dense.
    """

    side: Side
    name: str | None
    path: str
    revision: str | None
    base: str | None
    fingerprint: str
    architecture: str | None
    parameters: Count | None
    size: Count | None
    quantised: str | None
    backend: str
    dtype: str
    arguments: Words
    max_length: Count
    sparsity: Share | None
    zeros: Count | None
    weights: Count | None
    sparsity_problem: str | None
    base_sparsity: Share | None
    router_zeros: Count
    router_weights: Count
    wikitext_ppl: float | None
    wikitext_windows: str | None
    layers: tuple[LayerSparsity, ...]
    patterns: tuple[PatternSummary, ...]
    parts: tuple[PartSparsity, ...]
    blocks: tuple[Count, ...]

    @property
    def structure(self) -> str:
        """The patterns in words."""
        total = sum(pattern.matrices for pattern in self.patterns)
        if len(self.patterns) == 1:
            return f"{self.patterns[0].name} in all {total} matrices"
        said = [f"{pattern.name} in {pattern.matrices} of {total} matrices" for pattern in self.patterns[:_PATTERNS]]
        if others := self.patterns[_PATTERNS:]:
            said.append(f"others in {sum(pattern.matrices for pattern in others)}")
        return "; ".join(said)
