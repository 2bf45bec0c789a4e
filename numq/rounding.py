"""From a real number to an integer code: rounding, then what happens outside the format."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import Array, FloatArray, IntArray, as_float, as_int, check_type
from numq.formats import IntFormat

_CAP = 2.0**31 - 128  #: the largest float32 that int32 holds


class Rounding(Enum):
    """Which integer a real number goes to. Rivals differ on ties, and only there."""

    HALF_EVEN = "to nearest, ties to the even integer (IEEE 754, ONNX, torch, XNNPACK)"
    HALF_AWAY = "to nearest, ties away from zero (C's round, TFLite reference)"
    HALF_UP = "to nearest, ties toward +infinity (fixed-point shifts)"
    TOWARD_ZERO = "drop the fraction"
    FLOOR = "toward -infinity"
    CEIL = "toward +infinity"
    STOCHASTIC = "up with probability equal to the fraction; needs a generator"


class Overflow(Enum):
    """What becomes of a rounded value that the format does not hold."""

    SATURATE = "the nearest code"
    WRAP = "modulo 2^bits, as a register does"
    CAST_INT32 = "cast to int32, where what it lacks becomes -2^31; add, wrapping; then saturate"
    CAP_CAST_INT32 = "cap at 2^31 − 128, float32's last below 2^31; then as CAST_INT32 (FBGEMM)"
    CAST_INT64 = "add as floats, cast to int64, where +1e38 becomes -2^63; then saturate"
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
    return _integral(x, rounding, rng)


def _integral(x: FloatArray, rounding: Rounding, rng: np.random.Generator | None) -> FloatArray:
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
    if rng is None:
        raise ValueError("Rounding.STOCHASTIC needs rng=, a numpy.random.Generator")
    check_type(rng, np.random.Generator, "rng")
    up = rng.random(x.shape) < _fraction(x)
    return np.where(up, np.floor(x) + 1, np.floor(x)).astype(x.dtype)


def round_to_int(
    x: ArrayLike,
    fmt: IntFormat,
    *,
    rounding: Rounding = Rounding.HALF_EVEN,
    overflow: Overflow = Overflow.SATURATE,
    offset: ArrayLike = 0,
    rng: np.random.Generator | None = None,
) -> IntArray:
    """`overflow(round(x) + offset)` as `fmt.dtype`, clamped in float *before* the integer cast.

    Args:
        x: float array of any shape, without NaN; ±inf saturates.
        fmt: the codes allowed.
        rounding: how `x` becomes integral.
        overflow: what happens outside `fmt`.
        offset: integers added after rounding, broadcast against `x` (a zero point).
        rng: the generator of STOCHASTIC rounding.

    Raises:
        TypeError: `x` is not real numbers, `offset` not integers.
        ValueError: NaN in `x`, infinity or a narrow range under WRAP, STOCHASTIC without `rng`.
        OverflowError: under RAISE, if a value lies outside `fmt`; names the first.
    """
    x, offset = as_float(x, "x"), as_int(offset, "offset")
    if offset.ndim and not _broadcasts(offset.shape, x.shape):
        raise ValueError(
            f"offset has shape {offset.shape}; allowed is what broadcasts to {x.shape}"
        )
    check_type(fmt, IntFormat, "fmt")
    check_type(rounding, Rounding, "rounding")
    check_type(overflow, Overflow, "overflow")
    if np.isnan(x).any():
        raise ValueError("x holds NaN, which has no integer code; choose a NonFinite policy")
    return to_codes(x, fmt, rounding, overflow, offset, rng)


def to_codes(
    x: FloatArray,
    fmt: IntFormat,
    rounding: Rounding,
    overflow: Overflow,
    offset: IntArray,
    rng: np.random.Generator | None,
) -> IntArray:
    """`round_to_int` of arguments that have been checked."""
    # float64 holds every bound, also 2^31 − 1, which float32 would round up to 2^31.
    rounded = _integral(x, rounding, rng).astype(np.float64)
    codes: FloatArray
    match overflow:
        case Overflow.SATURATE:
            codes = np.clip(rounded + offset, fmt.qmin, fmt.qmax)
        case Overflow.WRAP:
            codes = _wrap(rounded, offset, fmt)
        case Overflow.CAST_INT32:
            total = _wrapped_sum(_cast(rounded, 32), offset, 32)
            codes = np.clip(total, fmt.qmin, fmt.qmax)
        case Overflow.CAP_CAST_INT32:
            total = _wrapped_sum(_cast(np.minimum(rounded, _CAP), 32), offset, 32)
            codes = np.clip(total, fmt.qmin, fmt.qmax)
        case Overflow.CAST_INT64:
            codes = np.clip(_cast(rounded + offset, 64), fmt.qmin, fmt.qmax)
        case Overflow.RAISE:
            codes = _inside(rounded + offset, fmt)
    return codes.astype(fmt.dtype)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of this shape takes the other without stretching it."""
    pairs = zip(shape[::-1], to[::-1], strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


def _wrap(rounded: FloatArray, offset: Array | int, fmt: IntFormat) -> FloatArray:
    """The low `bits` of the two's complement of `rounded + offset`.

    The modulus is taken before the offset is added, as the sum could lose its low bits.
    """
    if fmt.narrow_range:
        raise ValueError(f"fmt is {fmt!r}; a register wraps over all its codes, not a narrow range")
    if np.isinf(rounded).any():
        raise ValueError("x holds an infinity, which Overflow.WRAP cannot reduce")
    span = 2.0**fmt.bits
    low = np.mod(np.mod(rounded, span) + offset, span)
    return np.where(low > fmt.qmax, low - span, low)


def _cast(whole: FloatArray, bits: int) -> FloatArray:
    """x86's float-to-integer conversion: what does not fit becomes the smallest integer."""
    half = 2.0 ** (bits - 1)
    return np.where((whole >= -half) & (whole < half), whole, -half)


def _wrapped_sum(a: FloatArray, b: Array | int, bits: int) -> FloatArray:
    """`a + b` as a register of so many bits holds it; exact, as both are far below 2^53."""
    half = 2.0 ** (bits - 1)
    return np.mod(a + b + half, 2 * half) - half


def _inside(codes: FloatArray, fmt: IntFormat) -> FloatArray:
    outside = (codes < fmt.qmin) | (codes > fmt.qmax)
    if outside.any():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmax(outside)), outside.shape))
        raise OverflowError(
            f"{int(outside.sum())} values lie outside {fmt!r}, the first at {where}: "
            f"{codes[where]:.0f}"
        )
    return codes


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
