"""Multiplying an integer by a real number with integers alone: a multiplier and a shift.

    M = m · 2^(shift − 31),  m an int32 in [2^30, 2^31)            (Jacob et al. 2018, eq. 6)

All functions take and give int32 values of any shapes that broadcast. They are named as in
gemmlowp (`fixedpoint/fixedpoint.h`) and TFLite (`kernels/internal/common.cc`), whose results they
reproduce bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numq.arrays import IntArray, as_float, as_int, check_finite, check_type
from numq.requantization import Requantization
from numq.rounding import Rounding, round_values

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> IntArray:
    """`floor(a·b / 2^31 + ½)`, ties toward +infinity; −2^31 · −2^31 saturates to 2^31 − 1.

    The high half of the doubled product (ARM's SQRDMULH). gemmlowp writes it as a nudge that
    depends on the sign and a division that truncates, which is the same function.

    >>> [int(saturating_rounding_doubling_high_mul(a, 2**30)) for a in (-3, -1, 1, 3)]
    [-1, 0, 1, 2]
    """
    a, b = as_int32(a, "a"), as_int32(b, "b")
    _check_shapes(a=a, b=b)
    return np.minimum(shifted(a * b, 31, Rounding.HALF_UP), INT32_MAX).astype(np.int32)


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> IntArray:
    """`round(x / 2^exponent)`, ties away from zero; exponent 0 to 31.

    >>> rounding_divide_by_pot([-3, -1, 1, 3], 1).tolist()
    [-2, -1, 1, 2]
    """
    return shifted(*_operands(x, exponent), Rounding.HALF_AWAY).astype(np.int32)


def rounding_shift_right(x: ArrayLike, exponent: ArrayLike) -> IntArray:
    """`floor(x / 2^exponent + ½)`: ties toward +infinity; exponent 0 to 31.

    >>> rounding_shift_right([-3, -1, 1, 3], 1).tolist()
    [-1, 0, 1, 2]
    """
    return shifted(*_operands(x, exponent), Rounding.HALF_UP).astype(np.int32)


def shifted(value: IntArray, power: IntArray | int, rounding: Rounding) -> IntArray:
    """`round(value / 2^power)` of int64, by any rounding but STOCHASTIC; power 0 to 62.

    `value >> power` is the floor; what was shifted out says whether to go one up.
    """
    floor, rest = value >> power, value & ((1 << power) - 1)
    half = (1 << power) >> 1
    match rounding:
        case Rounding.HALF_UP:
            up = (rest >= half) & (rest > 0)
        case Rounding.HALF_AWAY:
            up = (rest > half) | ((rest == half) & (rest > 0) & (value >= 0))
        case Rounding.HALF_EVEN:
            up = (rest > half) | ((rest == half) & (rest > 0) & (floor & 1 == 1))
        case Rounding.TOWARD_ZERO:
            up = (rest > 0) & (value < 0)
        case Rounding.CEIL:
            up = rest > 0
        case Rounding.FLOOR:
            return floor
        case Rounding.STOCHASTIC:
            raise ValueError("rounding is STOCHASTIC; allowed are the deterministic ones")
    return floor + up


def quantize_multiplier(
    real_multiplier: ArrayLike,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The (m, shift) nearest to a real multiplier, `M ≈ m · 2^(shift − 31)`.

    m = round_half_away(fraction · 2^31) for `fraction` in [½, 1); 2^31 itself becomes 2^30 with
    shift + 1. M below 2^−32 becomes (0, 0), as does 0. TFLite's QuantizeMultiplier.

    Returns:
        int32 m in [2^30, 2^31) or 0, and int32 shift in [−31, 30].

    Raises:
        ValueError: a negative, infinite or NaN multiplier, or one of 2^30 or more.

    >>> [int(v) for v in quantize_multiplier(0.75)]
    [1610612736, 0]
    """
    real = as_float(real_multiplier, "real_multiplier").astype(np.float64)
    check_finite(real, "real_multiplier")
    outside = (real < 0) | (real >= 2.0**30)
    if outside.any():
        raise ValueError(f"real_multiplier is {real[outside].flat[0]}; allowed is [0, 2^30)")
    fraction, exponent = np.frexp(real)
    m = round_values(np.ldexp(fraction, 31), Rounding.HALF_AWAY).astype(np.int64)
    carried = m == 2**31
    m, shift = np.where(carried, m >> 1, m), exponent + carried
    if (shift > 30).any():
        raise ValueError(f"real_multiplier is {real.max()}, which rounds to 2^30; allowed is less")
    vanished = (shift < -31) | (m == 0)
    return (
        np.where(vanished, 0, m).astype(np.int32),
        np.where(vanished, 0, shift).astype(np.int32),
    )


def multiply_by_quantized_multiplier(
    x: ArrayLike,
    multiplier: ArrayLike,
    shift: ArrayLike,
    *,
    requantization: Requantization = Requantization.GEMMLOWP_DOUBLE,
) -> IntArray:
    """`round(x · multiplier · 2^(shift − 31))` in integers.

    Args:
        x: int32 values.
        multiplier: int32, not negative, from `quantize_multiplier`.
        shift: −31 to 30; positive shifts left.
        requantization: how often and in which direction it rounds, with a Q31 multiplier.

    Raises:
        ValueError: a negative multiplier, a shift out of its range, a rule with a
            float multiplier.
        OverflowError: an intermediate or the result leaves int32 (undefined in C).
    """
    check_type(requantization, Requantization, "requantization")
    if not requantization.fixed:
        raise ValueError(
            f"requantization is {requantization.name}; allowed are those with a Q31 multiplier"
        )
    value, m, s = as_int32(x, "x"), as_int32(multiplier, "multiplier"), as_int32(shift, "shift")
    _check_shapes(x=value, multiplier=m, shift=s)
    if m.size and m.min() < 0:
        raise ValueError(f"multiplier is {m.min()}; allowed are integers from 0 on")
    if s.size and (s.min() < -31 or s.max() > 30):
        raise ValueError(f"shift has values from {s.min()} to {s.max()}; allowed are -31 to 30")
    if requantization.twice:
        _fits(value << np.maximum(s, 0), "x · 2^shift")
    return _fits(scaled(value, m, s, requantization), "the result").astype(np.int32)


def scaled(
    x: IntArray, multiplier: IntArray, shift: IntArray, requantization: Requantization
) -> IntArray:
    """The same of int64 that have been checked, as int64.

    What a left shift would push out of int32 is held at its ends where the rule rounds twice.
    """
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    if requantization.high is None:
        return shifted(x * multiplier, 31 - shift, requantization.rounding)
    held = np.clip(x, INT32_MIN >> left, INT32_MAX >> left) << left
    return shifted(
        shifted(held * multiplier, 31, requantization.high), right, requantization.rounding
    )


def as_int32(x: ArrayLike, name: str) -> IntArray:
    """Integers as int64, checked to lie within int32; OverflowError otherwise."""
    return _fits(as_int(x, name), name).astype(np.int64)


def _fits(x: IntArray, name: str) -> IntArray:
    if x.size and (x.min() < INT32_MIN or x.max() > INT32_MAX):
        raise OverflowError(f"{name} has values from {x.min()} to {x.max()}; allowed is int32")
    return x


def _check_shapes(**arrays: IntArray) -> None:
    """Raise ValueError that names the arguments, unless their shapes broadcast."""
    shapes = {x.shape for x in arrays.values()} - {()}
    if len(shapes) <= 1:
        return
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        came = ", ".join(f"{name} has shape {x.shape}" for name, x in arrays.items())
        raise ValueError(f"{came}; allowed are shapes that broadcast") from None


def _operands(x: ArrayLike, exponent: ArrayLike) -> tuple[IntArray, IntArray]:
    """What is to be shifted and how far."""
    value, power = as_int32(x, "x"), _exponent(exponent)
    _check_shapes(x=value, exponent=power)
    return value, power


def _exponent(exponent: ArrayLike) -> IntArray:
    power = as_int32(exponent, "exponent")
    if power.size and (power.min() < 0 or power.max() > 31):
        raise ValueError(
            f"exponent has values from {power.min()} to {power.max()}; allowed are 0 to 31"
        )
    return power
