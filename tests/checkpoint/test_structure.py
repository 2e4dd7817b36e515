"""What one pass counts in a tensor's bytes, against torch; and the structure that is told from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from pytest_prunegate.checkpoint.counting import TensorCounter
from pytest_prunegate.checkpoint.safetensors_header import read_header
from pytest_prunegate.checkpoint.structure import DENSE, EMPTY, TIERS, UNSTRUCTURED, TensorCounts, pattern_of
from pytest_prunegate.checkpoint.zero_pattern import look_for
from pytest_prunegate.execution.held_tensors import counts_of, info_of

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = [
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int8,
]


def dense(*shape: int, seed: int = 0) -> torch.Tensor:
    """Whole numbers from 1 to 7, which every dtype holds, half of them negative."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(1, 8, shape, generator=made).float() * (1 - 2 * torch.randint(0, 2, shape, generator=made))


def counted(tensor: torch.Tensor) -> TensorCounts:
    found = counts_of(info_of("w", tensor), tensor)
    assert found is not None
    return found


def name(tensor: torch.Tensor) -> str:
    return pattern_of(counted(tensor), tensor.numel()).name


def unstructured(share: float, *shape: int) -> torch.Tensor:
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(1)) >= share
    return dense(*shape) * keep


def grouped(most: int, size: int, *shape: int) -> torch.Tensor:
    """At most so many numbers other than zero in each group along the last dimension, at random places."""
    places = torch.rand((shape[0], shape[1] // size, size), generator=torch.Generator().manual_seed(2)).argsort(-1)
    return dense(*shape) * (places < most).reshape(shape)


def blocks(side: int, keep: torch.Tensor) -> torch.Tensor:
    """Blocks of a side that are kept or not."""
    mask = keep.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return dense(*mask.shape) * mask


def tiers(shares: tuple[float, ...], zero: tuple[float, ...], *shape: int) -> torch.Tensor:
    """Blocks of 16 by 16 of several densities, at random places."""
    made = torch.Generator().manual_seed(3)
    rows, columns = shape[0] // TIERS, shape[1] // TIERS
    order = torch.randperm(rows * columns, generator=made)
    level = torch.zeros(rows * columns)
    begin = 0
    for share, zeros in zip(shares, zero, strict=True):
        end = begin + round(share * rows * columns)
        level[order[begin:end]] = zeros
        begin = end
    rank = torch.rand((rows, columns, TIERS * TIERS), generator=made).argsort(-1)
    keep = rank >= (level.reshape(rows, columns, 1) * TIERS * TIERS).round()
    mask = keep.reshape(rows, columns, TIERS, TIERS).transpose(1, 2).reshape(shape)
    return dense(*shape) * mask


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(64, 48), (7, 13), (40,), (3, 16, 24), (2, 3, 8), (200, 8), (1, 8), (0, 8)], ids=str)
def test_counts_are_torchs(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (dense(*shape) * (torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.4)).to(dtype)
    plain = tensor.float()
    found = counted(tensor)
    assert found.zeros == int((plain == 0).sum())
    assert found.not_finite == 0
    if found.fullest_across:
        for size, most in zip((4, 8), found.fullest_across, strict=True):
            assert most == (int((plain.reshape(-1, size) != 0).sum(-1).max()) if plain.numel() else 0)
    if found.fullest_down:
        matrix = plain.reshape(-1, shape[-1])
        for size, most in zip((4, 8), found.fullest_down, strict=True):
            whole = matrix[: len(matrix) // 8 * 8].reshape(-1, size, shape[-1])
            assert most == int((whole != 0).sum(1).max())
    if found.blocks and len(shape) == 2:
        for side, empty in found.blocks.empty.items():
            rows, columns = shape[0] // side, shape[1] // side
            cut = plain[: rows * side, : columns * side].reshape(rows, side, columns, side)
            assert empty == int((cut == 0).all(dim=3).all(dim=1).sum())


def test_minus_zero_is_zero_and_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = unstructured(0.5, 1000, 1024).float()
    tensor[tensor == 0] *= -1.0
    whole = counted(tensor)
    assert whole.zeros == int((tensor == 0).sum())
    monkeypatch.setattr("pytest_prunegate.checkpoint.counting._PIECE", 40_000)
    assert TensorCounter("F32", (1000, 1024)).piece_size == 8 * 1024 * 4
    assert counted(tensor) == whole


@pytest.mark.parametrize("dtype", DTYPES[:-1], ids=str)
def test_numbers_that_are_none(dtype: torch.dtype) -> None:
    tensor = dense(16, 16).to(torch.float32)
    tensor[3, 4] = torch.nan
    expected = 1
    if dtype is not torch.float8_e4m3fn:  # which has no infinity
        tensor[5, 6], tensor[7, 7] = torch.inf, -torch.inf
        expected = 3
    assert counted(tensor.to(dtype)).not_finite == expected


def test_the_structure_of_zeros() -> None:
    assert name(dense(64, 64)) == DENSE.name
    assert name(torch.zeros(64, 64)) == EMPTY.name
    assert name(unstructured(0.5, 256, 256)) == UNSTRUCTURED.name
    for share in (0.011, 0.02, 0.3, 0.9, 0.98, 0.995):
        assert name(unstructured(share, 256, 256)) == UNSTRUCTURED.name
    assert name(unstructured(0.5, 32, 64)) == UNSTRUCTURED.name, "too few blocks to tell tiers"
    for most, size in ((2, 4), (1, 4), (3, 4), (4, 8), (1, 8), (6, 8)):
        assert name(grouped(most, size, 128, 256)) == f"{most}:{size}"
        assert name(grouped(most, size, 256, 128).T.contiguous()) == f"{most}:{size} along dimension 0"
    for side in (8, 16, 32, 64):
        keep = torch.rand(512 // side, 512 // side, generator=torch.Generator().manual_seed(side)) < 0.5
        assert name(blocks(side, keep)) == f"block {side}x{side}"
    assert name(tiers((0.35, 0.45, 0.2), (0.0, 0.5, 1.0), 512, 512)) == ("blocks 16x16 in tiers (0%, 50%, 100% zero)")


def test_groups_that_break_the_pattern_are_seen() -> None:
    tensor = grouped(2, 4, 256, 512)
    assert counted(tensor).overfull[0] == 0
    tensor[255, 508:512] = torch.tensor([1, 2, 3, 0])
    assert (counted(tensor).fullest_across[0], counted(tensor).overfull[0]) == (3, 1)
    assert name(tensor) == "nearly 2:4"
    tensor[:, :64] = dense(256, 64)
    assert name(tensor) == "blocks 16x16 in tiers (0%, 50% zero)"
    each = tiers((1.0,), (0.5,), 256, 256)
    assert name(each) == "50% of each block 16x16"


def test_blocks_end_with_their_matrix_and_numbers_without_a_dimension_count(tmp_path: Path) -> None:
    """Of a stack, one matrix is all zero and one is dense: no block of 16 rows reaches from one into the other."""
    stack = torch.stack((torch.zeros(24, 32), dense(24, 32)))
    save_file({"experts": stack, "scale": torch.tensor(0.0)}, tmp_path / "model.safetensors")
    tensors = {tensor.name: tensor for tensor in read_header(tmp_path / "model.safetensors")}
    found = look_for("block:16x16", (tensors["experts"],), "one")
    assert (found.total, found.whole) == (8, 8)
    assert counted(torch.tensor(0.0)).zeros == 1
