"""Fixed-point requantization in one pass: int32 sums to codes, with a multiplier and a shift.

Each function is one rounding rule for one accumulator, written as `numq.fixedpoint` defines it; the
loop around it runs along rows of the result, where LLVM makes vectors of it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.kernels.machine.jit import inlined, njit
from numq.kernels.operands import (
    CODE_LIMITS,
    INT32,
    checked_array,
    checked_codes,
    checked_integer,
    limits_of,
    whole_numbers_of,
)

SINGLE, DOUBLE, DOUBLE_UP = range(3)


@inlined
def _high_mul(x, multiplier):
    """`floor(x · multiplier / 2^31 + ½)`; a multiplier is never −2^31, so nothing saturates."""
    return (np.int64(x) * multiplier + (1 << 30)) >> 31


@inlined
def _half_away(x, exponent):
    mask = (np.int64(1) << exponent) - 1
    return (x >> exponent) + np.int64((x & mask) > (mask >> 1) + np.int64(x < 0))


@inlined
def _half_up(x, exponent):
    return (x + ((np.int64(1) << exponent) >> 1)) >> exponent


@inlined
def _scaled(x, multiplier, shift, rule):
    """The accumulator times multiplier · 2^(shift − 31); what would leave int32 is held there."""
    left = max(shift, 0)
    held = min(max(np.int64(x), -(np.int64(2**31) >> left)), np.int64(2**31 - 1) >> left)
    if rule == SINGLE:
        return _half_up(held * multiplier, 31 - shift)
    high = _high_mul(held << left, multiplier)
    right = max(-shift, 0)
    return _half_away(high, right) if rule == DOUBLE else _half_up(high, right)


@njit
def requantize_rows(sums, multiplier, shift, rule, zero_point, qmin, qmax, codes):
    """`codes[i, j] = clamp(scaled(sums[i, j]) + zero_point)`.

    Args:
        sums: (M, N) int32.
        multiplier: (N,) int64, in [0, 2^31).
        shift: (N,) int64, −31 to 30.
        rule: SINGLE, DOUBLE or DOUBLE_UP.
        zero_point: of the output.
        qmin: lowest code.
        qmax: highest code.
        codes: (M, N) int8, uint8, int16 or uint16, written to.
    """
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            scaled = _scaled(sums[i, j], multiplier[j], shift[j], rule) + zero_point
            codes[i, j] = min(max(scaled, qmin), qmax)


def requantize(
    sums: NDArray[np.int32],
    multiplier: NDArray[Any],
    shift: NDArray[Any],
    rule: int,
    zero_point: int,
    qmin: int,
    qmax: int,
    dtype: Any,
) -> NDArray[Any]:
    """(..., N) int32 sums to (..., N) codes.

    Args:
        sums: int32, any strides.
        multiplier: () or (N,) integers from 0 to 2^31 − 1.
        shift: () or (N,) integers from −31 to 30.
        rule: SINGLE, DOUBLE or DOUBLE_UP.
        zero_point: of the output, a code of `dtype`.
        qmin: lowest code.
        qmax: highest code.
        dtype: int8, uint8, int16 or uint16.

    Raises:
        TypeError: an argument has a type that is not listed.
        ValueError: a shape or a value does not fit.
    """
    checked_array("sums", sums, (INT32,))
    rule = checked_integer("rule", rule, SINGLE, DOUBLE_UP)
    zero_point, qmin, qmax = checked_codes(limits_of(dtype, CODE_LIMITS), zero_point, qmin, qmax)
    columns = sums.shape[-1] if sums.ndim else 1
    rows = np.ascontiguousarray(sums).reshape(-1 if sums.size else 0, columns)
    codes = np.empty(rows.shape, dtype)
    multipliers = whole_numbers_of("multiplier", multiplier, columns, (0, 2**31 - 1))
    shifts = whole_numbers_of("shift", shift, columns, (-31, 30))
    requantize_rows(rows, multipliers, shifts, rule, zero_point, qmin, qmax, codes)
    return codes.reshape(sums.shape)
