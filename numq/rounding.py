"""Rounding and overflow: the rules by which a real number goes to a grid value."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, FloatArray, as_float, check_type


class Rounding(Enum):
    """Which integer a real number goes to. Rivals differ on ties, and only there."""

    HALF_EVEN = "to nearest, ties to the even integer (IEEE 754, ONNX, torch, XNNPACK)"
    HALF_AWAY = "to nearest, ties away from zero (C's round, TFLite reference)"
    HALF_UP = "to nearest, ties toward +infinity (fixed-point shifts)"
    TOWARD_ZERO = "drop the fraction"
    FLOOR = "toward -infinity"
    CEIL = "toward +infinity"
    STOCHASTIC = "up with probability equal to the fraction; needs a generator"


class ZeroPointOrder(Enum):
    """When the zero point is added; ties with an odd zero point tell."""

    ROUND_THEN_ADD = "round(v) + z"
    ADD_THEN_ROUND = "round(v + z), the sum rounded to the working precision first"
    FUSED_ADD_THEN_ROUND = "round(fma(x, 1/s, z)), product and sum rounded to float32 once"


class Overflow(Enum):
    """What becomes of a rounded value that the format does not hold.

    WRAP and the three casts are for integers, NATIVE for floats.
    """

    SATURATE = "the code of the lowest or the highest grid value"
    WRAP = "modulo 2^bits, as a register does"
    CAST_INT32 = "cast to int32, where what it lacks becomes -2^31; add, wrapping; then saturate"
    CAP_CAST_INT32 = "cap at 2^31 − 128, float32's last below 2^31; then as CAST_INT32 (FBGEMM)"
    CAST_INT64 = "add as floats, cast to int64, where +1e38 becomes -2^63; then saturate"
    NATIVE = "what the float format has for it: infinity, else NaN, else the largest number"
    RAISE = "OverflowError"


def round_values(
    x: ArrayLike, rounding: Rounding, rng: np.random.Generator | None = None
) -> FloatArray:
    """Round to integral values, as float32 or float64; ±inf and NaN pass through.

    Raises:
        TypeError: `x` is not real numbers.
        ValueError: if `rounding` is STOCHASTIC and `rng` is missing.

    >>> x = np.array([-2.5, -1.5, 0.5, 1.5, 2.5])
    >>> round_values(x, Rounding.HALF_EVEN).tolist()
    [-2.0, -2.0, 0.0, 2.0, 2.0]
    >>> round_values(x, Rounding.HALF_AWAY).tolist()
    [-3.0, -2.0, 1.0, 2.0, 3.0]
    >>> round_values(x, Rounding.HALF_UP).tolist()
    [-2.0, -1.0, 1.0, 2.0, 3.0]
    """
    x = as_float(x, "x")
    check_type(rounding, Rounding, "rounding")
    return rounded(x, rounding, rng)


def rounded(x: FloatArray, rounding: Rounding, rng: np.random.Generator | None) -> FloatArray:
    """`round_values` of arguments that have been checked."""
    match rounding:
        case Rounding.HALF_EVEN:
            return np.rint(x)
        case Rounding.HALF_AWAY:
            return _half_away(x)
        case Rounding.HALF_UP:
            return np.where(_fraction(x) >= 0.5, np.floor(x) + 1, np.floor(x)).astype(x.dtype)
        case Rounding.TOWARD_ZERO:
            return np.trunc(x)
        case Rounding.FLOOR:
            return np.floor(x)
        case Rounding.CEIL:
            return np.ceil(x)
        case Rounding.STOCHASTIC:
            return _stochastic(x, rng)


def _fraction(x: FloatArray) -> FloatArray:
    """`x − floor(x)`, 0 where `x` is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(x), 0, x - np.floor(x))


def _half_away(x: FloatArray) -> FloatArray:
    """Ties away from zero.

    Not `trunc(x + 0.5)`: that sum rounds, and sends 0.49999997 to 1.
    """
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):
        tie_or_more = np.abs(x - whole) >= 0.5
    return np.where(tie_or_more, whole + np.copysign(1, x), whole).astype(x.dtype)


def _stochastic(x: FloatArray, rng: np.random.Generator | None) -> FloatArray:
    """Up with probability `x − floor(x)`: the expected value is `x`."""
    up = _drawn(x.shape, rng) < _fraction(x)
    return np.where(up, np.floor(x) + 1, np.floor(x)).astype(x.dtype)


def _drawn(shape: tuple[int, ...], rng: np.random.Generator | None) -> FloatArray:
    """Uniform numbers in [0, 1)."""
    if rng is None:
        raise ValueError("rng is None; allowed for Rounding.STOCHASTIC is a numpy.random.Generator")
    check_type(rng, np.random.Generator, "rng")
    return rng.random(shape)


def goes_on(
    fraction: FloatArray,
    rounding: Rounding,
    *,
    odd: Array,
    upward: Array | bool,
    outward: Array | bool,
    rng: np.random.Generator | None,
) -> Array:
    """Whether a value between two neighbours of any grid goes on from the first to the second.

    Args:
        fraction: how much of the way lies behind it, in [0, 1].
        rounding: the rule; ties to even are ties to the neighbour that is not odd.
        odd: whether the first neighbour is odd.
        upward: whether the second is the larger one.
        outward: whether the second is the one farther from zero.
        rng: the generator of STOCHASTIC rounding.
    """
    beyond, tie = fraction > 0.5, fraction == 0.5
    match rounding:
        case Rounding.HALF_EVEN:
            return beyond | (tie & odd)
        case Rounding.HALF_AWAY:
            return beyond | (tie & outward)
        case Rounding.HALF_UP:
            return beyond | (tie & upward)
        case Rounding.TOWARD_ZERO:
            return (fraction == 1) | ((fraction > 0) & np.logical_not(outward))
        case Rounding.FLOOR:
            return (fraction == 1) | ((fraction > 0) & np.logical_not(upward))
        case Rounding.CEIL:
            return (fraction == 1) | ((fraction > 0) & upward)
        case Rounding.STOCHASTIC:
            return _drawn(fraction.shape, rng) < fraction


def fma32(x: FloatArray, y: FloatArray, z: Array) -> FloatArray:
    """`x·y + z` of float32 x and y with one rounding, to float32.

    The product of two float32 is exact in float64; the sum is rounded to odd there, which makes
    the second rounding, to float32, see on which side of a tie the exact sum lies.
    (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums".)
    """
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    total = product + addend
    with np.errstate(invalid="ignore"):
        # Knuth's TwoSum: `error` is exactly what rounding the sum has dropped.
        part = total - product
        error = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    inexact = np.isfinite(total) & (error != 0) & even
    toward = np.where(error > 0, np.inf, -np.inf)
    odd = np.where(inexact, np.nextafter(total, toward), total)
    return odd.astype(np.float32)
