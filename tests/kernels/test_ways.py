"""Every rule of requantization against exact fractions: ties, the ends of int32, all shifts."""

from __future__ import annotations

from fractions import Fraction
from math import floor, trunc
from typing import Any

import numpy as np
import pytest
from matrices import each_kernel

from numq.kernels import Isa
from numq.kernels.passes.requantize import requantize
from numq.kernels.product import ways
from numq.requantization import Multiplier, Requantization

HALF = Fraction(1, 2)
CODES = [(np.int8, 3, -128, 127), (np.uint8, 128, 128, 255), (np.int16, -7, -(2**15), 2**15 - 1),
         (np.uint16, 2**16 - 1, 0, 2**16 - 1)]  # fmt: skip
ENDS = [-(2**31), 1 - 2**31, -(2**30), -(2**24) - 1, 2**24 + 1, 2**30, 2**31 - 1]


def half_away(x: Fraction) -> int:
    return trunc(x + HALF) if x > 0 else trunc(x - HALF)


def expected(requantization: Requantization, total: int, multiplier: Any, shift: int) -> int:
    """The rule, in exact numbers."""
    if requantization == Requantization.F32_EVEN:
        return round(Fraction(float(np.float32(total) * np.float32(multiplier))))
    if requantization == Requantization.F64_AWAY:
        return half_away(Fraction(float(total) * float(multiplier)))
    left, right = max(shift, 0), max(-shift, 0)
    held = min(max(total, -(2**31) >> left), (2**31 - 1) >> left) << left
    exact = Fraction(held * int(multiplier), 2**31)
    if requantization == Requantization.FIXED_SINGLE_UP:
        return floor(exact / 2**right + HALF)
    high = Fraction(floor(exact + HALF), 2**right)
    return (
        half_away(high) if requantization == Requantization.GEMMLOWP_DOUBLE else floor(high + HALF)
    )


def sums_near(shift: int, count: int) -> Any:
    """Few steps of the output, halves of them, their neighbours; the ends of int32."""
    unit = 2 ** max(0, -shift)
    steps = [unit * i // 2 + j for i in range(-5, 6) for j in (-1, 0, 1)]
    rows = np.array([s for s in (*steps, *ENDS) if -(2**31) <= s < 2**31], np.int64)
    return np.repeat(rows[:, None], count, 1).astype(np.int32)


@each_kernel
@pytest.mark.parametrize(
    "requantization", ways.COMPILED, ids=lambda requantization: requantization.name
)
def test_each_rule_is_exact(isa: Isa, requantization: Requantization) -> None:
    """Five channels at once, and one for all: vectors begin, end and overlap in all ways."""
    for shift in range(-31, 31):
        dtype, zero, qmin, qmax = CODES[shift % 4]
        if not requantization.fixed:
            kind = np.float32 if requantization.multiplier is Multiplier.FLOAT32 else np.float64
            factors = np.ldexp(np.array([0.5, 0.75, 1 - 2.0**-24, 0.7, 1], kind), shift)
        else:
            factors = np.array([0, 2**30, 3 * 2**29, 2**31 - 1, 1503238553], np.int32)
        shifts = 0 if not requantization.fixed else shift
        ends = {"zero_point": zero, "qmin": qmin, "qmax": qmax, "dtype": dtype}
        sums = sums_near(shift, 5)
        whole = ways.requantized(requantization, factors, shifts, channels=5, **ends)
        got = requantize(sums, whole, isa=isa)
        want = [
            [min(max(expected(requantization, s, f, shift) + zero, qmin), qmax)
             for s, f in zip(row, factors, strict=True)] for row in sums.tolist()
        ]  # fmt: skip
        assert got.dtype == dtype
        assert got.tolist() == want, (requantization, shift)
        alone = ways.requantized(requantization, factors[2:3], shifts, channels=1, **ends)
        assert (requantize(sums[:, 2], alone, isa=isa) == got[:, 2]).all()


@each_kernel
def test_widths_and_strides(isa: Isa) -> None:
    rng = np.random.default_rng(0)
    for width in (0, 1, 2, 15, 16, 17, 33, 64):
        sums = rng.integers(-999, 999, (3, 2 * width)).astype(np.int32)[:, ::2]
        shift = np.arange(width, dtype=np.int32) % 9 - 8
        ends = {"zero_point": 1, "qmin": -90, "qmax": 99, "dtype": np.int8}
        way = ways.requantized(Requantization.GEMMLOWP_DOUBLE, 2**30, shift, channels=width, **ends)
        assert (requantize(sums, way, isa=isa) == way.numpy(sums)).all()
