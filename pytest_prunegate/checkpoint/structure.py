"""The structure that pruning left in a tensor, told from counts: unstructured, N:M, blocks, blocks of several densities.

Groups of N:M: https://arxiv.org/abs/2104.08378. The records and what they say; `counting.py` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """How a number lies in a file: in how many bytes, which bits are not its sign, and from which magnitude on it is infinite or no number."""

    size: int
    magnitude: int
    first_not_finite: int


# -0.0 has no bit but its sign; a scale beside them keeps zeros zero.
WORDS = {
    "F64": Word(8, 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000), "F32": Word(4, 0x7FFF_FFFF, 0x7F80_0000), "F16": Word(2, 0x7FFF, 0x7C00),
    "BF16": Word(2, 0x7FFF, 0x7F80), "F8_E4M3": Word(1, 0x7F, 0x7F), "F8_E5M2": Word(1, 0x7F, 0x7C), "I8": Word(1, 0xFF, 0x100),
}  # fmt: skip
"""The dtypes, by safetensors' names, whose numbers can be told from their bytes."""
GROUPS = (4, 8)
"""Sizes M of the groups that N:M is looked for in."""
BLOCK_SIZES = (8, 16, 32, 64, 128)
"""Sides of the square blocks that are looked at, the smallest first; each is a multiple of the smallest."""
TIERS = 16
"""The side of the blocks whose densities are told."""
NEARLY = 0.01
"""The share of groups up to which those that are more than half full are counted: with more, a tensor is nowhere near 2:4 or 4:8."""
_DENSE = 0.01  # a share of zeros below it is nobody's pruning
_NEAR = (
    0.05  # by which zeros may exceed what N:M asks for: more of them is sparser than the pattern, and chance makes one
)
_MOSTLY = 0.9  # of a matrix's zeros lie in empty blocks: then it was pruned by blocks
_FEW_TIERS, _SMALL_TIER, _ALL_TIERS = 5, 0.01, 0.95  # how many, how rare, and how much of all blocks
_FEWEST_BLOCKS, _FAR = 64, 4.0  # below, and within this factor of chance, nothing is said of tiers


@dataclass(frozen=True, kw_only=True)
class BlockCounts:
    """Blocks of a matrix.

    `empty` has the blocks that are all zero, by their side. `levels` has the blocks of `TIERS` by `TIERS`, by how many of their
    numbers are zero.
    """

    empty: dict[int, int]
    levels: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class TensorCounts:
    """What was counted in a tensor.

    `not_finite` are infinite or no numbers. `fullest_across` has the most numbers other than zero in a group of neighbours in a row,
    for each size of `GROUPS`, and `fullest_down` in a column; both are empty where its shape is in no such groups. `overfull` counts
    the groups in rows that are more than half full, up to one more than `NEARLY` of all.
    """

    zeros: int
    not_finite: int = 0
    fullest_across: tuple[int, ...] = ()
    fullest_down: tuple[int, ...] = ()
    overfull: tuple[int, ...] = ()
    blocks: BlockCounts | None = None


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """The structure of a tensor's zeros in a word or two, such as ``2:4`` or ``block 32x32``."""

    name: str


DENSE = Pattern(name="dense")
UNSTRUCTURED = Pattern(name="unstructured")
EMPTY = Pattern(name="all zero")


def pattern_of(counts: TensorCounts, elements: int) -> Pattern:
    """The structure of a tensor's zeros.

    Args:
        counts: of the tensor.
        elements: numbers in it.
    """
    share = counts.zeros / elements if elements else 0.0
    if share < _DENSE:
        return DENSE
    if counts.zeros == elements:
        return EMPTY
    return (
        _group_pattern(counts, share)
        or _nearly(counts, elements, share)
        or _block_pattern(counts)
        or _tier_pattern(counts)
        or UNSTRUCTURED
    )


def keeps_groups(counts: TensorCounts, most: int, size: int) -> bool:
    """Whether the counts tell that each group of a size in a row has at most so many numbers other than zero."""
    return size in GROUPS and bool(counts.fullest_across) and counts.fullest_across[GROUPS.index(size)] <= most


def _group_pattern(counts: TensorCounts, share: float) -> Pattern | None:
    for across, fullest in ((True, counts.fullest_across), (False, counts.fullest_down)):
        for size, most in zip(GROUPS, fullest, strict=False):
            if 0 < most < size and share <= 1 - most / size + _NEAR:
                return Pattern(name=f"{most}:{size}{'' if across else ' along dimension 0'}")
    return None


def _nearly(counts: TensorCounts, elements: int, share: float) -> Pattern | None:
    """Half of each group but for a few groups, which keep the tensor from the kernels that need all."""
    for size, broken in zip(GROUPS, counts.overfull, strict=False):
        if share <= 1 / 2 + _NEAR and broken <= NEARLY * elements / size:
            return Pattern(name=f"nearly {size // 2}:{size}")
    return None


def _block_pattern(counts: TensorCounts) -> Pattern | None:
    """The largest blocks whose emptiness explains the zeros."""
    empty = counts.blocks.empty if counts.blocks else {}
    size = next(
        (size for size in reversed(BLOCK_SIZES) if empty.get(size, 0) * size**2 >= _MOSTLY * counts.zeros), None
    )
    return Pattern(name=f"block {size}x{size}") if size else None


def _tier_pattern(counts: TensorCounts) -> Pattern | None:
    """A few densities that nearly all blocks have, which chance would spread otherwise."""
    levels, size = counts.blocks.levels if counts.blocks else {}, TIERS * TIERS
    total = sum(levels.values())
    large = sorted(zeros for zeros, count in levels.items() if count >= _SMALL_TIER * total)
    if total < _FEWEST_BLOCKS or len(large) > _FEW_TIERS or sum(levels[zeros] for zeros in large) < _ALL_TIERS * total:
        return None
    mean = sum(zeros * count for zeros, count in levels.items()) / total
    variance = sum((zeros - mean) ** 2 * count for zeros, count in levels.items()) / total
    by_chance = mean * (1 - mean / size)  # of a binomial distribution
    if by_chance / _FAR < variance < by_chance * _FAR:
        return None
    if len(large) == 1:
        return Pattern(name=f"{large[0] / size:.0%} of each block {TIERS}x{TIERS}")
    return Pattern(name=f"blocks {TIERS}x{TIERS} in tiers ({', '.join(f'{zeros / size:.0%}' for zeros in large)} zero)")
