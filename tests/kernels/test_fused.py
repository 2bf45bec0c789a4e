"""The ways out of int32: compiled against the NumPy definition, where rounding could differ."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import TYPES, each_kernel, integers, products, wrap

from numq.kernels import Isa, matmul_dequantized, matmul_integers, matmul_requantized, pack_weight
from numq.kernels.reference import dequantize_numpy, requantize_numpy


def accumulator(a: Any, b: Any, a_zero: int, b_zero: Any, bias: Any) -> Any:
    """``(a - a_zero) @ (b - b_zero) + bias`` in int64, then modulo 2**32."""
    wide = (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - b_zero) + bias
    return wide.astype(np.int32)


@each_kernel
@settings(max_examples=60, deadline=None)
@given(
    pair=products(),
    seed=st.integers(0, 999),
    a_zero=st.integers(-128, 255),
    per_channel=st.booleans(),
)
def test_all_ways_out_of_any_product(
    isa: Isa, pair: Any, seed: int, a_zero: int, per_channel: bool
) -> None:
    (a, b), rng = pair, np.random.default_rng(seed)
    n = b.shape[1]
    b_zero: Any = (
        rng.integers(-128, 256, n).astype(np.int32) if per_channel else int(rng.integers(-1, 2))
    )
    bias = rng.integers(-(2**31), 2**31, n).astype(np.int32)
    zeros = {"a_zero_point": a_zero, "b_zero_point": b_zero, "isa": isa}
    sums = accumulator(a, b, a_zero, b_zero, bias)
    assert (matmul_integers(a, b, bias=bias, **zeros) == sums).all()

    multiplier = (rng.random(n, np.float32) * np.float32(2.0**-20)).astype(np.float32)
    codes = matmul_requantized(
        a, b, multiplier=multiplier, zero_point=3, qmin=-7, bias=bias, **zeros
    )
    assert codes.dtype == np.int8
    assert (codes == requantize_numpy(sums, multiplier, 3, -7, 127)).all()

    rows, floats = rng.random(len(a), np.float32), rng.random(n, np.float32)
    plain = accumulator(a, b, a_zero, b_zero, 0)
    real = matmul_dequantized(a, b, row_scale=rows, column_scale=multiplier, bias=floats, **zeros)
    assert (real == dequantize_numpy(plain, rows, multiplier, floats)).all()


@each_kernel
def test_large_products_packed_and_not(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    for a_type, b_type in ((x, y) for x in TYPES for y in TYPES):
        a, b = integers(rng, a_type, 203, 2050), integers(rng, b_type, 2050, 195)
        b_zero = rng.integers(0, 9, 195).astype(np.int32)
        sums = accumulator(a, b, 5, b_zero, 0)
        for weight in (b, pack_weight(b, isa=isa)):
            assert (
                matmul_integers(a, weight, a_zero_point=5, b_zero_point=b_zero, isa=isa) == sums
            ).all()


def sums_of(values: Any, isa: Isa) -> tuple[Any, Any]:
    """Operands whose product is the row ``values``, each below 2**31 in magnitude, in base 128."""
    values = np.asarray(values, np.int64)
    digits = [((np.abs(values) >> (7 * i)) & 127) * np.sign(values) for i in range(5)]
    b = np.array(digits).astype(np.int8)
    a = np.concatenate(
        [np.full(128**i // 64 if i else 1, 64 if i else 1, np.int64) for i in range(3)]
    )
    rows = np.concatenate(
        [np.repeat(b[i][None], 128**i // 64 if i else 1, axis=0) for i in range(3)]
    )
    assert (np.abs(values) < 128**3).all()
    return a.astype(np.int8)[None], rows


@each_kernel
def test_ties_go_to_even(isa: Isa) -> None:
    """Half-even, half-up, half-away, and truncation all differ somewhere on these."""
    values = np.arange(-255, 256)
    a, b = sums_of(values, isa)
    codes = matmul_requantized(a, b, multiplier=0.5, isa=isa)[0]
    assert codes.tolist() == [max(-128, min(127, round(Fraction(int(v), 2)))) for v in values]


@each_kernel
def test_zero_point_is_added_after_rounding(isa: Isa) -> None:
    """Adding an odd zero point first would turn every tie the other way."""
    a, b = sums_of(np.arange(-20, 21), isa)
    codes = matmul_requantized(a, b, multiplier=0.5, zero_point=1, isa=isa)[0]
    assert codes.tolist() == [round(Fraction(v, 2)) + 1 for v in range(-20, 21)]


@each_kernel
@pytest.mark.parametrize(
    ("dtype", "zero", "qmin", "qmax"), [(np.uint8, 128, 128, 255), (np.int8, -128, -128, 127)]
)
def test_clamp_at_both_ends_and_relu(isa: Isa, dtype: Any, zero: int, qmin: int, qmax: int) -> None:
    values = np.array([-(2**20), -300, -1, 0, 1, 126, 127, 128, 254, 255, 256, 300, 2**20])
    a, b = sums_of(values, isa)
    for multiplier in (1.0, 1e30):
        codes = matmul_requantized(
            a, b, multiplier=multiplier, zero_point=zero, qmin=qmin, qmax=qmax, dtype=dtype, isa=isa
        )
        with np.errstate(over="ignore"):
            expected = np.clip(np.rint(values * multiplier) + zero, qmin, qmax)
        assert codes.dtype == dtype
        assert (codes[0] == expected).all()


@each_kernel
def test_large_sums_become_float32_by_rounding_to_even(isa: Isa) -> None:
    """Beyond 2**24 not every integer is a float32; multipliers that bring the neighbours to a tie.

    The bias makes sums of any size.
    """
    steps, near = np.arange(-6, 7), 1 + np.arange(-6, 7, dtype=np.float32) * np.float32(2.0**-23)
    bias = np.concatenate([sign * (2**24 + steps) for sign in (1, -1)]).astype(np.int32)
    a, b = np.zeros((1, 4), np.int8), np.zeros((4, len(bias)), np.int8)
    differ = 0
    for multiplier in (np.float32(100.5 * 2.0**-24) * near).tolist():
        codes = matmul_requantized(a, b, multiplier=multiplier, bias=bias, isa=isa)[0]
        factor = np.full(len(bias), multiplier, np.float32)
        assert (codes == requantize_numpy(bias[None], factor, 0, -128, 127)).all()
        differ += (codes != np.rint(bias * multiplier)).sum()
    assert differ  # the exact sum, not rounded to float32, would give other codes


@each_kernel
def test_the_largest_sums(isa: Isa) -> None:
    bias = np.array([2**31 - 1, -(2**31)], np.int32)
    a, b = np.zeros((1, 4), np.int8), np.zeros((4, 2), np.int8)
    assert (matmul_integers(a, b, bias=bias, isa=isa)[0] == bias).all()
    codes = matmul_requantized(a, b, multiplier=2.0**-25, bias=bias, isa=isa)[0]
    assert codes.tolist() == [64, -64]


@each_kernel
def test_no_fused_multiply_add_and_scales_are_multiplied_first(isa: Isa) -> None:
    rng = np.random.default_rng(1)
    a, b = integers(rng, np.int8, 64, 50), integers(rng, np.int8, 50, 64)
    rows, columns, bias = (rng.random(64, np.float32) for _ in range(3))
    got = matmul_dequantized(a, b, row_scale=rows, column_scale=columns, bias=bias, isa=isa)
    sums = accumulator(a, b, 0, 0, 0).astype(np.float32)
    assert (got == sums * (rows[:, None] * columns) + bias).all()
    fused = (sums.astype(np.float64) * (rows[:, None] * columns) + bias).astype(np.float32)
    other_order = (sums * rows[:, None]) * columns + bias
    assert (got != fused).any()
    assert (got != other_order).any()


@each_kernel
def test_without_bias_a_negative_zero_keeps_its_sign(isa: Isa) -> None:
    a, b = np.zeros((1, 3), np.int8), np.zeros((3, 2), np.int8)
    real = matmul_dequantized(a, b, row_scale=-1.0, column_scale=1.0, isa=isa)
    assert np.signbit(real).all()


@each_kernel
def test_leading_axes_and_empty_results(isa: Isa) -> None:
    a, b = np.ones((2, 3, 4), np.int8), np.ones((4, 5), np.int8)
    assert (matmul_integers(a, b, isa=isa) == np.full((2, 3, 5), 4)).all()
    assert matmul_requantized(a[:0], b, multiplier=1.0, isa=isa).shape == (0, 3, 5)
    assert matmul_dequantized(a, b[:, :0], row_scale=1.0, column_scale=1.0, isa=isa).shape == (
        2,
        3,
        0,
    )
    none = matmul_integers(a[..., :0], b[:0], bias=np.arange(5, dtype=np.int32), isa=isa)
    assert (none == np.arange(5)).all()


def test_wrap_is_modulo_2_32() -> None:
    assert [wrap(v) for v in (2**31, -(2**31) - 1, 5)] == [-(2**31), 2**31 - 1, 5]
