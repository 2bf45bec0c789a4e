"""What every kernel computes, in NumPy: the definitions, and the forms that run without JIT.

The compiled forms give the same bits. The float32 operations are those written here, in this order,
each rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numq.fixedpoint import scaled
from numq.requantization import Requantization
from numq.rounding import ZeroPointOrder, round_values


def matmul_numpy(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int32]:
    """The definition, and the form without JIT: widen, then multiply; int8 * int8 would wrap."""
    return np.matmul(a.astype(np.int32), b.astype(np.int32), dtype=np.int32)


def correct_numpy(
    raw: NDArray[np.int32],
    a: NDArray[Any],
    b: NDArray[Any],
    a_zero: int,
    b_zero: NDArray[np.int32],
    bias: NDArray[np.int32],
) -> NDArray[np.int32]:
    """``(a - a_zero) @ (b - b_zero) + bias``, from ``raw = a @ b``, modulo 2**32.

    It expands to ``raw - a_zero * colsum(b) - b_zero * rowsum(a) + K * a_zero * b_zero + bias``.

    Args:
        raw: (M, N) int32.
        a: (M, K) int8 or uint8.
        b: (K, N) int8 or uint8.
        a_zero: zero point of ``a``.
        b_zero: (N,) zero points of the columns of ``b``; empty for zeros.
        bias: (N,) int32; empty for zeros.
    """
    b_zero, bias = (row if row.size else np.zeros(b.shape[1], np.int32) for row in (b_zero, bias))
    columns, rows = b.sum(axis=0, dtype=np.int64), a.sum(axis=1, dtype=np.int64)
    wide = (
        raw
        - a_zero * columns
        - rows[:, None] * b_zero
        + a.shape[1] * a_zero * b_zero.astype(np.int64)
        + bias
    )
    return wide.astype(np.int32)


def requantize_numpy(
    sums: NDArray[np.int32],
    multiplier: NDArray[Any],
    zero_point: int,
    qmin: int,
    qmax: int,
    requantization: Requantization = Requantization.F32_EVEN,
    shift: NDArray[np.int32] | int = 0,
) -> NDArray[np.int64]:
    """``clamp(round(sums * multiplier) + zero_point, qmin, qmax)`` by any `Requantization`.

    Args:
        sums: (..., N) int32; beyond 2**24 their float32 is itself rounded to even.
        multiplier: (N,) float32 or float64, finite; or int32, which stands for
            ``multiplier * 2**(shift - 31)``.
        zero_point: of the output.
        qmin: lowest code; ``zero_point`` makes it a ReLU.
        qmax: highest code.
        requantization: the rule.
        shift: (N,) beside an int32 multiplier, from -31 to 30; what a left shift would push out of
            int32 is held there.
    """
    if requantization.fixed:
        wide = sums.astype(np.int64), multiplier.astype(np.int64), np.asarray(shift, np.int64)
        return np.clip(scaled(*wide, requantization) + zero_point, qmin, qmax)
    first, then = zero_point, 0
    if requantization.order is ZeroPointOrder.ROUND_THEN_ADD:
        first, then = then, first
    # The ends are whole, so clamping before rounding changes nothing, and no cast is wild.
    with np.errstate(over="ignore", under="ignore"):
        steps = sums.astype(multiplier.dtype) * multiplier + multiplier.dtype.type(first)
    inside = np.clip(steps, qmin - then, qmax - then)
    return round_values(inside, requantization.rounding).astype(np.int64) + then


def dequantize_numpy(
    accumulator: NDArray[np.int32],
    row_scale: NDArray[np.float32],
    column_scale: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
) -> NDArray[np.float32]:
    """``float32(accumulator) * (row_scale * column_scale) + bias``.

    Args:
        accumulator: (M, N) int32.
        row_scale: (M,) float32, the scale of each row of A (per token).
        column_scale: (N,) float32, the scale of each column of B (per channel).
        bias: (N,) float32; None adds nothing, so that a negative zero keeps its sign.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        scaled = accumulator.astype(np.float32) * (row_scale[:, None] * column_scale)
        return scaled if bias is None else scaled + bias
