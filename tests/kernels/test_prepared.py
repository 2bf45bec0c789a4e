"""Products prepared once: the same bits, what is given per call, what a call costs and refuses."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from typing import Any

import numpy as np
import pytest
from matrices import TYPES, each_kernel, integers

from numq.kernels import Isa, matmul, matmul_requantized, pack_weight
from numq.kernels.product.prepared import prepare_product
from numq.kernels.product.ways import COMPILED, dequantized, requantized
from numq.kernels.product.ways import integers as sums
from numq.kernels.reference import requantize_numpy
from numq.requantization import Requantization

CODES: dict[str, Any] = {"zero_point": 3, "qmin": -100, "qmax": 127, "dtype": np.int8}


@each_kernel
def test_zero_points_and_scales_of_rows(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    for a_type, b_type in ((x, y) for x in TYPES for y in TYPES):
        for m, k, n in ((1, 1, 1), (5, 70, 33), (100, 1030, 70)):
            a, b = integers(rng, a_type, m, k), integers(rng, b_type, k, n)
            zeros, rows = (rng.integers(-128, 256, size).astype(np.int32) for size in (n, m))
            given = {"a_dtype": a_type, "a_zero_point": -7, "b_zero_point": zeros, "isa": isa}
            wide = (a.astype(np.int64) + 7 - rows[:, None]) @ (b.astype(np.int64) - zeros)
            exact = wide.astype(np.int32)
            assert (prepare_product(b, sums(), **given)(a, row_zero_point=rows) == exact).all()
            scale, across = rng.random(m, np.float32), rng.random(n, np.float32)
            real = prepare_product(b, dequantized(across, None, n), **given)
            expected = exact.astype(np.float32) * (scale[:, None] * across)
            assert (real(a, row_scale=scale, row_zero_point=rows) == expected).all()


@each_kernel
@pytest.mark.parametrize("requantization", COMPILED, ids=lambda requantization: requantization.name)
def test_every_rule_leaves_the_product(isa: Isa, requantization: Requantization) -> None:
    rng = np.random.default_rng(1)
    a, b = integers(rng, np.uint8, 30, 65), integers(rng, np.int8, 65, 70)
    bias = rng.integers(-(2**31), 2**31, 70).astype(np.int32)
    bias[::2] >>= 18
    shift = rng.integers(-12, -6, 70).astype(np.int32)
    factor: Any = rng.integers(2**30, 2**31, 70).astype(np.int32)
    if not requantization.fixed:
        factor = rng.random(70) * 2.0**-9 + 2.0**-12
        factor = factor.astype(np.float32) if requantization is Requantization.F32_EVEN else factor
    way = requantized(
        requantization, factor, shift if requantization.fixed else 0, channels=70, **CODES
    )
    product = prepare_product(b, way, a_dtype=np.uint8, a_zero_point=9, bias=bias, isa=isa)
    exact = ((a.astype(np.int64) - 9) @ b.astype(np.int64) + bias).astype(np.int32)
    expected = requantize_numpy(exact, factor, 3, -100, 127, requantization, shift)
    assert (product(a) == expected).all()
    assert (product(np.asfortranarray(a)) == expected).all()
    assert (product(np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3]) == expected).all()


def test_a_call_is_a_handful_of_calls() -> None:
    rng = np.random.default_rng(2)
    way = requantized(Requantization.F32_EVEN, 0.01, channels=64, **CODES)
    product = prepare_product(integers(rng, np.int8, 64, 64), way, a_dtype=np.uint8)
    a, calls = integers(rng, np.uint8, 1, 64), []
    product(a)
    sys.setprofile(lambda frame, event, _: calls.append(frame) if event == "call" else None)
    try:
        product(a)
    finally:
        sys.setprofile(None)
    if product.task is not None:
        assert len(calls) <= 4, [frame.f_code.co_qualname for frame in calls]


def test_what_a_call_refuses() -> None:
    a, b = np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)
    product = prepare_product(b, dequantized(1.0, None, 4), a_dtype=np.int8)
    for wrong in (a[0], a[:, :2], a[None], np.ones((3, 2), np.int8)):
        with pytest.raises(ValueError, match=r"a has shape .*; allowed is \(M, 3\)"):
            product(wrong)
    for other in (a.tolist(), a.astype(np.uint8), a.astype(np.int16), np.ma.MaskedArray(a), None):
        with pytest.raises(TypeError, match=r"^a "):
            product(other)
    for name, kind in (("row_scale", np.float32), ("row_zero_point", np.int32)):
        for shape in ((3,), (1,), (2, 1)):
            with pytest.raises(ValueError, match=rf"{name} has shape .*; allowed is \(2,\)"):
                product(a, **{name: np.ones(shape, kind)})
        for array in (np.ones(2), [1, 1], np.ones(2, np.uint8), None):
            with pytest.raises(TypeError, match=rf"{name} .*; allowed"):
                product(a, **{name: array})
        apart = np.ones(4, kind)[::2]
        assert (product(a, **{name: apart}) == product(a, **{name: apart.copy()})).all()
    with pytest.raises(ValueError, match="row_scale is given; allowed"):
        prepare_product(b, sums(), a_dtype=np.int8)(a, row_scale=np.ones(2, np.float32))
    with pytest.raises(ValueError, match="way has 3 channels; allowed are the 4 of b"):
        prepare_product(b, dequantized(1.0, None, 3), a_dtype=np.int8)


def test_a_copy_and_a_stored_one_are_whole() -> None:
    """Their records hold no addresses."""
    rng = np.random.default_rng(3)
    a, b = integers(rng, np.uint8, 9, 40), integers(rng, np.int8, 40, 50)
    factors = rng.random(50, np.float32) * np.float32(0.01)
    way = requantized(Requantization.F32_EVEN, factors, channels=50, **CODES)
    product = prepare_product(pack_weight(b), way, a_dtype=np.uint8)
    expected = matmul_requantized(a, b, multiplier=factors, **CODES)
    for twin in (copy.deepcopy(product), pickle.loads(pickle.dumps(product))):
        assert (twin(a) == expected).all()


def test_a_packed_weight_goes_when_it_is_dropped_and_is_pickled_bare() -> None:
    a, b = np.ones((2, 70), np.int8), pack_weight(np.ones((70, 33), np.int8))
    bare = len(pickle.dumps(b))
    assert (matmul(a, b) == 70).all()
    assert len(pickle.dumps(b)) == bare
    assert (matmul(a, pickle.loads(pickle.dumps(b))) == 70).all()
    there = weakref.ref(b)
    gc.disable()
    try:
        del b
        assert there() is None
    finally:
        gc.enable()


@each_kernel
def test_what_was_given_stays_the_callers(isa: Isa) -> None:
    rng = np.random.default_rng(4)
    a, b = integers(rng, np.uint8, 5, 30), integers(rng, np.int8, 30, 7)
    zeros, bias = np.arange(7, dtype=np.int32), np.arange(7, dtype=np.int32) * 1000
    product = prepare_product(b, sums(), a_dtype=np.uint8, b_zero_point=zeros, bias=bias, isa=isa)
    exact = a.astype(np.int32) @ (b.astype(np.int32) - zeros) + bias
    zeros[:], bias[:] = 0, 7
    assert (product(a) == exact).all()
    assert not product.b_zero_point.flags.writeable
    assert not product.bias.flags.writeable
