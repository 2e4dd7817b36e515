"""Zeros layer by layer, by the places that a layout gives tensors."""

from __future__ import annotations

import pytest

from pytest_prunegate.checkpoint.layout import Counted, Layout, Place, Role
from pytest_prunegate.checkpoint.packed import PackedFormat
from pytest_prunegate.checkpoint.safetensors_header import TensorInfo
from pytest_prunegate.checkpoint.sparsity import LayerZeros, Sparsity, sparsity
from pytest_prunegate.checkpoint.structure import TensorCounts

LINEAR, ROUTER, OTHER = Role.LINEAR, Role.ROUTER, Role.OTHER
PLACES = {
    "b": Place(role=LINEAR, layer=10), "a": Place(role=LINEAR, layer=9), "outside": Place(role=LINEAR, layer=None),
    "router": Place(role=ROUTER, layer=9), "head": Place(role=OTHER, layer=None),
}  # fmt: skip
ZEROS = {"b": 1, "a": 4, "outside": 2, "router": 0, "head": 7}


def tensor(name: str, dtype: str = "F32") -> TensorInfo:
    return TensorInfo(name=name, dtype=dtype, shape=(2, 5))


def packed(name: str) -> PackedFormat:
    return PackedFormat(name=name, declared={})


def layout(linear: int = 30, tied: tuple[tuple[str, ...], ...] = ()) -> Layout:
    return Layout(architecture="X", places=PLACES, tied=tied, linear=linear, router=10)


def counted(
    found: Layout | str, *, dtype: str = "F32", packed: PackedFormat | None = None, more: tuple[str, ...] = ()
) -> Sparsity:
    tensors = [*(tensor(name, dtype) for name in PLACES), *(tensor(name) for name in more)]
    counts = tuple(TensorCounts(zeros=zeros) for zeros in [*ZEROS.values(), *(5 for _ in more)])
    return sparsity(Counted(tensors=tuple(tensors), counts=counts), found, packed)


def test_each_layer_has_its_own_weights_and_routers_are_apart() -> None:
    found = counted(layout())
    assert found.layers == (LayerZeros(layer=9, zeros=4, elements=10), LayerZeros(layer=10, zeros=1, elements=10))
    assert (found.zeros, found.elements, found.router_zeros, found.router_elements) == (7, 30, 0, 10)


def test_a_tensor_that_is_stored_twice_or_is_not_the_models_does_not_count() -> None:
    found = counted(layout(linear=20, tied=(("a", "outside"),)), more=("mask",))
    assert (found.zeros, found.elements) == (5, 20)


@pytest.mark.parametrize("dtype", ["I8", "F8_E4M3", "F8_E5M2", "BF16"])
def test_plain_bytes_of_a_quantised_checkpoint_count(dtype: str) -> None:
    assert counted(layout(), dtype=dtype, packed=packed("compressed-tensors")).share == counted(layout()).share


@pytest.mark.parametrize(
    ("found", "how", "said"),
    [
        ("KeyError: 'x'", {}, r"which of its tensors the model multiplies with is not known: KeyError: 'x'"),
        (layout(), {"dtype": "U8", "packed": packed("awq")}, r"the weights are packed or quantised \(awq\)"),
        (layout(linear=31), {"packed": packed("gptq")}, r"the weights are packed or quantised \(gptq\)"),
        (layout(), {"dtype": "I8", "packed": packed("w8a8"), "more": ("a_zero_point",)}, r"packed or quantised \(w8a8\)"),
        (layout(), {"dtype": "C64"}, r"weights are stored as C64"),
        (layout(linear=31), {}, r"do not hold all of the weights"),
        (layout(linear=0), {}, r"X has no linear layers"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_says_why(found: Layout | str, how: dict[str, object], said: str) -> None:
    import re

    result = counted(found, **how)  # type: ignore[arg-type]
    assert (result.share, result.layers) == (None, ())
    assert re.search(said, result.problem or "")
