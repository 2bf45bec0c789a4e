"""The int32 product: every kernel against the oracle, with ``==``."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from matrices import (
    LAYOUTS,
    TYPES,
    each_compiled,
    each_kernel,
    exact,
    integers,
    oracle,
    products,
)

from numq.kernels import Isa, PackedWeight, get_threads, matmul, pack_weight, set_threads
from numq.kernels.machine.tile import BLOCK_K, TILES
from numq.kernels.machine.workspace import room
from numq.kernels.product.entries import kernels
from numq.kernels.product.loops import BLOCK_M, BLOCK_N


def assert_product(a: Any, b: Any, isa: Isa) -> None:
    """Unpacked and packed, ``a @ b`` is what int64 says."""
    expected = exact(a, b)
    got = matmul(a, b, isa=isa)
    assert got.dtype == np.int32
    assert got.shape == expected.shape
    assert (got == expected).all(), f"{isa} {a.shape} {a.dtype} @ {b.shape} {b.dtype}"
    packed = matmul(a, pack_weight(b, isa=isa))
    assert (packed == expected).all(), f"packed {isa} {a.shape} {a.dtype} @ {b.shape} {b.dtype}"


@settings(max_examples=40, deadline=None)
@given(products(most=20))
def test_oracles_agree(pair: Any) -> None:
    a, b = pair
    assert exact(a, b).tolist() == oracle(a, b)


@each_kernel
@settings(max_examples=150, deadline=None)
@given(pair=products())
def test_any_shape_type_and_layout(isa: Isa, pair: Any) -> None:
    assert_product(*pair, isa)


@each_compiled
def test_all_residues_of_the_tile(isa: Isa) -> None:
    """Every remainder of M and N modulo the tile, and of K modulo a group and a vector."""
    tile, rng = TILES[isa], np.random.default_rng(0)
    m, n = tile.direct + 2 * tile.rows, 2 * tile.columns
    depths = [
        *range(1, 2 * tile.group + 1),
        tile.lanes * tile.group - 1,
        tile.lanes * tile.group + 1,
    ]
    a, b = integers(rng, np.int8, m, max(depths)), integers(rng, np.int8, max(depths), n)
    for k in depths:
        whole = exact(a[:, :k], b[:k])
        for rows, columns in product(range(1, m + 1), range(1, n + 1)):
            got = matmul(a[:rows, :k], b[:k, :columns], isa=isa)
            assert (got == whole[:rows, :columns]).all(), (rows, k, columns)


@each_compiled
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_more_than_one_block_each_way(isa: Isa, layout: str) -> None:
    rng = np.random.default_rng(1)
    for a_type, b_type in product(TYPES, TYPES):
        a = integers(rng, a_type, BLOCK_M + 5, 2 * BLOCK_K + 3)
        b = integers(rng, b_type, 2 * BLOCK_K + 3, BLOCK_N + 37)
        assert_product(LAYOUTS[layout](a), LAYOUTS[layout](b), isa)


@each_compiled
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("rows", [1, 4, 8])
def test_few_rows_and_few_columns(isa: Isa, layout: str, rows: int) -> None:
    rng = np.random.default_rng(2)
    for a_type, b_type in product(TYPES, TYPES):
        a, b = integers(rng, a_type, rows, 333), LAYOUTS[layout](integers(rng, b_type, 333, 150))
        assert_product(a, b, isa)
        assert_product(b.T, a.T, isa)


EXTREMES = [
    # the largest K at which the sum still fits int32
    (np.int8, -128, np.int8, -128, 131_071),
    (np.uint8, 255, np.int8, -128, 65_793),
    (np.int8, -128, np.uint8, 255, 65_793),
    (np.uint8, 255, np.uint8, 255, 33_025),
    # the sum fits, but not if 127 is stored as 255, unless sums wrap and corrections wrap back
    (np.int8, 127, np.int8, 127, 131_071),
    # the sum wraps
    (np.int8, -128, np.int8, -128, 131_072),
    (np.uint8, 255, np.int8, 127, 66_313),
    (np.uint8, 255, np.uint8, 255, 66_052),
]


@each_kernel
@pytest.mark.parametrize(("a_type", "a", "b_type", "b", "k"), EXTREMES)
def test_extremes_neither_saturate_nor_lose_a_bit(
    isa: Isa, a_type: Any, a: int, b_type: Any, b: int, k: int
) -> None:
    for m in (1, TILES[isa].direct if isa in TILES else 3):
        left, right = np.full((m, k), a, a_type), np.full((k, 19), b, b_type)
        assert_product(left, right, isa)
        assert_product(left, np.asfortranarray(right), isa)


@each_kernel
def test_every_pair_of_codes(isa: Isa) -> None:
    """All 65 536 products of each pair of types, alone in their sum."""
    for a_type, b_type in product(TYPES, TYPES):
        a, b = np.arange(256).astype(a_type)[:, None], np.arange(256).astype(b_type)[None]
        assert_product(a, b, isa)


@each_kernel
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 1, 4, 5), (2, 5, 6)),
        ((2, 3, 4, 5), (5, 6)),
        ((4, 5), (2, 3, 5, 6)),
        ((5,), (5,)),
        ((5,), (2, 5, 6)),
        ((2, 4, 5), (5,)),
        ((2, 0, 5), (5, 6)),
        ((2, 4, 0), (2, 0, 6)),
        ((0, 4, 5), (5, 6)),
        ((7, 64, 65), (7, 65, 66)),
        ((3, 130, 130), (3, 130, 130)),
    ],
)
def test_batches_follow_numpy(isa: Isa, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    left, right = integers(rng, np.int8, *a), integers(rng, np.uint8, *b)
    expected = np.matmul(left.astype(np.int64), right.astype(np.int64))
    got = matmul(left, right, isa=isa)
    assert got.shape == expected.shape
    assert (got == expected).all()
    if expected.ndim:
        out = np.empty(expected.shape, np.int32)
        assert matmul(left, right, isa=isa, out=out) is out
        assert (out == expected).all()


@each_compiled
@pytest.mark.parametrize("shape", [(150, 300, 400), (400, 300, 150), (3, 800, 900), (900, 800, 3)])
def test_same_bits_for_any_number_of_threads(isa: Isa, shape: tuple[int, int, int]) -> None:
    rng, before = np.random.default_rng(4), get_threads()
    a, b = integers(rng, np.int8, *shape[:2]), integers(rng, np.uint8, *shape[1:])
    try:
        for count in range(1, before + 1):
            set_threads(count)
            assert_product(a, b, isa)
    finally:
        set_threads(before)


@each_compiled
def test_same_bits_for_any_grid_of_tasks(isa: Isa) -> None:
    """More tasks than this machine has processors, some of them empty."""
    rng, kit = np.random.default_rng(5), kernels(isa)
    assert kit is not None
    a, b = integers(rng, np.int8, 40, 70), integers(rng, np.int8, 70, 65)
    expected = exact(a, b)
    for down, across in product((1, 2, 5), (1, 2, 7)):
        c, tasks = np.empty((40, 65), np.int32), down * across
        kit.product.run_all(tasks, a, b, c, 0x80, 0x80, room(tasks, kit.product_room), down, across)
        assert (c == expected).all(), (down, across)


def test_inputs_stay_and_may_be_read_only() -> None:
    rng = np.random.default_rng(6)
    a, b = integers(rng, np.int8, 33, 44), integers(rng, np.int8, 44, 55)
    copies = a.copy(), b.copy()
    a.flags.writeable = b.flags.writeable = False
    assert (matmul(a, b) == exact(*copies)).all()
    assert (a == copies[0]).all()
    assert (b == copies[1]).all()


def test_packed_weight_says_its_size_and_cannot_change() -> None:
    b = integers(np.random.default_rng(7), np.int8, 64, 96)
    weight = pack_weight(b)
    assert isinstance(weight, PackedWeight)
    assert weight.shape == b.shape
    assert weight.dtype == b.dtype
    assert b.nbytes <= weight.nbytes <= 2 * b.nbytes
    b[:] = 0
    assert matmul(np.ones((1, 64), np.int8), weight).any()
    with pytest.raises(ValueError, match="read-only"):
        weight.panels[0, 0] = 1
    with pytest.raises(AttributeError):
        weight.shape = (1, 1)  # type: ignore[misc]


@pytest.mark.slow
@each_compiled
def test_a_sweep_of_shapes(isa: Isa) -> None:
    rng = np.random.default_rng(8)
    sizes = (1, 2, 7, 8, 9, 13, 31, 33, 96, 97, 255, 513)
    for m, k, n in product(sizes, (1, 3, 64, 1023, 1025, 2049), sizes):
        a_type, b_type = rng.choice(TYPES), rng.choice(TYPES)
        assert_product(integers(rng, a_type, m, k), integers(rng, b_type, k, n), isa)
